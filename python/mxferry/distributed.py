"""Packed and dense weights as DTensors: every rank decodes what it holds, and no more.

How the dimensions of packed weights [experts, out, groups, 16] become those of dense ones
[experts, in, out]: 0 stays, 1 becomes 2, 2 becomes 1.
"""

from typing import Any

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from .tensors import BLOCK_BYTES, dequantize_local
from .weights import quantize

# Dimension of dense weights -> that of the packed ones.
_PACKED_DIM = {0: 0, 1: 2, 2: 1}


def dequantize_dtensors(blocks: Any, scales: Any, dtype: Any, ep_shard_dim: int) -> Any:
    """A DTensor [experts, in, out]: "ep" cuts the experts, "ep_shard" cuts `ep_shard_dim`.

    On a mesh that names neither, cuts of the packed tensors along experts and `out` stay, and
    others are gathered: groups are not cut where rows of 32 weights are.
    """
    mesh = blocks.device_mesh
    held = _only_cut(blocks.placements, 0, 1)
    blocks, scales = (x.redistribute(mesh, held) for x in (blocks, scales))
    local = blocks.to_local(), scales.to_local()
    experts, rows, groups, block_bytes = blocks.shape
    shape = torch.Size((experts, groups * block_bytes * 2, rows))
    dense_held = [Shard(2) if p == Shard(1) else p for p in held]
    wanted = _wanted(mesh, dense_held, ep_shard_dim)
    cuts = _simple_cuts(dense_held, wanted)
    if cuts:
        # Cutting what is whole needs no other rank: only this rank's part is decoded.
        dense = _decode_part(*local, dtype, mesh, cuts)
        dense_held = wanted
    else:
        dense = dequantize_local(*local, dtype)
    strides = (shape[1] * shape[2], shape[2], 1)
    result = DTensor.from_local(
        dense, mesh, dense_held, run_check=False, shape=shape, stride=strides
    )
    return result if dense_held == wanted else result.redistribute(mesh, wanted)


def quantize_dtensor(weight: Any, mode: str, reference_scales: Any) -> tuple[Any, Any]:
    """DTensors (blocks, scales), cut along experts and rows.

    Blocks run along `in`: weights that are cut there are first redistributed along `out`.
    """
    mesh = weight.device_mesh
    held = [Shard(2) if p == Shard(1) else p for p in weight.placements]
    held = _only_cut(held, 0, 2)
    packed_held = [Shard(1) if p == Shard(2) else p for p in held]
    local = weight.redistribute(mesh, held).to_local()
    if isinstance(reference_scales, DTensor):
        reference_scales = reference_scales.redistribute(mesh, packed_held).to_local()
    elif reference_scales is not None:
        whole = distribute_tensor(reference_scales, mesh, packed_held, src_data_rank=None)
        reference_scales = whole.to_local()
    parts = quantize(local, mode, reference_scales)
    experts, inputs, rows = weight.shape
    groups = inputs // (2 * BLOCK_BYTES)
    shapes = torch.Size((experts, rows, groups, BLOCK_BYTES)), torch.Size((experts, rows, groups))
    strides = (rows * groups * 16, groups * 16, 16, 1), (rows * groups, groups, 1)
    blocks, scales = (
        DTensor.from_local(p, mesh, packed_held, run_check=False, shape=s, stride=t)
        for p, s, t in zip(parts, shapes, strides, strict=True)
    )
    return blocks, scales


def _only_cut(placements: Any, *dims: int) -> list[Any]:
    """The placements with every cut but plain ones along these dimensions gathered."""
    plain = [Shard(dim) for dim in dims]
    return [p if p in plain else Replicate() for p in placements]


def _wanted(mesh: Any, held: list[Any], ep_shard_dim: int) -> list[Any]:
    names = mesh.mesh_dim_names or ()
    cut = {"ep": Shard(0), "ep_shard": Shard(ep_shard_dim)}
    if not cut.keys() & set(names):
        return held
    return [cut.get(name, Replicate()) for name in names]


def _simple_cuts(held: list[Any], wanted: list[Any]) -> dict[int, int] | None:
    """Mesh dimension -> dimension of [experts, in, out] to cut there; None where that is not all.

    Two mesh dimensions that cut one dimension of the weights are left to PyTorch.
    """
    cuts = {}
    for mesh_dim, (before, after) in enumerate(zip(held, wanted, strict=True)):
        if before == after:
            continue
        if before.is_shard() or not after.is_shard():
            return None
        cuts[mesh_dim] = after.dim
    dims = [p.dim for p in wanted if p.is_shard()]
    return cuts if len(set(dims)) == len(dims) else None


def _decode_part(blocks: Any, scales: Any, dtype: Any, mesh: Any, cuts: dict[int, int]) -> Any:
    """This rank's part of the weights. A cut through a group decodes the group and trims it."""
    width = blocks.shape[3] * 2
    first = last = 0
    for mesh_dim, dim in cuts.items():
        if dim == 1:
            first, last = _part(blocks.shape[2] * width, mesh, mesh_dim)
            part = slice(first // width, -(-last // width))
        else:
            part = slice(*_part(blocks.shape[_PACKED_DIM[dim]], mesh, mesh_dim))
        index = (slice(None),) * _PACKED_DIM[dim] + (part,)
        blocks, scales = blocks[index], scales[index]
    dense = dequantize_local(blocks.contiguous(), scales.contiguous(), dtype)
    if 1 in cuts.values() and dense.shape[1] != last - first:
        dense = dense[:, first % width :][:, : last - first].contiguous()
    return dense


def _part(size: int, mesh: Any, mesh_dim: int) -> tuple[int, int]:
    """[first, last) of this rank's chunk, as torch.chunk cuts."""
    chunk = -(-size // mesh.size(mesh_dim))
    first = min(size, chunk * mesh.get_local_rank(mesh_dim))
    return first, min(size, first + chunk)
