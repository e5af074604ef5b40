"""What the comparisons share: the command, named by MXFERRY, and small checkpoints."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

# Hidden and intermediate size differ from each other and from the published 2880, so that neither a
# swapped axis nor a fixed size goes unseen.
SIZES = ["--layers", "2", "--experts", "5", "--hidden", "96", "--intermediate", "160"]


def run(*arguments) -> dict:
    """What the command prints with --json."""
    command = [os.environ["MXFERRY"], *map(str, arguments), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    return json.loads(ended.stdout)


def convert(source: Path, target: Path, *options) -> Path:
    run("convert", source, target, "--no-sync", *options)
    return target


def sample(folder: Path, *options) -> Path:
    run("sample", folder, *SIZES, *options)
    return folder


def read(folder: Path) -> dict:
    """All tensors of a checkpoint, read by safetensors."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """MXFP4 in the hf layout, with weights like a model's."""
    return sample(tmp_path_factory.mktemp("packed") / "model")


@pytest.fixture(scope="session")
def dense(packed, tmp_path_factory) -> Path:
    """The same model in BF16, in files that need an index."""
    folder = tmp_path_factory.mktemp("dense") / "model"
    return convert(packed, folder, "--to", "hf", "--max-shard-size", "300KB")
