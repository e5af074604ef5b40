"""What each rank runs: PyTorch's distributed checkpoints through the adapter, on many meshes."""

from types import SimpleNamespace

import mxferry
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from folders import read
from quantized_reader import Reader
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

LAYERS = 2
EXPERTS = ("mlp.experts.gate_and_up_projs", "mlp.experts.down_projs")


def meshes(world_size):
    """(sizes, names, placements of the experts), as NeMo AutoModel and plain FSDP make them."""
    yield (world_size,), ("ep",), [Shard(0)]
    yield (world_size,), ("dp_shard_cp",), [Shard(0)]
    yield (world_size, 1), ("ep_shard", "ep"), [Shard(1), Shard(0)]
    for first in [n for n in (2, 3) if world_size % n == 0 and world_size > n]:
        sizes = first, world_size // first
        yield sizes, ("ep_shard", "ep"), [Shard(1), Shard(0)]
        yield sizes, ("dp_replicate", "dp_shard_cp"), [Replicate(), Shard(0)]
        yield sizes, ("dp", "tp"), [Shard(0), Shard(0)]
        # FSDP over what is cut already: the outer mesh dimension cuts last.
        for dim in (0, 1, 2):
            yield sizes, ("dp", "tp"), [_StridedShard(dim, split_factor=sizes[1]), Shard(dim)]
        yield sizes, ("dp", "tp"), [Shard(1), Shard(2)]
        yield sizes, ("dp", "tp"), [Shard(1), Shard(1)]


def distributed(tensors, mesh, placements):
    """The native state dict on a mesh; other parameters are cut by its last dimension."""
    other = [Replicate()] * (mesh.ndim - 1) + [Shard(0)]
    return {
        name: local_split(tensor, mesh, placements if name.endswith(EXPERTS) else other)
        for name, tensor in tensors.items()
    }


def local_split(tensor, mesh, placements):
    """As every rank has the whole; PyTorch sends no strided shards that are uneven."""
    return distribute_tensor(tensor, mesh, placements, src_data_rank=None)


def adapter():
    config = SimpleNamespace(num_hidden_layers=LAYERS)
    return mxferry.GPTOSSStateDictAdapter(config, None, SimpleNamespace(attn="flex"))


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].full_tensor().equal(tensor), (name, found[name].placements)


def check_parts(folder, mesh, native, placements):
    """Parts fill the model on every rank, in the same order, from the MXFP4 folder.

    Returns how many bytes of each packed tensor this rank had room for.
    """
    state = distributed({k: torch.full_like(v, 7) for k, v in native.items()}, mesh, placements)
    reader = HuggingFaceStorageReader(str(folder / "packed"))
    names, held = [], {}
    for part in adapter().iter_checkpoint_load_parts(state, device_mesh=mesh):
        names.append(list(part.checkpoint_tensors))
        for name in part.temporary_checkpoint_keys:
            held[name] = part.checkpoint_tensors[name].to_local().numel()
        dcp.load(part.checkpoint_tensors, storage_reader=reader)
        part.finish()
    gathered = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, names)
    assert len(names) == 1 + LAYERS and all(other == names for other in gathered)
    for name, tensor in distributed(native, mesh, placements).items():
        assert state[name].to_local().equal(tensor.to_local()), (name, placements)
    return held


def check_room(held, world_size):
    """Of the 6 groups of gate_up_proj a rank reads its own where ranks get whole groups, else all;
    of the 5 of down_proj all.
    """
    prefix = "model.layers.0.mlp.experts."
    groups = 6 if 6 % world_size else 6 // world_size
    assert held[prefix + "gate_up_proj_blocks"] == 5 * 320 * groups * 16
    assert held[prefix + "down_proj_scales"] == 5 * 192 * 5


def check_partial_sums_have_no_parts(native, mesh):
    state = distributed(native, mesh, [Shard(0)])
    name = f"model.layers.1.{EXPERTS[1]}"
    state[name] = DTensor.from_local(native[name], mesh, [Partial()])
    assert adapter().iter_checkpoint_load_parts(state, device_mesh=mesh) is None


def check_whole(folder, mesh, native, placements):
    """Storage for all packed tensors, read from the MXFP4 folder, then decoded."""
    made = adapter()
    storage = made.to_hf(distributed(native, mesh, placements), quantization=True)
    dcp.load(storage, storage_reader=HuggingFaceStorageReader(str(folder / "packed")))
    same(made.from_hf(storage, device_mesh=mesh), native)


def check_round_trip(folder, mesh, native, placements):
    """Quantized, saved, loaded and decoded, each by this mesh: the same weights."""
    made, state = adapter(), distributed(native, mesh, placements)
    packed = made.to_hf(state, quantization="values", mode="best")
    dcp.save(packed, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    storage = made.to_hf(state, quantization=True)
    dcp.load(storage, storage_reader=HuggingFaceStorageReader(str(folder)))
    same(made.from_hf(storage), native)


def check_pytorch_agrees(folder, mesh, native):
    """What PyTorch's own reader of MXFP4 decodes to, cut along `in`, through groups too."""
    name = f"model.layers.1.{EXPERTS[1]}"
    target = distribute_tensor(
        torch.zeros(native[name].mT.shape, dtype=torch.bfloat16), mesh, [Shard(2)]
    )
    reader = Reader(str(folder / "packed"), target_dtype=torch.bfloat16)
    state = {"model.layers.1.mlp.experts.down_proj_blocks": target}
    dcp.load(state, storage_reader=reader)
    assert target.to_local().mT.equal(distribute_tensor(native[name], mesh, [Shard(1)]).to_local())


def fresh(folder, name):
    """A folder that every rank sees and no earlier check has used."""
    path = folder / name
    if dist.get_rank() == 0:
        path.mkdir()
    dist.barrier()
    return path


@torch.no_grad()
def check(folder):
    native = read(folder / "native")
    world_size = dist.get_world_size()
    for number, (sizes, names, placements) in enumerate(meshes(world_size)):
        mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
        held = check_parts(folder, mesh, native, placements)
        if placements == [Shard(1), Shard(0)] and sizes == (world_size, 1):
            check_room(held, world_size)
        check_whole(folder, mesh, native, placements)
        check_round_trip(fresh(folder, f"saved-{number}"), mesh, native, placements)
    check_partial_sums_have_no_parts(native, init_device_mesh("cpu", (world_size,)))
    check_pytorch_agrees(folder, init_device_mesh("cpu", (world_size,)), native)
