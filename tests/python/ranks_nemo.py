"""What each rank runs: NeMo AutoModel shards its model and loads MXFP4 into it."""

import mxferry.nemo
import torch.distributed as dist
from folders import read
from nemo_automodel.components.moe.parallelizer import apply_ep, apply_fsdp
from nemo_model import checkpointer, gpt_oss
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard

NAME = "model.layers.1.mlp.experts.gate_and_up_projs"


def sharded(folder, ep):
    """(model, moe_mesh) as NeMo AutoModel makes them for this many ranks of expert parallelism."""
    model, ranks = gpt_oss(folder / "packed"), dist.get_world_size()
    mesh = init_device_mesh("cpu", (ranks,), mesh_dim_names=("dp_shard_cp",))
    if ep == 1:
        apply_fsdp(model, mesh, ep_enabled=False, ep_shard_enabled=False)
        return model, None
    moe = init_device_mesh("cpu", (ranks // ep, ep), mesh_dim_names=("ep_shard", "ep"))
    apply_ep(model, moe["ep"], moe)
    apply_fsdp(
        model, mesh, ep_enabled=True, ep_shard_enabled=ranks > ep, ep_shard_mesh=moe["ep_shard"]
    )
    return model, moe


def load(folder, ep, in_parts=True):
    """The loaded model's state dict."""
    model, moe = sharded(folder, ep)
    if not in_parts:
        model.state_dict_adapter.iter_checkpoint_load_parts = lambda *_, **__: None
    checkpointer(folder, moe).load_model(model, str(folder / "packed"), is_init_step=True)
    return model.state_dict()


def same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].full_tensor().equal(tensor.to(state[name].dtype)), name


def check(folder):
    native = read(folder / "native")
    ours = mxferry.nemo.install()
    placements = {1: (Shard(0),), 2: (Shard(1), Shard(0)), 4: (Shard(0),)}
    for ep, expected in placements.items():
        state = load(folder, ep)
        assert state[NAME].placements == expected
        same(state, native)
        # As for experts that are copies: all layers' packed tensors, then from_hf().
        same(load(folder, ep, in_parts=False), native)
    assert issubclass(ours, mxferry.GPTOSSStateDictAdapter)

    # Its own class loads no other size than the published ones.
    mxferry.nemo.uninstall()
    try:
        load(folder, 2)
    except CheckpointException as error:
        assert "Size mismatch" in str(error), error
    else:
        raise AssertionError("NeMo's own adapter loads any size now: docs/nemo.md")
