"""What each rank runs: save_checkpoint of DTensors on many meshes, against what convert writes."""

import json
import shutil

import mxferry
import mxferry.save
import torch
import torch.distributed as dist
from folders import contents, read
from ranks_load import meshes, placements_of
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

OPTIONS = {"max_shard_size": 150_000, "sync": False}
DOWN = "model.layers.1.mlp.experts.down_projs"


def on_first(step):
    if dist.get_rank() == 0:
        step()
    dist.barrier()


def cut(tensor, mesh, placements):
    """As far as the tensor has these dimensions; every rank has the whole, so nothing is sent."""
    placements = [Replicate() if getattr(p, "dim", 0) >= tensor.ndim else p for p in placements]
    return distribute_tensor(tensor, mesh, placements, src_data_rank=None)


def check_saved(folder, state_dict, expected, what, **options):
    options = OPTIONS | {"reference": folder / "packed", "force": True} | options
    mxferry.save_checkpoint(state_dict, folder / "saved", **options)
    if dist.get_rank() == 0:
        assert contents(folder / "saved") == contents(expected), what
    dist.barrier()


def check_placements(folder, native, expected):
    """Every pair, through groups too, uneven, empty and strided; the experts are the 3-D tensors."""
    widest = torch.zeros((2, 2, 2))
    for sizes, names in meshes(dist.get_world_size()):
        mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
        for placements in placements_of(widest, sizes):
            state_dict = {name: cut(tensor, mesh, placements) for name, tensor in native.items()}
            check_saved(folder, state_dict, expected, (sizes, placements))


def check_dtypes(folder, native):
    """What lies on the ranks in FP32 and is quantized, or stored as BF16."""
    for dtype, dense_dtype in (("mxfp4", "bf16"), ("bf16", None)):
        expected = folder / f"expected-{dtype}"
        on_first(
            lambda dtype=dtype, dense_dtype=dense_dtype, expected=expected: mxferry.convert(
                folder / "native", expected, dtype=dtype, dense_dtype=dense_dtype, **OPTIONS
            )
        )
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for dim in (0, 1):
            state_dict = {k: cut(v.float(), mesh, [Shard(dim)]) for k, v in native.items()}
            options = {"dtype": dtype, "dense_dtype": dense_dtype, "reference": None}
            options["side_files"] = folder / "native"
            check_saved(folder, state_dict, expected, (dtype, dim), **options)


def check_who_holds_what(folder, native, expected):
    """Whole tensors on all ranks, some tensors on one rank alone, copies on meshes of their own."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    check_saved(folder, native, expected, "whole")
    own = {name: x for i, (name, x) in enumerate(native.items()) if i % world_size == rank}
    check_saved(folder, own, expected, "stages")
    if world_size % 2 == 0:
        mesh = init_device_mesh("cpu", (world_size // 2, 2), mesh_dim_names=("ep_shard", "ep"))
        for dim in (0, 1):
            copies = {name: cut(x, mesh["ep"], [Shard(dim)]) for name, x in native.items()}
            check_saved(folder, copies, expected, ("meshes", dim))


def fails(folder, state_dict, pattern, code, **options):
    """All ranks raise the same, and nothing is left."""
    path = folder / "failed"
    try:
        mxferry.save_checkpoint(
            state_dict, path, **(OPTIONS | {"reference": folder / "packed"} | options)
        )
    except mxferry.Error as error:
        assert pattern in str(error) and error.code == code, (str(error), error.code)
    else:
        raise AssertionError(f"no error with {pattern}")
    dist.barrier()
    assert not path.exists()


def check_failures(folder, native):
    """Of the last rank alone, at each step."""
    rank, last = dist.get_rank(), dist.get_world_size() - 1
    mesh = init_device_mesh("cpu", (last + 1,))
    for dim in (0, 1):
        broken = native[DOWN].clone()
        # In the last expert, input and row; 5 ranks or fewer have experts.
        broken[-1, -1, -1] = torch.nan
        state_dict = {
            k: cut(broken if k == DOWN else v, mesh, [Shard(dim)]) for k, v in native.items()
        }
        # Rows are exchanged, or the experts are cut, one to a rank as far as they go.
        owner = last if dim == 1 else min(last, -(-5 // -(-5 // (last + 1))) - 1)
        where = f"rank {owner}: tensor '{DOWN}'"
        fails(folder, state_dict, where, "nonfinite_weight")
    lost = dict(native)
    if rank == last:
        lost["model.norm.weight"] = torch.empty(192, device="meta")
    fails(folder, lost, f"rank {last}: a tensor on the meta device", "invalid_argument")
    config = folder / ("packed/config.json" if rank != last else "nowhere/config.json")
    fails(
        folder,
        native,
        f"rank {last}: {folder / 'nowhere/config.json'}: cannot read",
        "io_error",
        config=config,
    )
    shorter = {
        k: (v[:-1] if rank == last and k == "lm_head.weight" else v) for k, v in native.items()
    }
    fails(folder, shorter, "'lm_head.weight': rank", "wrong_shape")
    fails(
        folder, {k: v for k, v in native.items() if k != DOWN}, "down projection", "missing_tensor"
    )
    part = distribute_tensor(native[DOWN], mesh, [Shard(0)], src_data_rank=None)
    holes = native | {DOWN: part}
    if rank == 0:
        del holes[DOWN]
    fails(folder, holes, "no rank holds a part", "missing_tensor")


def check_ranks_that_disagree(folder, native):
    """One argument that decides bytes is another on one rank: all raise, and nothing is written."""
    last = dist.get_rank() == dist.get_world_size() - 1
    for name, usual, other in (
        ("quant_mode", "gptoss", "even"),
        ("reference", folder / "packed", None),
        ("allow_nonfinite", False, True),
        ("max_shard_size", 150_000, 100_000),
        ("dense_dtype", None, "f32"),
    ):
        options = {name: other if last else usual, "side_files": folder / "packed"}
        pattern = f"the ranks give different values for {name}"
        fails(folder, native, pattern, "invalid_argument", **options)
    text = (folder / "packed/config.json").read_text()
    config = json.loads(text) | ({"eos_token_id": 7} if last else {})
    fails(folder, native, "the ranks give different values", "invalid_argument", config=config)


def check_interrupts(folder, native, monkeypatched):
    """Ctrl-C on one rank, in the middle of its work: it raises that, and the others an Error."""
    last = dist.get_rank() == dist.get_world_size() - 1
    path = folder / "failed"
    step = monkeypatched._Part._write

    def interrupted(self, regions):
        if last:
            raise KeyboardInterrupt
        step(self, regions)

    monkeypatched._Part._write = interrupted
    try:
        mxferry.save_checkpoint(native, path, reference=folder / "packed", **OPTIONS)
    except KeyboardInterrupt:
        assert last
    except mxferry.Error as error:
        assert not last
        assert error.code == "cancelled"
        assert "KeyboardInterrupt" in str(error)
    else:
        raise AssertionError("no error")
    finally:
        monkeypatched._Part._write = step
    dist.barrier()
    assert not path.exists()


def check_an_old_checkpoint_outlives_a_failure(folder, native, expected):
    on_first(lambda: shutil.copytree(expected, folder / "old"))
    broken = native | {DOWN: torch.full_like(native[DOWN], torch.nan)}
    try:
        mxferry.save_checkpoint(
            broken, folder / "old", reference=folder / "packed", force=True, **OPTIONS
        )
    except mxferry.Error as error:
        assert error.code == "nonfinite_weight"
    dist.barrier()
    assert contents(folder / "old") == contents(expected)


def check_groups(folder, native, expected):
    """The first ranks save together, and the last has no part in it."""
    world_size = dist.get_world_size()
    group = dist.new_group(list(range(world_size - 1)))
    if dist.get_rank() < world_size - 1:
        path = folder / "by-a-group"
        mxferry.save_checkpoint(native, path, reference=folder / "packed", group=group, **OPTIONS)
    dist.barrier()
    assert contents(folder / "by-a-group") == contents(expected)


@torch.no_grad()
def check(folder):
    native = read(folder / "native")
    expected = folder / "expected"
    on_first(
        lambda: mxferry.convert(
            folder / "native",
            expected,
            dtype="mxfp4",
            reference=folder / "packed",
            **OPTIONS,
        )
    )
    check_placements(folder, native, expected)
    check_dtypes(folder, native)
    check_who_holds_what(folder, native, expected)
    check_failures(folder, native)
    check_ranks_that_disagree(folder, native)
    check_interrupts(folder, native, mxferry.save)
    check_an_old_checkpoint_outlives_a_failure(folder, native, expected)
    check_groups(folder, native, expected)
