"""What each rank runs: load_into on DTensors of many meshes, against slices of the whole."""

import itertools

import mxferry
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

EXPERTS = "model.layers.0.mlp.experts.down_projs"
NAMES = (EXPERTS, "model.layers.1.mlp.experts.gate_and_up_projs", "lm_head.weight")


def meshes(world_size):
    """(sizes, names): expert parallelism, with FSDP, FSDP alone, without names."""
    yield (world_size,), ("ep",)
    for first in range(2, world_size):
        if world_size % first == 0:
            yield (first, world_size // first), ("ep_shard", "ep")
            yield (first, world_size // first), None


def placements_of(tensor, sizes):
    one = [Replicate(), *(Shard(dim) for dim in range(tensor.ndim))]
    yield from itertools.product(one, repeat=len(sizes))
    if len(sizes) == 2:
        # What FSDP makes of a dimension that another mesh dimension cuts already.
        for dim in range(tensor.ndim):
            yield _StridedShard(dim, split_factor=sizes[1]), Shard(dim)
            yield Shard(dim), _StridedShard(dim, split_factor=2)


def check_placements(path, whole, mesh, sizes):
    for name, full in whole.items():
        for placements in placements_of(full, sizes):
            expected = distribute_tensor(full, mesh, placements, src_data_rank=None)
            # A cut from right to left is a redistribution of PyTorch's that need not be strided.
            local = torch.full_like(expected.to_local(), 7)
            tensor = DTensor.from_local(
                local, mesh, placements, run_check=False, shape=full.shape, stride=full.stride()
            )
            mxferry.load_into({name: tensor}, path, strict=False)
            assert local.equal(expected.to_local()), (name, sizes, placements)


def check_bytes(path, world_size):
    """Expert parallelism reads a share of the experts, and no more."""
    mesh = init_device_mesh("cpu", (world_size,), mesh_dim_names=("ep",))
    checkpoint = mxferry.open_checkpoint(path)
    shape = checkpoint.get_slice(EXPERTS).get_shape()
    tensor = distribute_tensor(torch.zeros(shape), mesh, [Shard(0)], src_data_rank=None)
    mxferry.load_into({EXPERTS: tensor}, checkpoint, strict=False)
    experts = tensor.to_local().shape[0]
    assert checkpoint.bytes_read == experts * shape[1] * shape[2] // 32 * 17


def check_fsdp(path, whole):
    """A module that PyTorch itself has cut, filled through its state dict."""
    module = torch.nn.Module()
    module.lm_head = torch.nn.Linear(*reversed(whole["lm_head.weight"].shape), bias=False)
    fully_shard(module)
    mxferry.load_into(module, path, strict=False)
    assert module.lm_head.weight.full_tensor().equal(whole["lm_head.weight"].float())


def check(folder):
    path = folder / "packed"
    world_size = dist.get_world_size()
    checkpoint = mxferry.open_checkpoint(path)
    whole = {name: checkpoint[name] for name in NAMES}
    for sizes, names in meshes(world_size):
        check_placements(path, whole, init_device_mesh("cpu", sizes, mesh_dim_names=names), sizes)
    check_bytes(path, world_size)
    check_fsdp(path, whole)
