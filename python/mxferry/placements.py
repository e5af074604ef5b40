"""Which part of a tensor a rank holds: mesh and placements as index ranges."""

from typing import Any

from .errors import Error


def held_ranges(tensor: Any) -> list[list[range]]:
    """By dimension of a DTensor, the indices that this rank holds, in the order of its memory.

    One range, several if a placement is strided, or none if the part is empty or the rank is
    outside the mesh. Mesh dimensions cut from left to right, each cutting what those before it left
    into chunks as torch.chunk does, which may be uneven or empty. A strided placement cuts each of
    its `split_factor` chunks and keeps one piece of each: PyTorch's `_StridedShard`.

    Raises Error(unsupported) for partial sums and for cuts in another order.
    """
    mesh = tensor.device_mesh
    ranges = [[range(size)] for size in tensor.shape]
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return [[] for _ in tensor.shape]
    _check_order(tensor)
    for mesh_dim, placement in enumerate(tensor.placements):
        if placement.is_replicate():
            continue
        dim = getattr(placement, "dim", None)
        if dim is None:
            raise _unsupported("partial sums are no part of the weights", placement)
        parts = getattr(placement, "split_factor", 1)
        pieces = (_chunk(ranges[dim], parts, part) for part in range(parts))
        ranges[dim] = _joined(
            r for p in pieces for r in _chunk(p, mesh.size(mesh_dim), coordinate[mesh_dim])
        )
    return ranges


def _chunk(ranges: list[range], chunks: int, index: int) -> list[range]:
    """Chunk `index` of the indices, as torch.chunk cuts them."""
    size = -(-sum(len(r) for r in ranges) // chunks)
    first = size * index
    result = []
    for r in ranges:
        part = r[max(0, first) : max(0, first + size)]
        if part:
            result.append(part)
        first -= len(r)
    return result


def _joined(ranges: Any) -> list[range]:
    result: list[range] = []
    for r in ranges:
        if result and result[-1].stop == r.start:
            result[-1] = range(result[-1].start, r.stop)
        else:
            result.append(r)
    return result


def _check_order(tensor: Any) -> None:
    """Refuses right-to-left cuts, which newer PyTorch can make and placements do not show."""
    order = getattr(getattr(tensor, "_spec", None), "shard_order", None) or ()
    for entry in order:
        if list(entry.mesh_dims) != sorted(entry.mesh_dims):
            raise _unsupported("weights are cut from right to left", entry)


def _unsupported(problem: str, found: object) -> Error:
    text = f"{problem}; expected Shard, strided Shard or Replicate, found {found}"
    return Error(text, "unsupported", "usage", found=str(found))
