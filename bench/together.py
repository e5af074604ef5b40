"""What it costs that several processes do a conversion together: ranks of MPI, parts without a launcher.

    python together.py BUILD [--work FOLDER]

BUILD holds `mxferry` and, for the row of MPI, `mxferry-mpi`. FOLDER (the build folder by default) gets 8 layers of
gpt-oss-20b with 8 experts each, 0.9 GB packed, and their BF16, 3.2 GB, in a file a layer or more. Two processes of one
thread are compared with one process of two, in turn; results are compared byte by byte.
"""

import argparse
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from paired import PAIRS, read_all
from tables import table

BOUND = 1.15
LAYERS, EXPERTS = 8, 8
SIZES = ["--hidden", "2880", "--intermediate", "2880", "--vocab", "2048"]
OPTIONS = ["--to", "nemo", "--max-shard-size", "400MB", "--no-sync", "--json"]
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Time(NamedTuple):
    wall: float  # seconds
    conversion: float  # as rank 0 says: from its start to the end of all ranks under a launcher


class Runs:
    def __init__(self, build: Path, work: Path) -> None:
        self.mxferry = str(build / "mxferry")
        self.work = work

    def command(self, target: str, *options: str) -> list[str]:
        return [self.mxferry, "convert", "src", target, *OPTIONS, *options]

    def timed(self, *commands: list[str], then: list[str] | None = None) -> Time:
        """The commands at once, and the one after them. Targets are new each time."""
        for path in self.work.glob("out-*"):
            shutil.rmtree(path)
        begun = time.perf_counter()
        processes = [
            subprocess.Popen(c, cwd=self.work, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
            for c in commands
        ]
        outputs = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit(f"{commands} failed: {outputs}")
        if then:
            subprocess.run(then, cwd=self.work, check=True)
        wall = time.perf_counter() - begun
        return Time(wall, json.loads(outputs[0])["seconds"])

    def one_process(self) -> Time:
        return self.timed(self.command("out-threads", "--threads", "2"))

    def mpi(self) -> Time:
        launcher = ["mpirun", "--oversubscribe", "-n", "2"]
        return self.timed([*launcher, *self.command("out-together", "--threads", "1")])

    def parts(self) -> Time:
        ranks = [
            self.command("out-together", "--threads", "1", "--rank", rank, "--world", "2")
            for rank in ("0", "1")
        ]
        return self.timed(*ranks, then=[self.mxferry, "finish", "out-together", "--quiet"])


def same(a: Path, b: Path) -> bool:
    names = sorted(path.name for path in a.iterdir())
    if names != sorted(path.name for path in b.iterdir()):
        return False
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def measure_pairs(
    together: Callable[[], Time], alone: Callable[[], Time]
) -> list[tuple[Time, Time]]:
    """In changing order, each pair after a run that does not count: a virtual machine's host takes memory back."""
    pairs = []
    for i in range(PAIRS):
        alone()
        if i % 2 == 0:
            first = together()
            pairs.append((first, alone()))
        else:
            first = alone()
            pairs.append((together(), first))
    return pairs


def row(name: str, together: Callable[[], Time], runs: Runs, launched: bool) -> list[str]:
    pairs = measure_pairs(together, runs.one_process)
    if launched:
        sides = [(a.conversion, b.conversion) for a, b in pairs]
    else:
        sides = [(a.wall, b.wall) for a, b in pairs]
    ratio = statistics.median(a / b for a, b in sides)
    start = statistics.median(a.wall - a.conversion for a, _ in pairs) if launched else 0
    medians = [f"{statistics.median(side):.2f} s" for side in zip(*sides, strict=True)]
    reached = "yes" if ratio <= BOUND else "NO"
    started = f"{start * 1e3:.0f} ms" if launched else ""
    together()
    subprocess.run(
        runs.command("out-threads"), cwd=runs.work, check=True, stdout=subprocess.DEVNULL
    )
    if not same(runs.work / "out-together", runs.work / "out-threads"):
        raise SystemExit("the results differ")
    return [name, f"{ratio:.2f}", f"{BOUND}", reached, *medians, started]


def rows(runs: Runs) -> list[list[str]]:
    name = "`--rank 0` and `--rank 1` of 2 at once, then `mxferry finish`: all of it"
    lines = [row(name, runs.parts, runs, launched=False)]
    if shutil.which("mpirun") and Path(runs.mxferry + "-mpi").exists():
        lines.append(row("`mpirun -n 2`: the conversion", runs.mpi, runs, launched=True))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("build", type=Path)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    folder = arguments.work or build
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-together-") as work:
        runs = Runs(build, Path(work))
        sample = [runs.mxferry, "sample", "--quiet", "--layers"]
        large = [str(LAYERS), "--experts", str(EXPERTS), *SIZES]
        subprocess.run([*sample, *large, "src"], cwd=work, check=True)
        read_all(Path(work, "src"))
        header = [
            "two processes of one thread",
            "of one process of two",
            "at most",
            "reached",
            "medians",
            "against",
            "start and end of the launcher",
        ]
        print(table(header, rows(runs)), end="", flush=True)


main()
