"""Which rank holds which boxes of a model's tensors, and which rank writes them.

Pure computation, without tensors or messages.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from .errors import Error

# A box of a tensor: (begin, end) by dimension.
Box = tuple[tuple[int, int], ...]


class Held(NamedTuple):
    """A tensor and what one rank holds of it."""

    dtype: str  # safetensors' name
    shape: tuple[int, ...]  # of the whole tensor
    boxes: list[Box]


class Shared(NamedTuple):
    """A tensor and what all ranks hold of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    holders: dict[Box, list[int]]  # the ranks that hold a box


class Strip(NamedTuple):
    """Part of a column: the inputs that one rank holds."""

    begin: int
    end: int
    owner: int


class Column(NamedTuple):
    """Experts and rows of weights [experts, in, out] whose inputs are spread over several ranks."""

    tensor: int
    experts: tuple[int, int]
    rows: tuple[int, int]
    strips: list[Strip]  # sorted by begin; together they are all inputs

    def shares(self) -> dict[int, range]:
        """The rows that each owner of a strip quantizes."""
        owners = sorted({strip.owner for strip in self.strips})
        begin, end = self.rows
        cuts = [begin + (end - begin) * i // len(owners) for i in range(len(owners) + 1)]
        return {owner: range(cuts[i], cuts[i + 1]) for i, owner in enumerate(owners)}


def share(held: list[Mapping[str, Held]]) -> list[Shared]:
    """The tensors of all ranks together, from what each holds.

    Raises Error: wrong_dtype, wrong_shape (ranks differ), missing_tensor (a part that no rank
    holds), unsupported (boxes overlap without being the same).
    """
    tensors: dict[str, Shared] = {}
    for rank, mapping in enumerate(held):
        for name, (dtype, shape, boxes) in mapping.items():
            tensor = tensors.setdefault(name, Shared(name, dtype, shape, {}))
            if (dtype, shape) != (tensor.dtype, tensor.shape):
                raise _ranks_differ(tensor, rank, dtype, shape)
            for box in boxes:
                tensor.holders.setdefault(box, []).append(rank)
    for tensor in tensors.values():
        _check_cover(tensor)
    return list(tensors.values())


def deal(tensors: list[Shared], ranks: int) -> list[dict[Box, int]]:
    """One owner for each box, by tensor. Boxes held by several ranks are dealt to balance bytes."""
    bytes_of = [0] * ranks
    owners: list[dict[Box, int]] = [{} for _ in tensors]
    several = []
    for index, tensor in enumerate(tensors):
        for box, holders in tensor.holders.items():
            if len(holders) > 1:
                several.append((_size(box), index, box, holders))
            else:
                owners[index][box] = holders[0]
                bytes_of[holders[0]] += _size(box)
    for size, index, box, holders in sorted(several, reverse=True):
        owner = min(holders, key=lambda rank: (bytes_of[rank], rank))
        owners[index][box] = owner
        bytes_of[owner] += size
    return owners


def columns_of(tensor: int, shape: tuple[int, ...], owners: Mapping[Box, int]) -> list[Column]:
    """The columns of weights [experts, in, out] that no rank has whole, in one order on all ranks.

    Raises Error(unsupported) if a column's strips do not make up all inputs, as a DTensor's do.
    """
    strips: dict[tuple[tuple[int, int], tuple[int, int]], list[Strip]] = {}
    for (experts, (begin, end), rows), owner in owners.items():
        if (begin, end) != (0, shape[1]):
            strips.setdefault((experts, rows), []).append(Strip(begin, end, owner))
    columns = [Column(tensor, *place, sorted(parts)) for place, parts in sorted(strips.items())]
    for column in columns:
        if sum(strip.end - strip.begin for strip in column.strips) != shape[1]:
            text = "ranks cut the experts' weights in ways that do not fit together"
            raise Error(f"{text}; found {column}", "unsupported", "usage", found=str(column))
    return columns


def _size(box: Box) -> int:
    return math.prod(end - begin for begin, end in box)


def _check_cover(tensor: Shared) -> None:
    boxes = tuple(sorted(tensor.holders))
    if not _disjoint(boxes):
        raise Error(
            f"tensor '{tensor.name}': ranks hold parts of it that overlap and are not the same",
            "unsupported",
            "usage",
            tensor=tensor.name,
        )
    found, expected = sum(map(_size, boxes)), math.prod(tensor.shape)
    if found != expected:
        raise Error(
            f"tensor '{tensor.name}': no rank holds a part of it; expected {expected} elements of "
            f"{list(tensor.shape)} on all ranks together, found {found}",
            "missing_tensor",
            "source",
            tensor=tensor.name,
            expected=f"{expected} elements",
            found=str(found),
        )


@lru_cache
def _disjoint(boxes: tuple[Box, ...]) -> bool:
    """Cached: most tensors of a model are cut in one of a few ways."""
    return not any(
        all(a < d and c < b for (a, b), (c, d) in zip(one, other, strict=True))
        for i, one in enumerate(boxes)
        for other in boxes[:i]
    )


def _ranks_differ(tensor: Shared, rank: int, dtype: str, shape: tuple[int, ...]) -> Error:
    code = "wrong_shape" if shape != tensor.shape else "wrong_dtype"
    expected, found = f"{tensor.dtype} {list(tensor.shape)}", f"{dtype} {list(shape)}"
    text = f"tensor '{tensor.name}': rank {rank} has another; expected {expected}, found {found}"
    return Error(text, code, "source", tensor=tensor.name, expected=expected, found=found)
