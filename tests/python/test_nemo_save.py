"""NeMo AutoModel's Checkpointer with consolidation by save_checkpoint, as it runs without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mxferry
import mxferry.nemo
import pytest
import torch
from folders import read
from nemo_automodel.components.checkpoint.checkpointing import Checkpointer
from nemo_model import Tokenizer, checkpointer, gpt_oss
from transformers import AutoModelForCausalLM, Mxfp4Config

HERE = Path(__file__).parent
OLDER = Path(sys.prefix) / "nemo-automodel-0.6.0"
OWN = Checkpointer.save_model


@pytest.fixture
def installed():
    yield mxferry.nemo.install(save_dtype="mxfp4")
    mxferry.nemo.uninstall()
    assert Checkpointer.save_model is OWN


@pytest.fixture
def live(installed, model, tmp_path):
    """A model of NeMo's that holds the checkpoint `model`."""
    made = gpt_oss(model)
    checkpointer(tmp_path).load_model(made, str(model), is_init_step=True)
    return made


def save(live, path, save_consolidated, final=False, **options):
    saving = checkpointer(path, save_consolidated=save_consolidated, **options)
    mode = saving.config.save_consolidated
    saving.save_model(
        model=live,
        weights_path=str(path),
        tokenizer=Tokenizer(),
        is_final_checkpoint=final,
    )
    saving.close()
    assert saving.config.save_consolidated == mode
    return path / "model" / "consolidated"


@pytest.mark.parametrize(
    ("save_consolidated", "final", "options"),
    [
        ("every", False, {}),
        ("final", True, {}),
        ("every", False, {"single_rank_consolidation": True}),
    ],
)
def test_consolidated_checkpoints_are_packed(
    live, model, tmp_path, save_consolidated, final, options
):
    path = tmp_path / "step"
    folder = save(live, path, save_consolidated, final, **options)
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert mxferry.verify(model, folder).identical
    assert mxferry.inspect(folder).problems == ()
    expected = tmp_path / "expected"
    mxferry.convert(model, tmp_path / "dense", to="nemo", sync=False)
    mxferry.convert(tmp_path / "dense", expected, dtype="mxfp4", sync=False)
    assert (folder / "model.safetensors").read_bytes() == (
        expected / "model.safetensors"
    ).read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "mxfp4"
    # The shards are NeMo's own: a run resumes from them.
    resumed = gpt_oss(model)
    checkpointer(tmp_path).load_model(resumed, str(path / "model"))
    state = resumed.state_dict()
    assert all(tensor.equal(state[name]) for name, tensor in live.state_dict().items())


def test_what_is_not_to_be_consolidated_is_not(live, tmp_path):
    for number, (mode, final) in enumerate((("false", True), ("final", False))):
        assert not save(live, tmp_path / str(number), mode, final).exists()
        assert (tmp_path / str(number) / "model" / ".hf_metadata" / "config.json").exists()


def test_a_checkpoint_is_replaced(live, model, tmp_path):
    save(live, tmp_path / "step", "every")
    folder = save(live, tmp_path / "step", "every")
    assert mxferry.verify(model, folder).identical


def test_transformers_loads_it(live, tmp_path):
    folder = save(live, tmp_path / "step", "every")
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=Mxfp4Config(dequantize=True)
    ).state_dict()
    native = live.state_dict()
    assert len(loaded) == len(native)
    for name in ("lm_head.weight", "model.layers.1.self_attn.q_proj.weight"):
        assert loaded[name].equal(native[name])
    prefix = "model.layers.1.mlp.experts."
    assert loaded[prefix + "down_proj"].equal(native[prefix + "down_projs"])
    assert loaded[prefix + "gate_up_proj"].equal(native[prefix + "gate_and_up_projs"])


def test_other_dtypes_and_weights_in_fp32(live, tmp_path):
    folder = save(live.float(), tmp_path / "packed", "every")
    dtypes = {name: tensor.dtype for name, tensor in read(folder).items()}
    assert set(dtypes.values()) == {torch.bfloat16, torch.uint8}
    mxferry.nemo.install(save_dtype="f16")
    folder = save(live, tmp_path / "dense", "every")
    assert {tensor.dtype for tensor in read(folder).values()} == {torch.float16}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    with pytest.raises(mxferry.Error, match="fp4"):
        mxferry.nemo.install(save_dtype="fp4")


def test_other_models_are_left_alone(installed, tmp_path):
    other = torch.nn.Linear(4, 3)
    other.config = SimpleNamespace(model_type="other", to_json_string=lambda use_diff: "{}")
    folder = save(other, tmp_path / "step", "every")
    assert read(folder).keys() == {"weight", "bias"}


# What a run launched from YAML does: it imports NeMo AutoModel alone.
LAUNCHED = """
import sys
from pathlib import Path
import nemo_automodel
from nemo_model import checkpointer, gpt_oss
model, path = Path(sys.argv[1]), Path(sys.argv[2])
made = gpt_oss(model)
checkpointer(path).load_model(made, str(model), is_init_step=True)
saving = checkpointer(path, save_consolidated="final")
saving.save_model(made, str(path), is_final_checkpoint=True)
saving.close()
print(nemo_automodel.__version__)
"""


@pytest.mark.parametrize("release", ["0.7.0", "0.6.0"])
def test_the_variable_is_enough(release, model, tmp_path):
    path = [str(HERE)] if release == "0.7.0" else [str(OLDER), str(HERE)]
    variables = {"MXFERRY_NEMO_SAVE_DTYPE": "mxfp4", "PYTHONPATH": os.pathsep.join(path)}
    ended = subprocess.run(
        [sys.executable, "-c", LAUNCHED, model, tmp_path / "run"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-1].startswith(release)
    assert mxferry.verify(model, tmp_path / "run" / "model" / "consolidated").identical
