"""Runs the program as one of torchrun's ranks, which communicate through torchrun's store."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as dist

# The interval, in seconds, at which a rank checks whether another has failed.
_LOOK = 0.2
_FAILED = "mxferry/failed"


def run_as_rank(program: Path, arguments: Sequence[str]) -> int:
    """Returns the exit code of the program, or that of the rank that failed first."""
    store, _, world = next(iter(dist.rendezvous("env://")))
    ours, its = socket.socketpair()
    environment = os.environ | {"MXFERRY_PARENT_FD": str(its.fileno())}
    process = subprocess.Popen(
        arguments, executable=program, env=environment, pass_fds=[its.fileno()]
    )
    its.close()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = _accompany(process, ours, store, world)
    if code != 0 and not store.check([_FAILED]):
        store.set(_FAILED, str(code))
    return code


def _accompany(
    process: "subprocess.Popen[bytes]", ours: socket.socket, store: Any, world: int
) -> int:
    """Serves the program until it ends. Returns its exit code, or that of a rank that failed first.

    The program writes a line when it waits for the others, and reads one when all wait: an empty
    one if all wrote the same line.
    """
    rounds = 0
    said = b""
    while process.poll() is None:
        if store.check([_FAILED]):
            process.terminate()
            process.wait()
            return int(store.get(_FAILED))
        arrived = f"mxferry/arrived/{rounds}"
        waits = said.endswith(b"\n")
        if waits and store.add(arrived, 0) == world:
            agrees = not store.check([f"{arrived}/differs"])
            ours.sendall(b"\n" if agrees else b"they differ\n")
            rounds += 1
            said = b""
        elif not waits and select.select([ours], [], [], _LOOK)[0]:
            said += ours.recv(256)
            if said.endswith(b"\n"):
                first = store.compare_set(f"{arrived}/said", "", said.decode())
                if first != said:
                    store.set(f"{arrived}/differs", "yes")
                store.add(arrived, 1)
        elif waits:
            select.select([], [], [], _LOOK / 10)
    code = process.returncode
    return code if code >= 0 else 128 - code
