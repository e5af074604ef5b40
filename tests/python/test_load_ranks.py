"""load_into in real processes over gloo: each rank's part is a slice of the whole."""

import pathlib
import subprocess
import sys

import mxferry
import pytest


@pytest.mark.parametrize("processes", [2, 3, 4, 6])
def test_every_rank_gets_its_slice(processes, tmp_path):
    # 5 experts, 96 and 160 wide: uneven parts, and cuts through groups of 32.
    mxferry.sample(tmp_path / "model", layers=2, experts=5, hidden=96, intermediate=160)
    program = pathlib.Path(__file__).with_name("load_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", str(program), str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
