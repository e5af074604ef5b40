"""Packed and dense weights as DTensors: every rank decodes only what it holds.

Dimensions of packed weights [experts, out, groups, B] map to those of dense ones [experts, in,
out]: 0 to 0, 1 to 2, 2 to 1. Packed weights can be cut only between groups, so a cut of `in`
corresponds to a cut of groups only if it falls between two of them.
"""

from typing import Any

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.distributed.tensor.placement_types import _StridedShard

from .tensors import BLOCK_BYTES, BLOCK_SIZE, dequantize_local
from .weights import quantize

# Dimension of packed weights -> dimension of dense ones. The map is its own inverse.
_DENSE_DIM = {0: 0, 1: 2, 2: 1}
_PACKED_DIM = _DENSE_DIM


def dequantize_dtensors(blocks: Any, scales: Any, dtype: Any, ep_shard_dim: int) -> Any:
    """Decodes to a DTensor [experts, in, out]: "ep" cuts experts, "ep_shard" cuts `ep_shard_dim`.

    On a mesh with neither name, the cuts of the packed tensors are kept. Strided cuts, and cuts of
    groups that give other parts of `in` than PyTorch's own cut would, are gathered first.
    """
    blocks, scales, held = _decodable(blocks, scales)
    wanted = _wanted(blocks.device_mesh, held, ep_shard_dim)
    return _dequantize_to(blocks, scales, dtype, held, wanted)


def dequantize_into_dtensor(target: Any, blocks: Any, scales: Any) -> None:
    """Fills the DTensor `target` [experts, in, out], cut in any way, from its packed weights.

    They are DTensors on the same mesh, cut as packed_placements() returns or more coarsely. Ranks
    communicate only if `target` has strided cuts.
    """
    blocks, scales, held = _decodable(blocks, scales)
    wanted = list(target.placements)
    local = target.to_local().detach()
    if _is_part(held, wanted):
        _decode_part(blocks, scales, held, wanted, local.dtype, local)
    else:
        dense = _dequantize_to(blocks, scales, local.dtype, held, wanted)
        local.copy_(dense.to_local())


def quantize_dtensor(weight: Any, mode: str, reference_scales: Any) -> tuple[Any, Any]:
    """Quantizes to DTensors (blocks, scales), cut along experts and rows.

    Blocks run along `in`, so weights that are cut along it are first redistributed along `out`.
    """
    mesh = weight.device_mesh
    held = [Shard(2) if _cuts(p, 1) else p for p in weight.placements]
    held = [p if _cuts(p, 0, 2) else Replicate() for p in held]
    packed_held = [Shard(1) if _cuts(p, 2) else p for p in held]
    local = weight.redistribute(mesh, held).to_local()
    if isinstance(reference_scales, DTensor):
        reference_scales = reference_scales.redistribute(mesh, packed_held).to_local()
    elif reference_scales is not None:
        whole = distribute_tensor(reference_scales, mesh, packed_held, src_data_rank=None)
        reference_scales = whole.to_local()
    parts = quantize(local, mode, reference_scales)
    experts, inputs, rows = weight.shape
    scales_shape = experts, rows, inputs // BLOCK_SIZE
    blocks, scales = (
        _from_local(part, mesh, packed_held, shape)
        for part, shape in zip(parts, ((*scales_shape, BLOCK_BYTES), scales_shape), strict=True)
    )
    return blocks, scales


def packed_placements(weight: Any) -> list[Any]:
    """Placements of packed weights from which each rank can decode its part of `weight`.

    Keeps the cuts that packed weights can have; a rank holds more than its part if `weight` has a
    strided cut, or one through a group.
    """
    mesh = weight.device_mesh
    groups = weight.shape[1] // BLOCK_SIZE
    whole_groups = _cuts_whole_groups(weight.placements, 1, mesh, groups, BLOCK_SIZE)
    kept = (0, 1, 2) if whole_groups else (0, 2)
    return [
        Shard(_PACKED_DIM[p.dim]) if _cuts(p, *kept) else Replicate() for p in weight.placements
    ]


def empty_dtensor(shape: tuple[int, ...], like: Any, placements: list[Any]) -> Any:
    """An uninitialized uint8 DTensor on the mesh and the device of `like`."""
    mesh = like.device_mesh
    local, _ = compute_local_shape_and_global_offset(shape, mesh, placements)
    storage = torch.empty(local, dtype=torch.uint8, device=like.to_local().device)
    return _from_local(storage, mesh, placements, shape)


def _cuts(placement: Any, *dims: int) -> bool:
    """Whether this is a cut along one of these dimensions and not a strided one."""
    plain = isinstance(placement, Shard) and not isinstance(placement, _StridedShard)
    return plain and placement.dim in dims


def _cuts_whole_groups(placements: Any, dim: int, mesh: Any, groups: int, width: int) -> bool:
    """Whether cutting `groups` groups gives the same parts as cutting their weights, `width` each.

    `dim` is the dimension that is cut. False unless exactly one mesh dimension cuts it.
    """
    ranks = [mesh.size(i) for i, p in enumerate(placements) if _cuts(p, dim)]
    return len(ranks) == 1 and -(-groups * width // ranks[0]) == -(-groups // ranks[0]) * width


def _decodable(blocks: Any, scales: Any) -> tuple[Any, Any, list[Any]]:
    """(blocks, scales) of which each rank can decode what it holds, and the decoded placements."""
    mesh = blocks.device_mesh
    width = blocks.shape[3] * 2
    whole_groups = _cuts_whole_groups(blocks.placements, 2, mesh, blocks.shape[2], width)
    kept = (0, 1, 2) if whole_groups else (0, 1)
    packed: list[Any] = [p if _cuts(p, *kept) else Replicate() for p in blocks.placements]
    held = [Shard(_DENSE_DIM[p.dim]) if p.is_shard() else p for p in packed]
    return blocks.redistribute(mesh, packed), scales.redistribute(mesh, packed), held


def _dense_shape(blocks: Any) -> tuple[int, int, int]:
    experts, rows, groups, block_bytes = blocks.shape
    return experts, groups * block_bytes * 2, rows


def _dequantize_to(blocks: Any, scales: Any, dtype: Any, held: list[Any], wanted: list[Any]) -> Any:
    """A DTensor with the placements `wanted`; ranks do not communicate if cuts are only added."""
    mesh = blocks.device_mesh
    if _is_part(held, wanted):
        local = _decode_part(blocks, scales, held, wanted, dtype)
        return _from_local(local, mesh, wanted, _dense_shape(blocks))
    local = dequantize_local(blocks.to_local(), scales.to_local(), dtype)
    return _from_local(local, mesh, held, _dense_shape(blocks)).redistribute(mesh, wanted)


def _from_local(local: Any, mesh: Any, placements: list[Any], shape: tuple[int, ...]) -> Any:
    strides = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        local, mesh, placements, run_check=False, shape=torch.Size(shape), stride=strides
    )


def _wanted(mesh: Any, held: list[Any], ep_shard_dim: int) -> list[Any]:
    names = mesh.mesh_dim_names or ()
    cut = {"ep": Shard(0), "ep_shard": Shard(ep_shard_dim)}
    if not cut.keys() & set(names):
        return held
    return [cut.get(name, Replicate()) for name in names]


def _is_part(held: list[Any], wanted: list[Any]) -> bool:
    """Whether every rank's part under `wanted` is within what it holds under `held`, on any mesh.

    It is if cuts are only added, and not left of another cut along the same dimension: mesh
    dimensions cut from left to right, so that cut would move.
    """
    for mesh_dim, (before, after) in enumerate(zip(held, wanted, strict=True)):
        if before == after and type(before) is type(after):
            continue
        added = before.is_replicate() and _cuts(after, 0, 1, 2)
        if not added or any(_cuts(p, after.dim) for p in held[mesh_dim:]):
            return False
    return True


def _decode_part(
    blocks: Any,
    scales: Any,
    held: list[Any],
    wanted: list[Any],
    dtype: Any,
    out: Any = None,
) -> Any:
    """Decodes this rank's part under `wanted` of what it holds under `held`, into `out` if given.

    A group that a cut goes through is decoded whole and trimmed.
    """
    width = blocks.shape[3] * 2
    experts, inputs, rows = _part(_dense_shape(blocks), blocks.device_mesh, held, wanted)
    groups = slice(inputs.start // width, -(-inputs.stop // width))
    blocks, scales = (x.to_local()[experts, rows, groups].contiguous() for x in (blocks, scales))
    length = inputs.stop - inputs.start
    if length == blocks.shape[2] * width:
        return dequantize_local(blocks, scales, dtype, out)
    dense = dequantize_local(blocks, scales, dtype).narrow(1, inputs.start % width, length)
    return dense.contiguous() if out is None else out.copy_(dense)


def _part(shape: Any, mesh: Any, held: list[Any], wanted: list[Any]) -> list[slice]:
    """The slices of what this rank holds under `held` that are its part under `wanted`."""
    _, held_offset = compute_local_shape_and_global_offset(shape, mesh, held)
    size, offset = compute_local_shape_and_global_offset(shape, mesh, wanted)
    firsts = [o - h for o, h in zip(offset, held_offset, strict=True)]
    return [slice(first, first + n) for first, n in zip(firsts, size, strict=True)]
