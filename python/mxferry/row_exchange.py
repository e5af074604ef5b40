"""Joins weights that are cut along their inputs: ranks exchange rows, one expert at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist

from .ownership import Box, Column
from .ranks import Ranks


def exchanged_rows(
    column: Column, parts: Mapping[Box, Any], ranks: Ranks
) -> Iterator[tuple[list[int], Any]]:
    """(where a box begins, [1, in, rows] on the CPU) for each expert, of this rank's share of rows.

    parts: what this rank holds of the tensor. All owners of the column's strips must call this at
    the same point and take every item. An item is valid only until the next is requested.
    """
    shares = column.shares()
    mine = shares[ranks.rank]
    own = {
        strip: parts[column.experts, (strip.begin, strip.end), column.rows]
        for strip in column.strips
        if strip.owner == ranks.rank
    }
    like = next(iter(own.values()))
    wire = _wire_device(like.device, ranks.group)
    inputs = column.strips[-1].end
    whole = torch.empty((inputs, len(mine)), dtype=like.dtype, device=wire)
    for expert in range(*column.experts):
        transfers = []
        for tag, strip in enumerate(column.strips):
            place = whole[strip.begin : strip.end]
            if strip.owner != ranks.rank:
                transfers.append(_transfer(dist.irecv, place, strip.owner, ranks, tag))
                continue
            held = own[strip][expert - column.experts[0]]
            for owner, rows in shares.items():
                piece = held[:, rows.start - column.rows[0] : rows.stop - column.rows[0]]
                if owner == ranks.rank:
                    place.copy_(piece)
                else:
                    piece = piece.to(wire).contiguous()
                    transfers.append(_transfer(dist.isend, piece, owner, ranks, tag))
        transfers = [transfer for transfer in transfers if transfer.tensor.numel() > 0]
        for work in dist.batch_isend_irecv(transfers) if transfers else []:
            work.wait()
        yield [expert, 0, mine.start], whole[None].cpu()


def _transfer(operation: Any, tensor: Any, peer: int, ranks: Ranks, tag: int) -> Any:
    return dist.P2POp(operation, tensor, ranks.world[peer], ranks.group, tag)


def _wire_device(held: Any, group: Any) -> Any:
    """The device to send from: the tensors' own if the group can; gloo sends from the CPU."""
    backends = dict(pair.split(":") for pair in dist.get_backend_config(group).split(","))
    if held.type != "cpu" and backends.get(held.type, "gloo") != "gloo":
        return held
    return torch.device("cpu") if "cpu" in backends else torch.device("cuda")
