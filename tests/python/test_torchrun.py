"""`torchrun -m mxferry convert`: one conversion by all ranks."""

import json
import os
import struct
import subprocess
import sys

import mxferry
import pytest


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def torchrun(folder, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "3", "-m", "mxferry", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def folder(tmp_path):
    mxferry.sample(tmp_path / "src", layers=3, experts=5, hidden=96, intermediate=160)
    return tmp_path


def test_ranks_make_what_one_process_makes(folder):
    options = ["--to", "nemo", "--max-shard-size", "300KB"]
    ended = torchrun(folder, "convert", "src", "dst", *options)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Done in") == 1, ended.stdout
    mxferry.convert(folder / "src", folder / "alone", to="nemo", max_shard_size=300_000)
    assert files(folder / "dst") == files(folder / "alone")


def spoil(source, tensor):
    """Makes the first byte of a tensor 255."""
    for path in source.glob("*.safetensors"):
        with path.open("r+b") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            if tensor in header:
                file.seek(8 + length + header[tensor]["data_offsets"][0])
                file.write(b"\xff")


def test_what_one_rank_meets_ends_all(folder):
    spoil(folder / "src", "model.layers.2.mlp.experts.down_proj_scales")
    ended = torchrun(folder, "convert", "src", "dst", "--to", "nemo")
    assert ended.returncode != 0
    said = " ".join(ended.stderr.split())
    assert "tensor 'model.layers.2.mlp.experts.down_proj_blocks'" in said, ended.stderr
    assert "exitcode : 3" in said, ended.stderr
    assert not (folder / "dst" / "model.safetensors").exists()
