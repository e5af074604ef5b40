"""`torchrun -m mxferry convert`: one conversion by all ranks."""

import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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


def test_ranks_with_other_options_end_before_anything_is_written(folder):
    script = folder / "as_rank.py"
    script.write_text(
        "import os, sys\n"
        "from mxferry.__main__ import PROGRAM\n"
        "from mxferry.torchrun import run_as_rank\n"
        "layout = 'hf' if os.environ['RANK'] == '1' else 'nemo'\n"
        "sys.exit(run_as_rank(PROGRAM, ['mxferry', 'convert', 'src', 'dst', '--to', layout]))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ended = subprocess.run(
        [*command, "--nproc-per-node", "3", script],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode != 0
    assert "the ranks would do different conversions" in " ".join(ended.stderr.split())
    assert not (folder / "dst").exists()


@pytest.fixture
def hosts():
    """Two network namespaces with a cable between them: their names and addresses."""
    names = [f"mxferry-{os.getpid()}-{i}" for i in range(2)]
    addresses = ["10.213.7.1", "10.213.7.2"]
    commands = [f"ip netns add {name}" for name in names]
    commands.append(f"ip link add v0 netns {names[0]} type veth peer name v1 netns {names[1]}")
    for i, (name, address) in enumerate(zip(names, addresses, strict=True)):
        commands += [
            f"ip -n {name} addr add {address}/24 dev v{i}",
            f"ip -n {name} link set lo up",
            f"ip -n {name} link set v{i} up",
        ]
    try:
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    else:
        yield list(zip(names, addresses, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_two_hosts_make_what_one_process_makes(hosts, folder):
    options = ["--to", "nemo", "--max-shard-size", "300KB"]
    first = hosts[0][1]

    def run(place):
        name, address = hosts[place]
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes", "2", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
        command += ["--rdzv-endpoint", f"{first}:29513", "--local-addr", address]
        command += ["--rdzv-conf", f"is_host={int(place == 0)}"]
        return subprocess.run(
            [*command, "-m", "mxferry", "convert", "src", "dst", *options],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(run, range(2)))
    assert [host.returncode for host in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    assert "rank 0 of 4" in ended[0].stdout
    mxferry.convert(folder / "src", folder / "alone", to="nemo", max_shard_size=300_000)
    assert files(folder / "dst") == files(folder / "alone")
