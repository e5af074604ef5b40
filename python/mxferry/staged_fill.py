"""Fills memory that files cannot be read into directly: a GPU's, or with gaps between elements.

Packed weights are transferred packed and decoded on the target device.
"""

from typing import Any

from .checkpoint import Checkpoint, torch_dtype
from .tensors import BLOCK_SIZE, dequantize_local

# The bytes staged at a time.
_STAGED_BYTES = 256 << 20


def fill_staged(checkpoint: Checkpoint, name: str, begin: list[int], memory: Any) -> None:
    """Fills `memory` with the box of its shape that begins at `begin`.

    Stages through CPU memory, pinned for CUDA, a few experts or rows at a time.
    """
    if memory.numel() == 0:
        return
    packed = checkpoint.packed_parts(name)
    if memory.ndim == 0:
        return _fill_piece(checkpoint, name, begin, memory)
    row = memory[0].numel() * memory.element_size()
    step = max(1, _STAGED_BYTES // max(1, row))
    for first in range(0, memory.shape[0], step):
        piece = memory[first : first + step]
        place = [begin[0] + first, *begin[1:]]
        if packed is None:
            _fill_piece(checkpoint, name, place, piece)
        else:
            _fill_packed(*packed, place, piece)


def _fill_piece(checkpoint: Checkpoint, name: str, begin: list[int], memory: Any) -> None:
    part = checkpoint.get_slice(name)
    staged = _staging(tuple(memory.shape), torch_dtype(part.get_dtype()), memory.device)
    checkpoint.read([(part.index, begin, part.get_dtype(), staged)])
    memory.copy_(staged)


def _fill_packed(packed: Checkpoint, names: tuple[str, str], begin: list[int], memory: Any) -> None:
    """`memory` is [experts, in, out]; the packed weights are [experts, out, groups, 16]."""
    experts, inputs, rows = memory.shape
    group = begin[1] // BLOCK_SIZE
    groups = -(-(begin[1] + inputs) // BLOCK_SIZE) - group
    shape = (experts, rows, groups)
    parts = []
    for name, extent in zip(names, ((*shape, 16), shape), strict=True):
        part = packed.get_slice(name)
        staged = _staging(extent, torch_dtype(part.get_dtype()), memory.device)
        place = [begin[0], begin[2], group, 0][: len(extent)]
        packed.read([(part.index, place, part.get_dtype(), staged)])
        parts.append(staged.to(memory.device, non_blocking=True))
    dense = dequantize_local(parts[0], parts[1], memory.dtype)
    skipped = begin[1] - group * BLOCK_SIZE
    memory.copy_(dense[:, skipped : skipped + inputs])


def _staging(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    import torch

    return torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")
