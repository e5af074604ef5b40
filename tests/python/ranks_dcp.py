"""What each rank runs: torch.distributed.checkpoint writes what mxferry reads, and the other way
round."""

from itertools import product

import mxferry
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from folders import read
from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor


def plans(world_size):
    """(name, sizes of the mesh, placements of a tensor)."""

    def columns(tensor):
        return [Shard(min(1, tensor.ndim - 1))]

    def experts_both_ways(tensor):
        return [Shard(1), Shard(0)] if tensor.ndim > 2 else [Replicate(), Shard(0)]

    yield "rows", (world_size,), lambda tensor: [Shard(0)]
    yield "columns", (world_size,), columns
    yield "last", (world_size,), lambda tensor: [Shard(tensor.ndim - 1)]
    if world_size == 4:
        yield "grid", (2, 2), experts_both_ways
        yield "nested", (2, 2), lambda tensor: [Shard(0), Shard(0)]


def distributed(whole, sizes, placements):
    mesh = init_device_mesh("cpu", sizes)
    return {
        name: distribute_tensor(tensor, mesh, placements(tensor), src_data_rank=None)
        for name, tensor in whole.items()
    }


def same_files(a, b):
    names = sorted(path.name for path in a.glob("*.safetensors"))
    assert names and names == sorted(path.name for path in b.glob("*.safetensors"))
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), (a, name)


def same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].full_tensor().equal(tensor), name


def check_conversion(folder, form, shards, to, dtype):
    """On one rank: what torch saved converts as the folder does that it was saved from."""
    whole = mxferry.convert(folder / form, shards / "of_whole", to=to, dtype=dtype, sync=False)
    ours = mxferry.convert(shards, shards / "of_shards", to=to, dtype=dtype, sync=False)
    assert ours.plan.tensors_in == whole.plan.tensors_in
    assert ours.plan.bytes_in == whole.plan.bytes_in
    same_files(shards / "of_whole", shards / "of_shards")
    report = mxferry.inspect(shards)
    assert report.distributed and {p.file for p in report.problems} == {"config.json"}
    assert mxferry.verify(folder / form, shards).identical
    if form != "packed":  # whose integers torch cannot consolidate
        (shards / "by_torch").mkdir()
        one_file = dict.fromkeys(read(folder / form), 1)
        consolidate_safetensors_files(
            input_dir=str(shards),
            output_dir=str(shards / "by_torch"),
            fqn_to_index_mapping=one_file,
        )
        assert mxferry.verify(shards / "by_torch", shards).identical


def check_reading(folder, form, world_size):
    whole = read(folder / form)
    for name, sizes, placements in plans(world_size):
        shards = folder / f"{form}_{name}"
        state = distributed(whole, sizes, placements)
        writer = HuggingFaceStorageWriter(str(shards), save_distributed=True)
        dcp.save(state, storage_writer=writer)
        dist.barrier()
        if dist.get_rank() == 0:
            check_conversion(folder, form, shards, "hf", "mxfp4")
        dist.barrier()
        if form == "packed":
            continue
        # Cut otherwise than it was saved.
        for _, other_sizes, other in plans(world_size):
            empty = {k: torch.zeros_like(v) for k, v in whole.items()}
            loaded = distributed(empty, other_sizes, other)
            layout = "nemo" if form == "native" else "hf"
            mxferry.load_into(loaded, shards, layout=layout)
            same(loaded, whole)


def check_writing(folder, world_size):
    whole = {form: read(folder / form) for form in ("packed", "native")}
    for count, (form, tensors) in product((1, 2, 3, 5), whole.items()):
        shards = folder / f"{form}_written_{count}"
        if dist.get_rank() == 0:
            to, dtype = ("hf", "mxfp4") if form == "packed" else ("nemo", None)
            plan = mxferry.convert(
                folder / "packed", shards, to=to, dtype=dtype, dcp_shards=count, sync=False
            ).plan
            assert [shard.file for shard in plan.shards] == [
                f"shard-{rank + 1:05}-model-00001-of-00001.safetensors" for rank in range(count)
            ]
        dist.barrier()
        for _, sizes, placements in plans(world_size):
            empty = {k: torch.zeros_like(v) for k, v in tensors.items()}
            state = distributed(empty, sizes, placements)
            dcp.load(state, storage_reader=HuggingFaceStorageReader(str(shards)))
            same(state, tensors)


def check(folder):
    world_size = dist.get_world_size()
    for form in ("packed", "dense", "native"):
        check_reading(folder, form, world_size)
    check_writing(folder, world_size)
