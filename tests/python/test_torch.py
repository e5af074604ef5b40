"""Weights as PyTorch tensors, beside what Transformers and PyTorch make of them."""

import gc
import os
import weakref
from pathlib import Path

import mxferry
import numpy as np
import pytest
import torch
import torch.distributed as dist
from mxferry.tensors import dequantize_on_device
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def tensors(pair):
    return tuple(torch.from_numpy(array) for array in pair)


def same_bits(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and a.view(BITS[a.dtype]).equal(b.view(BITS[b.dtype]))
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bits_are_those_of_transformers(wild, dtype):
    blocks, scales = tensors(wild)
    assert set(scales.flatten().tolist()) == set(range(255))
    ours = mxferry.dequantize(blocks, scales, dtype)
    assert ours.is_contiguous()
    assert same_bits(ours, convert_moe_packed_tensors(blocks, scales, dtype=dtype))
    rows = mxferry.dequantize(blocks, scales, dtype, transpose=False)
    assert same_bits(rows.transpose(1, 2).contiguous(), ours)


def test_numpy_and_torch_agree(wild, tame):
    for dtype in ("bfloat16", "float16", "float32"):
        array = mxferry.dequantize(*wild, dtype)
        tensor = mxferry.dequantize(*tensors(wild), dtype)
        assert str(tensor.dtype) == f"torch.{dtype}"
        assert tensor.view(BITS[tensor.dtype]).numpy().tobytes() == array.tobytes()
        dense = mxferry.dequantize(*tensors(tame), dtype)
        packed = mxferry.quantize(dense)
        expected = mxferry.quantize(mxferry.dequantize(*tame, dtype))
        for part, array in zip(packed, expected, strict=True):
            assert part.dtype == torch.uint8 and np.array_equal(part.numpy(), array)


def test_there_and_back(tame):
    blocks, scales = tensors(tame)
    dense = mxferry.dequantize(blocks, scales)
    again = mxferry.quantize(dense, "best", reference_scales=scales)
    assert again[0].equal(blocks) and again[1].equal(scales)


def test_parameters_and_views_will_do(tame):
    blocks, scales = tensors(tame)
    dense = mxferry.dequantize(blocks, scales, "float32")
    expected = mxferry.quantize(dense)
    parameter = torch.nn.Parameter(dense)
    transposed = dense.transpose(1, 2).contiguous().transpose(1, 2)
    for weight in (parameter, transposed):
        packed = mxferry.quantize(weight)
        assert all(a.equal(b) for a, b in zip(packed, expected, strict=True))


def test_decodes_into_memory_that_is_there(wild):
    blocks, scales = tensors(wild)
    expected = mxferry.dequantize(blocks, scales)
    out = torch.empty_like(expected)
    assert mxferry.dequantize(blocks, scales, out=out) is out
    assert same_bits(out, expected)
    parameter = torch.nn.Parameter(torch.empty(expected.shape))
    mxferry.dequantize(blocks, scales, out=parameter)
    assert same_bits(parameter.detach(), mxferry.dequantize(blocks, scales, "float32"))


def test_the_memory_lives_as_long_as_a_view_of_it(wild):
    dense = mxferry.dequantize(*tensors(wild))
    expected, part = dense[1].clone(), dense[1]
    del dense
    gc.collect()
    mxferry.dequantize(*tensors(wild))
    assert same_bits(part, expected)


def test_memory_of_results_is_freed():
    blocks = torch.zeros((4, 1024, 64, 16), dtype=torch.uint8)
    scales = torch.full(blocks.shape[:-1], 127, dtype=torch.uint8)

    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    for _ in range(32):
        dense = mxferry.dequantize(blocks, scales, "float32")
        mxferry.quantize(dense)
    # 32 results of 32 MiB were made; one may be held.
    assert resident() - before < 128 << 20


def test_inputs_are_let_go_of(tame):
    arrays = [array.copy() for array in tame]
    gone = [weakref.ref(array) for array in arrays]
    result = mxferry.dequantize(*arrays), mxferry.quantize(mxferry.dequantize(*arrays))
    del arrays
    gc.collect()
    assert [reference() for reference in gone] == [None, None] and result


@pytest.mark.parametrize("dtype", list(BITS))
def test_operations_of_pytorch_decode_the_same_bits(wild, dtype):
    """What runs on a GPU, here on the CPU."""
    blocks, scales = tensors(wild)
    assert same_bits(
        dequantize_on_device(blocks, scales, dtype), mxferry.dequantize(blocks, scales, dtype)
    )
    few = blocks[..., :3].contiguous()
    assert same_bits(
        dequantize_on_device(few, scales, dtype), mxferry.dequantize(few, scales, dtype)
    )
    for bad in [(blocks, scales[:1]), (blocks.int(), scales)]:
        with pytest.raises(mxferry.Error) as raised:
            dequantize_on_device(*bad, dtype)
        with pytest.raises(mxferry.Error) as expected:
            mxferry.dequantize(*bad, dtype)
        assert raised.value.code == expected.value.code


def test_a_dtensor_is_an_error(wild):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        blocks, scales = (distribute_tensor(x, mesh, [Shard(0)]) for x in tensors(wild))
        with pytest.raises(mxferry.Error, match="to_local") as raised:
            mxferry.dequantize(blocks, scales)
        assert raised.value.code == "unsupported"
    finally:
        dist.destroy_process_group()


def test_memory_of_another_device_is_an_error():
    meta = torch.empty((1, 1, 1, 16), dtype=torch.uint8, device="meta")
    with pytest.raises((mxferry.Error, TypeError, BufferError, ValueError)):
        mxferry.dequantize(meta, meta[..., 0])
