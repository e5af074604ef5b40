"""What each rank runs: the adapter on DTensors with every placement, against slicing the whole."""

import itertools
from types import SimpleNamespace

import mxferry
import torch
import torch.distributed as dist
from mxferry.tensors import dequantize_into
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

NAME = "model.layers.0.mlp.experts.down_projs"
HF_NAME = "model.layers.0.mlp.experts.down_proj"
# 96 inputs: 2 and 4 ranks cut through a group of 32. 10 rows and 5 experts: uneven parts.
EXPERTS, ROWS, GROUPS = 5, 10, 3
PLACEMENTS = [Shard(0), Shard(1), Shard(2), Replicate()]


def meshes(world_size):
    """(sizes, names): expert parallelism, with FSDP, FSDP alone, without names."""
    yield (world_size,), ("ep",)
    yield (world_size,), ("ep_shard",)
    yield (world_size,), ("dp_shard_cp",)
    if world_size % 2 == 0:
        yield (world_size // 2, 2), ("ep_shard", "ep")
        yield (2, world_size // 2), ("ep_shard", "ep")
        yield (world_size // 2, 2), ("ep", "ep_shard")
        yield (world_size // 2, 2), None


def whole():
    generator = torch.Generator().manual_seed(1)
    shape = (EXPERTS, ROWS, GROUPS)
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(100, 140, shape, dtype=torch.uint8, generator=generator)
    return blocks, scales, mxferry.dequantize(blocks, scales)


def adapter():
    return mxferry.GPTOSSStateDictAdapter(None, None, SimpleNamespace(attn="flex"))


def check_decoding(mesh, placements):
    blocks, scales, dense = whole()
    pair = [distribute_tensor(x, mesh, placements) for x in (blocks, scales)]
    names = mesh.mesh_dim_names or ()
    for ep_shard_dim, rows_per_chunk in ((1, 1 << 25), (2, 4)):
        made = adapter()
        made.ep_shard_dim = ep_shard_dim
        result = made._convert_moe_packed_tensors(*pair, rows_per_chunk=rows_per_chunk)
        cuts = {"ep": Shard(0), "ep_shard": Shard(ep_shard_dim)}
        for name, placement in zip(names, result.placements, strict=False):
            assert placement == cuts.get(name, placement)
        expected = distribute_tensor(dense, mesh, result.placements)
        assert result.shape == dense.shape and result.stride() == dense.stride()
        assert result.to_local().equal(expected.to_local()), (names, placements)
        assert result.full_tensor().equal(dense)


def check_filling(mesh, placements):
    """A target with these placements, of packed weights that are cut like it, coarser or otherwise."""
    blocks, scales, dense = whole()
    first, last = [Replicate(), *placements[1:]], [*placements[:-1], Replicate()]
    for packed in (placements, first, last):
        target = distribute_tensor(torch.zeros_like(dense), mesh, placements)
        pair = [distribute_tensor(x, mesh, packed) for x in (blocks, scales)]
        dequantize_into(target, *pair)
        expected = distribute_tensor(dense, mesh, placements)
        assert target.to_local().equal(expected.to_local()), (placements, packed)


def check_quantizing(mesh, placements):
    blocks, scales, dense = whole()
    weight = distribute_tensor(dense, mesh, placements)
    for reference in (scales, distribute_tensor(scales, mesh, placements)):
        packed = dict(
            adapter().convert_single_tensor_to_hf(
                NAME, weight, quantization="values", reference={HF_NAME + "_scales": reference}
            )
        )
        assert packed[HF_NAME + "_scales"].full_tensor().equal(scales)
        got = packed[HF_NAME + "_blocks"]
        assert got.shape == blocks.shape and mxferry.dequantize(got.full_tensor(), scales).equal(
            dense
        )


def check_storage(mesh, placements):
    blocks, scales, dense = whole()
    native = {NAME: distribute_tensor(dense, mesh, placements)}
    made = adapter()
    storage = made.to_hf(native, quantization=True, device_mesh=mesh)
    for name, tensor in ((HF_NAME + "_blocks", blocks), (HF_NAME + "_scales", scales)):
        assert storage[name].shape == tensor.shape and storage[name].dtype == torch.uint8
        kept = [p for p in storage[name].placements if p != Replicate()]
        assert kept == [Shard(0)] * (Shard(0) in placements)
        # What a loader does: it fills each rank's part.
        filled = distribute_tensor(tensor, mesh, storage[name].placements)
        storage[name].to_local().copy_(filled.to_local())
    assert made.from_hf(storage, device_mesh=mesh)[NAME].full_tensor().equal(dense)


def check(_):
    world_size = dist.get_world_size()
    for sizes, names in meshes(world_size):
        mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
        for placements in itertools.product(PLACEMENTS, repeat=len(sizes)):
            check_decoding(mesh, placements)
            check_filling(mesh, placements)
            check_quantizing(mesh, placements)
            check_storage(mesh, placements)
