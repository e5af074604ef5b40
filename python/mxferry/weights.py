"""MXFP4 weights in memory, as numpy arrays or PyTorch tensors on the CPU."""

import sys
from typing import Any

from . import _core
from .errors import Error

# The dtype names of numpy, PyTorch and the command -> safetensors'.
_DTYPES = {
    "bfloat16": "BF16",
    "bf16": "BF16",
    "float16": "F16",
    "f16": "F16",
    "float32": "F32",
    "f32": "F32",
}


def dequantize(
    blocks: Any,
    scales: Any,
    dtype: Any = "bfloat16",
    transpose: bool = True,
    out: Any = None,
) -> Any:
    """Decodes MXFP4 weights.

    blocks: uint8 [experts, out, groups, B], B bytes of two weights each, 16 in checkpoints.
    scales: uint8 [experts, out, groups].
    dtype: "bfloat16" and "float32" hold every weight, "float16" is rounded to nearest even. May be
        a dtype of numpy or PyTorch. Ignored if `out` is given, which has its own.
    transpose: True gives [experts, in, out], as Transformers and NeMo AutoModel hold weights;
        False gives [experts, out, in]. `in` is groups * B * 2.
    out: decode into this array or tensor, contiguous and of the right shape, and return it.

    PyTorch tensors give a PyTorch tensor, anything else that has DLPack or the buffer protocol a
    numpy array; its bfloat16 is that of ml_dtypes if installed, else the bits as uint16.
    Contiguous inputs are not copied, and the GIL is released. Scale 255 is NaN.

    Raises Error: wrong_dtype, wrong_shape, invalid_argument, unsupported (GPU memory),
    not_enough_memory.
    """
    torch = _is_torch(blocks)
    blocks, scales = _lend(blocks), _lend(scales)
    if out is not None:
        _core.dequantize_into(blocks, scales, transpose, _bits(out))
        return out
    name = dtype_name(dtype)
    dense = _core.dequantize(blocks, scales, name, transpose, torch)
    return dense if torch or name != "BF16" else as_bfloat16(dense)


def quantize(weight: Any, mode: str = "gptoss", reference_scales: Any = None) -> tuple[Any, Any]:
    """Quantizes weights to MXFP4: (blocks, scales), the inverse of dequantize().

    weight: [experts, in, out] in bfloat16, float16 or float32, `in` a multiple of 32. uint16 is
        taken as the bits of bfloat16.
    mode: how a block gets its scale: "gptoss" (nothing saturates), "ocp", "even" or "best".
    reference_scales: uint8 [experts, out, in / 32]; a block that is exact under its scale keeps it.

    Returns uint8 blocks [experts, out, in / 32, 16] and scales [experts, out, in / 32], PyTorch
    tensors if `weight` is one, else numpy arrays.

    Raises Error: wrong_dtype, wrong_shape, invalid_argument, unsupported, not_enough_memory, and
    nonfinite_weight with the place of the first weight that MXFP4 cannot hold.
    """
    reference = None if reference_scales is None else _lend(reference_scales)
    return _core.quantize(_lend(weight), mode, reference, _is_torch(weight))


def dtype_name(dtype: Any) -> str:
    """The safetensors name of a dtype to decode to. Raises Error(invalid_argument)."""
    text = str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if text not in _DTYPES:
        raise Error(
            f"weights are not decoded to this dtype; expected bfloat16, float16 or float32, found {text}",
            "invalid_argument",
            "usage",
            expected="bfloat16, float16 or float32",
            found=text,
        )
    return _DTYPES[text]


def _is_torch(array: Any) -> bool:
    """Whether this is a PyTorch tensor. Nothing is before PyTorch is imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _lend(array: Any) -> Any:
    """The array in a form that DLPack can lend: contiguous, copied only if it has gaps."""
    if _is_torch(array):
        if hasattr(array, "to_local"):
            raise Error(
                "a DTensor has no memory of its own. Give its to_local(), or the state dict to "
                "GPTOSSStateDictAdapter",
                "unsupported",
                "usage",
            )
        return array.detach().contiguous()
    flags = getattr(array, "flags", None)
    if flags is not None and hasattr(flags, "c_contiguous") and not flags.c_contiguous:
        array = array.copy(order="C")
    return _bits(array)


def _bits(array: Any) -> Any:
    """The array as DLPack can lend it: numpy lends ml_dtypes' bfloat16 only as its bits."""
    dtype = getattr(array, "dtype", None)
    if getattr(dtype, "name", None) == "bfloat16" and hasattr(array, "view"):
        return array.view("uint16")
    if _is_torch(array):
        return array.detach()
    return array


def as_bfloat16(bits: Any) -> Any:
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return bits
    return bits.view(bfloat16)
