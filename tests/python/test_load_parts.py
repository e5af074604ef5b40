"""The parts that a checkpoint is loaded in, read by PyTorch's own distributed checkpointing."""

import sys
import weakref
from types import SimpleNamespace

import mxferry
import pytest
import torch
import torch.distributed.checkpoint as dcp
from folders import read
from torch.distributed.checkpoint import HuggingFaceStorageReader

EXPERTS = ("mlp.experts.gate_and_up_projs", "mlp.experts.down_projs")
NAMES = [f"model.layers.{n}.{suffix}" for n in range(2) for suffix in EXPERTS]


@pytest.fixture(autouse=True)
def without_nemo(monkeypatch):
    """As where NeMo AutoModel is not imported, whatever other tests did."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "nemo_automodel":
            monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def expected(model, tmp_path):
    """The native state dict of the checkpoint `model`."""
    mxferry.convert(model, tmp_path / "nemo", to="nemo", sync=False)
    return read(tmp_path / "nemo")


def make_adapter(layers=2, **backend):
    config = SimpleNamespace(num_hidden_layers=layers)
    return mxferry.GPTOSSStateDictAdapter(config, None, SimpleNamespace(attn="flex", **backend))


def small(**changes):
    """A native state dict without values; None takes a tensor out."""
    state = {name: torch.zeros(2, 64, 6, dtype=torch.bfloat16) for name in NAMES}
    state["lm_head.weight"] = torch.zeros(3)
    state |= changes
    return {name: tensor for name, tensor in state.items() if tensor is not None}


def storages(state):
    return {name: tensor.untyped_storage().data_ptr() for name, tensor in state.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_checkpoint_is_loaded_into_the_models_own_tensors(model, expected, dtype):
    state = {
        name: torch.full_like(tensor, 7, dtype=dtype if name in NAMES else tensor.dtype)
        for name, tensor in expected.items()
    }
    own = storages(state)
    reader = HuggingFaceStorageReader(str(model))
    for part in make_adapter().iter_checkpoint_load_parts(state):
        dcp.load(part.checkpoint_tensors, storage_reader=reader, no_dist=True)
        part.finish()
    assert storages(state) == own
    for name, tensor in expected.items():
        assert state[name].equal(tensor.to(state[name].dtype)), name


def test_the_parts_are_the_model_once():
    extra = "model.layers.0.self_attn._extra_state"
    state = small(**{extra: object(), "model.layers.1.mlp.gate.bias": torch.zeros(2)})
    first, *layers = make_adapter().iter_checkpoint_load_parts(state)
    assert isinstance(first, mxferry.CheckpointLoadPart)
    direct = {"lm_head.weight": "lm_head.weight"}
    direct["model.layers.1.mlp.router.bias"] = "model.layers.1.mlp.gate.bias"
    assert first.checkpoint_tensors.keys() == direct.keys()
    assert all(first.checkpoint_tensors[hf] is state[native] for hf, native in direct.items())
    assert first.model_keys == {extra, *direct.values()} and not first.temporary_checkpoint_keys
    assert [part.model_keys for part in layers] == [set(NAMES[:2]), set(NAMES[2:])]
    for number, part in enumerate(layers):
        found = {k: (tuple(v.shape), v.dtype) for k, v in part.checkpoint_tensors.items()}
        prefix = f"model.layers.{number}.mlp.experts."
        assert found == {
            prefix + name + ending: (shape, torch.uint8)
            for name in ("gate_up_proj", "down_proj")
            for ending, shape in (("_blocks", (2, 6, 2, 16)), ("_scales", (2, 6, 2)))
        }
        assert part.temporary_checkpoint_keys == found.keys()


def test_the_sequence_does_not_depend_on_the_order_of_the_state_dict():
    adapter, state = make_adapter(), small()
    parts = [list(p.checkpoint_tensors) for p in adapter.iter_checkpoint_load_parts(state)]
    backwards = dict(reversed(state.items()))
    again = [list(p.checkpoint_tensors) for p in adapter.iter_checkpoint_load_parts(backwards)]
    assert again == parts


def test_scratch_is_gone_before_the_next_part_is_made():
    watched = []
    for part in make_adapter().iter_checkpoint_load_parts(small()):
        assert [reference() for reference in watched] == [None] * len(watched)
        watched = [
            weakref.ref(part.checkpoint_tensors[name]) for name in part.temporary_checkpoint_keys
        ]
        part.finish()
        del part
    assert len(watched) == 4 and all(reference() is None for reference in watched)


def test_a_tensor_with_gaps_is_filled(tame):
    blocks, scales = (torch.from_numpy(x) for x in tame)
    dense = mxferry.dequantize(blocks, scales)
    state = small(**{NAMES[0]: torch.zeros(*dense.transpose(1, 2).shape).transpose(1, 2)})
    _, part, _ = make_adapter().iter_checkpoint_load_parts(state)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    part.checkpoint_tensors[name + "_blocks"].copy_(blocks)
    part.checkpoint_tensors[name + "_scales"].copy_(scales)
    part.finish()
    assert not state[NAMES[0]].is_contiguous() and state[NAMES[0]].equal(dense.float())


def test_a_parameter_that_needs_a_gradient_is_filled():
    state = small()
    state[NAMES[0]] = torch.nn.Parameter(torch.ones(2, 64, 6))
    for part in make_adapter().iter_checkpoint_load_parts(state):
        for name in part.temporary_checkpoint_keys:
            part.checkpoint_tensors[name].zero_()
        part.finish()
    assert state[NAMES[0]].requires_grad and not state[NAMES[0]].any()


@pytest.mark.parametrize(
    "change",
    [
        {NAMES[1]: None},
        {NAMES[2]: None, NAMES[3]: None},
        {"model.layers.2.mlp.gate.bias": torch.zeros(2)},
        {"model.layers.0.other." + EXPERTS[0]: torch.zeros(2, 64, 6)},
        {"model.vision." + EXPERTS[0]: torch.zeros(2, 64, 6)},
        {NAMES[0]: torch.zeros(2, 63, 6)},
        {NAMES[0]: torch.zeros(64, 6)},
        {NAMES[0]: torch.zeros(2, 64, 6, dtype=torch.float64)},
        {NAMES[0]: torch.zeros(2, 64, 6, device="meta")},
        {NAMES[0]: object()},
        {"lm_head.weight": None},
        {"lm_head.weight": None, "lm_head._extra_state": object()},
    ],
)
def test_what_is_not_a_whole_model_in_memory_has_no_parts(change):
    adapter = make_adapter()
    assert adapter.iter_checkpoint_load_parts(small()) is not None
    assert adapter.iter_checkpoint_load_parts(small(**change)) is None


@pytest.mark.parametrize("layers", [None, 0, 1, 3, "2"])
def test_the_config_says_how_many_layers_there_are(layers):
    assert make_adapter(layers).iter_checkpoint_load_parts(small()) is None


def test_a_config_that_says_nothing_and_experts_that_are_copies_have_no_parts():
    made = mxferry.GPTOSSStateDictAdapter(object(), None, SimpleNamespace(attn="flex"))
    assert made.iter_checkpoint_load_parts(small()) is None
    assert make_adapter(experts="te").iter_checkpoint_load_parts(small()) is None
    assert mxferry.StateDictAdapter().iter_checkpoint_load_parts(small()) is None
