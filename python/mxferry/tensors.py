"""Packed and dense weights as PyTorch tensors: plain, distributed, or on a GPU.

PyTorch is imported when a function here is first called.
"""

from typing import Any

from .errors import Error
from .placements import held_ranges
from .weights import dequantize, quantize

BLOCK_SIZE = 32  # weights in a block
BLOCK_BYTES = 16


def dequantize_tensors(blocks: Any, scales: Any, dtype: Any, ep_shard_dim: int = 1) -> Any:
    """Decodes a pair to [experts, in, out] where it is. DTensors give a DTensor: distributed.py."""
    if _is_dtensor(blocks) or _is_dtensor(scales):
        from .distributed import dequantize_dtensors

        _check_pair(blocks, scales)
        return dequantize_dtensors(blocks, scales, dtype, ep_shard_dim)
    blocks, scales = (x.to_local() if hasattr(x, "to_local") else x for x in (blocks, scales))
    return dequantize_local(blocks, scales, dtype)


def dequantize_into(target: Any, blocks: Any, scales: Any) -> None:
    """Fills `target` [experts, in, out], a plain tensor or a DTensor, in its own dtype.

    The packed weights are on its device, and for a DTensor on its mesh, as packed_scratch() makes
    them.
    """
    if _is_dtensor(target):
        from .distributed import dequantize_into_dtensor

        dequantize_into_dtensor(target, blocks, scales)
    else:
        dequantize_local(blocks, scales, target.dtype, target.detach())


def can_be_filled(weight: Any) -> bool:
    """Whether dequantize_into() supports this tensor.

    Not a DTensor that holds partial sums or whose mesh dimensions cut from right to left.
    """
    if not _is_dtensor(weight):
        return True
    try:
        held_ranges(weight)
    except Error:
        return False
    return True


def dequantize_local(blocks: Any, scales: Any, dtype: Any, out: Any = None) -> Any:
    """Decodes to [experts, in, out] on the device of the packed weights, into `out` if given."""
    if blocks.device.type != "cpu":
        return dequantize_on_device(blocks, scales, dtype, out)
    if out is None:
        return dequantize(blocks, scales, dtype)
    if out.is_contiguous():
        return dequantize(blocks, scales, out=out)
    return out.copy_(dequantize(blocks, scales, dtype))


def dequantize_on_device(blocks: Any, scales: Any, dtype: Any, out: Any = None) -> Any:
    """Like dequantize(), with PyTorch's operations, on the device of the packed weights.

    Looks up each weight among the 4096 values of a scale and a code, by 32-bit indices, one expert
    at a time.
    """
    import torch

    _check_pair(blocks, scales)
    experts, rows, groups, block_bytes = blocks.shape
    values = _all_values(dtype).to(blocks.device)
    shape = (experts, groups * block_bytes * 2, rows)
    dense = torch.empty(shape, dtype=dtype, device=blocks.device) if out is None else out
    for expert in range(experts):
        first = scales[expert].to(torch.int32)[..., None] * 16
        codes = torch.stack((blocks[expert] & 15, blocks[expert] >> 4), dim=-1).flatten(-2)
        weights = values.index_select(0, (first + codes).flatten())
        dense[expert].copy_(weights.view(rows, -1).t())
    return dense


def quantize_tensor(weight: Any, mode: str, reference_scales: Any) -> tuple[Any, Any]:
    """Quantizes [experts, in, out] to (blocks, scales). DTensors give DTensors: distributed.py."""
    if _is_dtensor(weight):
        from .distributed import quantize_dtensor

        return quantize_dtensor(weight, mode, reference_scales)
    return quantize(weight, mode, reference_scales)


def packed_storage(weight: Any, group_count: int | None = None) -> tuple[Any, Any]:
    """uint8 (blocks, scales) filled with ones, in the shapes of the packed [experts, in, out].

    On the CPU for a plain tensor. For a DTensor, on its mesh, with its first Shard(0) and otherwise
    replicated, which can be read from a checkpoint no matter how the dense weights are cut.
    """
    import torch
    import torch.distributed.tensor
    from torch.distributed.tensor import Replicate, Shard

    scales = _packed_shape(tuple(weight.shape), group_count)
    blocks = (*scales, BLOCK_BYTES)
    if not _is_dtensor(weight):
        return torch.ones(blocks, dtype=torch.uint8), torch.ones(scales, dtype=torch.uint8)
    placements: list[Any] = []
    for placement in weight.placements:
        first = type(placement) is Shard and placement.dim == 0 and Shard(0) not in placements
        placements.append(placement if first else Replicate())

    def ones(shape: tuple[int, ...]) -> Any:
        return torch.distributed.tensor.ones(
            shape, placements=placements, device_mesh=weight.device_mesh, dtype=torch.uint8
        )

    return ones(blocks), ones(scales)


def packed_scratch(weight: Any) -> tuple[Any, Any]:
    """Uninitialized uint8 (blocks, scales) for what this rank needs to fill `weight`.

    On its device; for a DTensor, on its mesh, with those cuts of `weight` that packed weights can
    have.
    """
    import torch

    shape = _packed_shape(tuple(weight.shape), None)
    shapes = (*shape, BLOCK_BYTES), shape
    if _is_dtensor(weight):
        from .distributed import empty_dtensor, packed_placements

        placements = packed_placements(weight)
        blocks, scales = (empty_dtensor(shape, weight, placements) for shape in shapes)
    else:
        device = weight.device
        blocks, scales = (torch.empty(s, dtype=torch.uint8, device=device) for s in shapes)
    return blocks, scales


def _packed_shape(dense: tuple[int, ...], group_count: int | None) -> tuple[int, int, int]:
    if len(dense) != 3 or (group_count is None and dense[1] % BLOCK_SIZE != 0):
        raise Error(
            "the weights of the experts cannot be packed in blocks; expected [experts, in, out] "
            f"with `in` a multiple of {BLOCK_SIZE}, found {list(dense)}",
            "wrong_shape",
            "source",
            expected=f"[experts, in, out] with `in` a multiple of {BLOCK_SIZE}",
            found=str(list(dense)),
        )
    return dense[0], dense[2], group_count or dense[1] // BLOCK_SIZE


def _check_pair(blocks: Any, scales: Any) -> None:
    """Raises the errors of dequantize(), for tensors that are not passed to it."""
    if any(str(x.dtype) != "torch.uint8" for x in (blocks, scales)):
        found = f"{blocks.dtype} and {scales.dtype}"
        text = f"packed weights are stored as bytes; expected uint8, found {found}"
        raise Error(text, "wrong_dtype", "source", expected="uint8", found=found)
    if blocks.ndim != 4 or blocks.shape[:-1] != scales.shape:
        found = f"{list(blocks.shape)} and {list(scales.shape)}"
        expected = "blocks [experts, out, groups, B] and scales [experts, out, groups]"
        text = f"one scale belongs to each block; expected {expected}, found {found}"
        raise Error(text, "wrong_shape", "source", expected=expected, found=found)
    if _is_dtensor(blocks) != _is_dtensor(scales):
        text = "blocks and scales are both DTensors or neither is; found one of each"
        raise Error(text, "invalid_argument", "usage")


def _all_values(dtype: Any) -> Any:
    """The value of every scale and code, at index 16 * scale + code."""
    import torch

    codes = torch.arange(0, 16, 2, dtype=torch.uint8)
    block = codes | (codes + 1) << 4
    scales = torch.arange(256, dtype=torch.uint8)
    packed = block.expand(1, 256, 1, 8).contiguous(), scales.view(1, 256, 1)
    return dequantize(*packed, dtype, transpose=False).flatten()


def _is_dtensor(tensor: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
