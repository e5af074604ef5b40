"""open_checkpoint, with numpy alone too: parts of tensors against a conversion's."""

import importlib.util

import mxferry
import numpy as np
import pytest
from mxferry.checkpoint import torch_dtype

HAS_TORCH = importlib.util.find_spec("torch") is not None
GATE_UP = "model.layers.1.mlp.experts.gate_and_up_projs"
# Of the fixture `model`: 3 experts, hidden 96, intermediate 160.
SHAPE = [3, 96, 320]


def bits(array):
    return np.asarray(array).view(f"u{array.dtype.itemsize}")


@pytest.fixture
def dense(model, tmp_path):
    """The tensors of the checkpoint as a conversion writes them, as bits."""
    mxferry.convert(model, tmp_path / "nemo", to="nemo", sync=False)
    checkpoint = mxferry.open_checkpoint(tmp_path / "nemo", framework="np")
    return {name: bits(tensor) for name, tensor in checkpoint.items()}


def test_shows_what_a_conversion_writes(model, dense):
    checkpoint = mxferry.open_checkpoint(model, framework="np")
    assert list(checkpoint) == list(dense)
    assert "model.norm.weight" in checkpoint and "model.norm.bias" not in checkpoint
    for name, tensor in checkpoint.items():
        assert np.array_equal(bits(tensor), dense[name]), name
        assert np.array_equal(bits(checkpoint.get_tensor(name)), dense[name])


@pytest.mark.parametrize(
    "index",
    [
        1,
        -1,
        slice(1, 3),
        (slice(None), slice(10, 50)),
        (2, slice(31, 33), slice(-7, None)),
        (..., 5),
        (0, ..., slice(0, 0)),
        (1, 2, 3),
        (),
        ...,
        (slice(5, 1),),
        (slice(None), 95, slice(3, 100)),
    ],
    ids=str,
)
def test_slices_are_those_of_the_whole(model, dense, index):
    checkpoint = mxferry.open_checkpoint(model, framework="np")
    part = bits(checkpoint.get_slice(GATE_UP)[index])
    expected = dense[GATE_UP][index]
    assert part.shape == expected.shape
    assert np.array_equal(part, expected)


def test_a_slice_reads_what_it_needs(model):
    checkpoint = mxferry.open_checkpoint(model, framework="np")
    part = checkpoint.get_slice(GATE_UP)
    assert part.get_shape() == SHAPE and part.get_dtype() == "BF16"
    assert checkpoint.bytes_read == 0
    part[1]
    expert = 320 * 96 // 32 * 17
    assert checkpoint.bytes_read == expert
    part[1, :, 8:10]
    assert checkpoint.bytes_read == expert + 2 * 96 // 32 * 17


def test_bad_indices(model):
    part = mxferry.open_checkpoint(model, framework="np").get_slice(GATE_UP)
    for index in (3, -4, (0, 0, 0, 0)):
        with pytest.raises(IndexError, match="gate_and_up_projs"):
            part[index]
    with pytest.raises(mxferry.Error) as error:
        part[::2]
    assert error.value.code == "unsupported" and error.value.tensor == GATE_UP


def test_other_layouts_and_dtypes(model):
    packed = mxferry.open_checkpoint(model, layout="hf", dtype="mxfp4", framework="np")
    name = "model.layers.0.mlp.experts.down_proj"
    blocks, scales = packed[name + "_blocks"], packed[name + "_scales"]
    assert blocks.shape == (3, 96, 5, 16) and blocks.dtype == np.uint8
    single = mxferry.open_checkpoint(model, layout="hf", dtype="f32", framework="np")
    assert np.array_equal(single[name], mxferry.dequantize(blocks, scales, "float32"))
    assert single["model.norm.weight"].dtype == np.float32


def test_dense_weights_are_not_quantized(model, tmp_path):
    mxferry.convert(model, tmp_path / "dense", dtype="bf16", sync=False)
    with pytest.raises(mxferry.Error) as error:
        mxferry.open_checkpoint(tmp_path / "dense", layout="hf", dtype="mxfp4")
    assert error.value.code == "unsupported"


def test_unknown_framework_and_layout(model):
    for options in ({"framework": "tf"}, {"layout": "gguf"}):
        with pytest.raises(mxferry.Error) as error:
            mxferry.open_checkpoint(model, **options)
        assert error.value.code == "invalid_argument"


def test_the_framework_is_torch_where_there_is_one(model):
    tensor = mxferry.open_checkpoint(model)["model.norm.weight"]
    assert type(tensor).__module__.split(".")[0] == ("torch" if HAS_TORCH else "numpy")


@pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch")
def test_torch_tensors(model, dense):
    import torch

    checkpoint = mxferry.open_checkpoint(model)
    tensor = checkpoint[GATE_UP]
    assert tensor.dtype == torch.bfloat16 and list(tensor.shape) == SHAPE
    assert np.array_equal(tensor.view(torch.int16).numpy().view("u2"), dense[GATE_UP])
    scalar = checkpoint.get_slice(GATE_UP)[1, 2, 3]
    assert scalar.ndim == 0 and scalar == tensor[1, 2, 3]


@pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch")
def test_tensors_of_unknown_name_and_any_dtype(model):
    import torch
    from safetensors.torch import load_file, save_file

    path = next(model.glob("*-00000-of-*.safetensors"))
    tensors = load_file(path)
    extra = {
        f"extra.{dtype}".replace("torch.", ""): torch.arange(6).view(2, 3).to(dtype)
        for dtype in (
            torch.bool,
            torch.int8,
            torch.int16,
            torch.uint16,
            torch.int32,
            torch.int64,
            torch.float64,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
        )
    }
    (model / "model.safetensors.index.json").unlink()
    others = [load_file(p) for p in model.glob("*.safetensors") if p != path]
    for other in others:
        tensors |= other
    for p in model.glob("*.safetensors"):
        p.unlink()
    save_file(tensors | extra, model / "model.safetensors")
    with pytest.raises(mxferry.Error, match="F4"):
        torch_dtype("F4")
    checkpoint = mxferry.open_checkpoint(model)
    for name, tensor in extra.items():
        got = checkpoint[name]
        assert got.dtype == tensor.dtype
        assert got.view(torch.uint8).equal(tensor.view(torch.uint8))
        assert (
            checkpoint.get_slice(name)[1, 1:]
            .view(torch.uint8)
            .equal(tensor[1, 1:].view(torch.uint8))
        )
