#!/usr/bin/env python3
"""Writes placement_table.inc: what PyTorch gives each rank of a tensor, for local_part() to agree with.

    python3 tests/tensor/make_placement_table.py > tests/tensor/placement_table.inc

A row is the sizes of the tensor, those of the mesh, a placement for each mesh dimension ("R", or the
dimension of the tensor that it cuts), and for each rank, the last mesh dimension running fastest, where
each dimension begins and how much of it there is: digits all. Needs PyTorch 2.13.
"""

import itertools

from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor._utils import _compute_local_shape_and_global_offset


def row(shape, mesh, placements):
    cuts = [Replicate() if p == "R" else Shard(int(p)) for p in placements]
    digits = ""
    for rank in itertools.product(*map(range, mesh)):
        extent, begin = _compute_local_shape_and_global_offset(shape, mesh, list(rank), cuts)
        digits += "".join(f"{b}{e}" for b, e in zip(begin, extent, strict=True))
    texts = ("".join(map(str, shape)), "".join(map(str, mesh)), "".join(placements), digits)
    return "{" + ", ".join(f'"{text}"' for text in texts) + "}"


def cases():
    # Up to three cuts of one dimension.
    for size in range(10):
        for cuts in range(3):
            for mesh in itertools.product(range(1, 5), repeat=cuts):
                yield (size,), mesh, "0" * cuts
        for mesh in itertools.product((2, 3), repeat=3):
            yield (size,), mesh, "000"
    # All placements of three dimensions.
    for shape in ((5, 3, 2), (1, 7, 4), (0, 4, 9)):
        for placements in itertools.product("R012", repeat=3):
            yield shape, (2, 3, 2), placements


def main():
    print("// Written by make_placement_table.py.")
    print("constexpr Row kRows[] = {")
    for case in cases():
        print(f"    {row(*case)},")
    print("};")


main()
