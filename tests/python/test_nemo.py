"""NeMo AutoModel itself, as it runs without a GPU, with this package's adapter in its place."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import mxferry
import mxferry.nemo
import pytest
import torch
from folders import read
from nemo_automodel.components.checkpoint import checkpointing
from nemo_automodel.components.checkpoint.state_dict_adapter import (
    CheckpointLoadPart,
    StateDictAdapter,
)
from nemo_automodel.components.models.gpt_oss import model as nemo_model
from nemo_automodel.components.models.gpt_oss import state_dict_adapter as nemo_adapter
from nemo_model import checkpointer, gpt_oss

OWN = nemo_adapter.GPTOSSStateDictAdapter
OLDER = Path(sys.prefix) / "nemo-automodel-0.6.0"


@pytest.fixture
def installed():
    yield mxferry.nemo.install()
    mxferry.nemo.uninstall()


@pytest.fixture
def expected(model, tmp_path):
    """The native state dict of the checkpoint `model`."""
    mxferry.convert(model, tmp_path / "nemo", to="nemo", sync=False)
    return read(tmp_path / "nemo")


def make(cls, layers=2):
    backend = SimpleNamespace(attn="flex", experts="torch")
    return cls(SimpleNamespace(num_hidden_layers=layers), None, backend)


def same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].equal(tensor.to(state[name].dtype)), name


def test_every_binding_is_replaced_and_given_back():
    other = ModuleType("nemo_automodel.other")
    other.Adapter = OWN
    stranger = ModuleType("nemo_automodel_tools")
    stranger.Adapter = OWN
    with patch.dict(sys.modules, {other.__name__: other, stranger.__name__: stranger}):
        ours = mxferry.nemo.install()
        assert mxferry.nemo.install() is ours
        assert nemo_adapter.GPTOSSStateDictAdapter is ours
        assert nemo_model.GPTOSSStateDictAdapter is ours
        assert other.Adapter is ours and stranger.Adapter is OWN
        mxferry.nemo.uninstall()
        mxferry.nemo.uninstall()
        assert nemo_adapter.GPTOSSStateDictAdapter is OWN
        assert nemo_model.GPTOSSStateDictAdapter is OWN
        assert other.Adapter is OWN


def test_it_is_an_adapter_of_nemos_too(installed):
    for made in (make(installed), make(mxferry.GPTOSSStateDictAdapter)):
        assert isinstance(made, StateDictAdapter)
        assert isinstance(made, mxferry.GPTOSSStateDictAdapter)
        own = make(OWN)
        public = [name for name in vars(StateDictAdapter) if not name.startswith("_")]
        assert len(public) > 5 and all(hasattr(made, name) for name in public)
        assert made.supports_low_memory_dcp_load == own.supports_low_memory_dcp_load
        assert made.checkpoint_key_aliases == own.checkpoint_key_aliases
        module = "model.layers.0.mlp.gate"
        assert made.map_peft_target_module_to_hf(module, v4_compatible=True) == module
    made = make(installed)
    assert type(pickle.loads(pickle.dumps(made))) is installed


def test_results_are_those_of_nemos_own(model, wild):
    source = read(model)
    # Every scale that has a value, and sizes that differ.
    for name, shape in (("gate_up_proj", (3, 14, 25)), ("down_proj", (3, 10, 35))):
        prefix = f"model.layers.1.mlp.experts.{name}"
        source[prefix + "_blocks"] = torch.from_numpy(wild[0]).reshape(*shape, 16)
        source[prefix + "_scales"] = torch.from_numpy(wild[1]).reshape(shape)
    own, ours = make(OWN), make(mxferry.GPTOSSStateDictAdapter)
    expected, found = own.from_hf(dict(source)), ours.from_hf(dict(source))
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].view(torch.uint8).equal(tensor.view(torch.uint8)), name
    ours.legacy_group_count = 90
    for options in ({}, {"quantization": True}, {"exclude_key_regex": ".*bias"}):
        expected_hf, found_hf = own.to_hf(expected, **options), ours.to_hf(expected, **options)
        assert list(found_hf) == list(expected_hf)
        assert all(found_hf[name].equal(tensor) for name, tensor in expected_hf.items())
    assert ours.get_hf_state_dict_keys(found) == own.get_hf_state_dict_keys(expected)


def test_the_parts_are_those_of_nemos_own(expected):
    own = list(make(OWN).iter_checkpoint_load_parts(expected))
    ours = list(make(mxferry.GPTOSSStateDictAdapter).iter_checkpoint_load_parts(expected))
    assert all(type(part) is CheckpointLoadPart for part in ours)

    def described(part):
        tensors = {k: (v.shape, v.dtype) for k, v in part.checkpoint_tensors.items()}
        return tensors, part.model_keys, part.temporary_checkpoint_keys

    assert [described(part) for part in ours] == [described(part) for part in own]


def test_the_functions_of_its_checkpointing(installed, model, expected):
    holder = torch.nn.Module()
    holder.state_dict_adapter = make(installed)
    source = read(model)
    native = checkpointing._maybe_adapt_state_dict_from_hf(holder, dict(source))
    same(native, expected)
    native["model.layers.0.self_attn._extra_state"] = object()
    storage = checkpointing._maybe_adapt_state_dict_to_hf(
        holder, native, quantization=True, device_mesh=None, for_checkpoint_load=True
    )
    assert {k: v.shape for k, v in storage.items()} == {k: v.shape for k, v in source.items()}
    dense = checkpointing._maybe_adapt_state_dict_to_hf(holder, native, v4_compatible=False)
    assert sorted(dense) == sorted(
        {name.removesuffix("_blocks") for name in source}
        - {name for name in source if name.endswith("_scales")}
    )


def test_its_checkpointer_loads_saves_and_resumes(installed, model, expected, tmp_path):
    made = gpt_oss(model)
    assert type(made.state_dict_adapter) is installed
    decode = mxferry.GPTOSSStateDictAdapter.iter_checkpoint_load_parts
    with patch.object(
        mxferry.GPTOSSStateDictAdapter, "iter_checkpoint_load_parts", autospec=True
    ) as parts:
        parts.side_effect = decode
        checkpointer(tmp_path).load_model(made, str(model), is_init_step=True)
    parts.assert_called_once()
    same(made.state_dict(), expected)

    saving = checkpointer(tmp_path)
    saving.save_model(made, str(tmp_path / "step"))
    saving.close()
    resumed = gpt_oss(model)
    checkpointer(tmp_path).load_model(resumed, str(tmp_path / "step" / "model"))
    same(resumed.state_dict(), expected)


def test_its_checkpointer_decodes_on_one_rank_what_has_no_parts(
    installed, model, expected, tmp_path
):
    made = gpt_oss(model)
    with patch.object(installed, "iter_checkpoint_load_parts", return_value=None):
        checkpointer(tmp_path).load_model(made, str(model), is_init_step=True)
    same(made.state_dict(), expected)


def run(program, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "MXFERRY_NEMO"} | variables
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(("value", "imported"), [(None, "[]"), ("0", "[]"), ("1", "['mxferry']")])
def test_the_variable_imports_next_to_nothing_at_start(value, imported):
    program = (
        "import sys\n"
        "large = {'mxferry', 'numpy', 'torch', 'nemo_automodel'}\n"
        "print(sorted(large & set(sys.modules)))\n"
    )
    variables = {} if value is None else {"MXFERRY_NEMO": value}
    assert run(program, **variables).strip() == imported


# What a run launched from YAML does: it imports NeMo AutoModel alone.
LAUNCHED = """
import importlib.util, inspect, nemo_automodel
assert importlib.util.find_spec("nemo_automodel.components.models.gpt_oss.state_dict_adapter")
from nemo_automodel.components.models.gpt_oss.model import GPTOSSStateDictAdapter as used
from nemo_automodel.components.models.gpt_oss import state_dict_adapter as module
from nemo_automodel.components.checkpoint.state_dict_adapter import StateDictAdapter
assert used is module.GPTOSSStateDictAdapter and issubclass(used, StateDictAdapter)
assert "FP4_VALUES" in inspect.getsource(module)
print(nemo_automodel.__version__, used.__mro__[1].__module__)
"""


@pytest.mark.parametrize(
    ("release", "value", "base"),
    [
        ("0.7.0", "1", "mxferry.state_dict_adapter"),
        ("0.6.0", "1", "mxferry.state_dict_adapter"),
        ("0.7.0", "0", "nemo_automodel.components.checkpoint.state_dict_adapter"),
    ],
)
def test_the_variable_installs_when_nemo_is_imported(release, value, base):
    path = {} if release == "0.7.0" else {"PYTHONPATH": str(OLDER)}
    version, found = run(LAUNCHED, MXFERRY_NEMO=value, **path).split()[-2:]
    assert version.startswith(release) and found == base
