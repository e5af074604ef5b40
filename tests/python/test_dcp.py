"""Checkpoints of torch.distributed.checkpoint, written by PyTorch, are a source."""

import shutil
import subprocess
import sys

import mxferry
import pytest
import torch
import torch.distributed.checkpoint as dcp
from folders import read


@pytest.fixture
def trained(tmp_path):
    """What a trainer saves: the model in a wrapper, an optimizer's state, a step count."""
    mxferry.sample(tmp_path / "packed")
    mxferry.convert(tmp_path / "packed", tmp_path / "dense", sync=False)
    model = read(tmp_path / "dense")
    model["lm_head.weight"] = model["lm_head.weight"].float()
    state = {
        "model": {f"_orig_mod.{name}": tensor for name, tensor in model.items()},
        "optim": {"state.0.exp_avg": torch.ones(3), "step": 7},
        "optimizer_state_dict": {"state.0.step": torch.ones(1)},
        "steps": torch.tensor(7),
    }
    dcp.save(state, checkpoint_id=tmp_path / "step-7", no_dist=True)
    for file in (tmp_path / "dense").glob("*.json"):
        if not file.name.endswith("index.json"):
            shutil.copy(file, tmp_path / "step-7")
    return tmp_path


def test_it_is_converted_like_the_model_that_was_saved(trained):
    source = trained / "step-7"
    report = mxferry.convert(source, trained / "back", dense_dtype="bf16", verify=True)
    expected = read(trained / "dense")
    written = read(trained / "back")
    assert written.keys() == expected.keys()
    assert all(written[name].equal(tensor) for name, tensor in expected.items())
    assert any("_orig_mod." in problem.text for problem in report.plan.warnings)
    assert (trained / "back/tokenizer.json").is_file()
    assert not list(trained.glob(".mxferry-dcp-*"))


def test_the_command_takes_it_too(trained):
    command = [sys.executable, "-m", "mxferry", "convert", "--to", "hf", "--dtype", "mxfp4"]
    command += ["--reference", trained / "packed", "--dense-dtype", "bf16"]
    subprocess.run([*command, trained / "step-7", trained / "served"], check=True)
    served, packed = read(trained / "served"), read(trained / "packed")
    assert served.keys() == packed.keys()
    assert all(served[name].equal(tensor) for name, tensor in packed.items())
    assert not list(trained.glob(".mxferry-dcp-*"))


def test_a_destination_of_that_kind_is_no_source(trained):
    command = [sys.executable, "-m", "mxferry", "convert", trained / "dense", trained / "step-7"]
    subprocess.run([*command, "--to", "hf", "--force"], check=True)
    assert read(trained / "step-7").keys() == read(trained / "dense").keys()


def test_parts_are_refused(trained):
    command = [sys.executable, "-m", "mxferry", "convert", trained / "step-7", trained / "out"]
    options = ["--to", "hf", "--rank", "0", "--world", "2"]
    assert subprocess.run([*command, *options], check=False).returncode == 2


def test_config_json_of_the_folder_above(trained):
    (trained / "run").mkdir()
    (trained / "step-7/config.json").rename(trained / "run/config.json")
    (trained / "step-7").rename(trained / "run/weights")
    mxferry.convert(trained / "run/weights", trained / "back")
    assert (trained / "back/config.json").is_file()


def test_what_cannot_be_read_is_refused(trained):
    source = trained / "step-7"
    for options in ({"world": 2}, {"resume": True}):
        with pytest.raises(mxferry.Error) as caught:
            mxferry.convert(source, trained / "out", **options)
        assert caught.value.code == "unsupported"
    for file in source.glob("*.distcp"):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(mxferry.Error) as caught:
        mxferry.convert(source, trained / "out")
    assert caught.value.code == "not_a_checkpoint"
    only = trained / "optimizer"
    dcp.save({"optim": {"exp_avg": torch.ones(3)}}, checkpoint_id=only, no_dist=True)
    with pytest.raises(mxferry.Error, match="no weights"):
        mxferry.convert(only, trained / "out")
    assert not (trained / "out").exists()
    assert not list(trained.glob(".mxferry-dcp-*"))
