"""What it costs that several processes do a conversion together: ranks of MPI, parts without a launcher.

    python together.py BUILD [--work FOLDER]

BUILD holds `mxferry` and, for the row of MPI, `mxferry-mpi`. FOLDER (the build folder by default) gets 8 layers of
gpt-oss-20b with 8 experts each, 0.9 GB packed, and their BF16, 3.2 GB, in a file a layer or more. Two processes of one
thread are compared with one process of two, in turn; results are compared byte by byte.
"""

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from paired import PAIRS, read_all
from tables import table

BOUND = 1.15
LAYERS, EXPERTS = 8, 8
SIZES = ["--hidden", "2880", "--intermediate", "2880", "--vocab", "2048"]
OPTIONS = ["--to", "nemo", "--max-shard-size", "400MB", "--no-sync", "--quiet"]
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Runs:
    def __init__(self, build: Path, work: Path) -> None:
        self.mxferry = str(build / "mxferry")
        self.work = work

    def command(self, source: str, target: str, *options: str) -> list[str]:
        return [self.mxferry, "convert", source, target, *OPTIONS, *options]

    def timed(self, *commands: list[str], then: list[str] | None = None) -> float:
        """Seconds of the commands at once, and of the one after them. Targets are new each time."""
        for path in self.work.glob("out-*"):
            shutil.rmtree(path)
        begun = time.perf_counter()
        processes = [subprocess.Popen(c, cwd=self.work, env=ENVIRONMENT) for c in commands]
        for process in processes:
            if process.wait() != 0:
                raise SystemExit(f"{process.args} failed")
        if then:
            subprocess.run(then, cwd=self.work, check=True)
        return time.perf_counter() - begun

    def one_process(self, source: str) -> float:
        return self.timed(self.command(source, "out-threads", "--threads", "2"))

    def mpi(self, source: str) -> float:
        launcher = ["mpirun", "--oversubscribe", "-n", "2"]
        return self.timed([*launcher, *self.command(source, "out-together", "--threads", "1")])

    def parts(self, source: str) -> float:
        ranks = [
            self.command(source, "out-together", "--threads", "1", "--rank", rank, "--world", "2")
            for rank in ("0", "1")
        ]
        return self.timed(*ranks, then=[self.mxferry, "finish", "out-together", "--quiet"])


def same(a: Path, b: Path) -> bool:
    names = sorted(path.name for path in a.iterdir())
    if names != sorted(path.name for path in b.iterdir()):
        return False
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def rows(runs: Runs) -> list[list[str]]:
    ways = {"`--rank 0` and `--rank 1` of 2 at once, and `mxferry finish`": runs.parts}
    if shutil.which("mpirun") and Path(runs.mxferry + "-mpi").exists():
        ways["`mpirun -n 2`"] = runs.mpi
    lines = []
    for name, together in ways.items():
        # What starts before any byte is converted, and ends after the last one.
        start = statistics.median(together("tiny") - runs.one_process("tiny") for _ in range(5))
        pairs = [(together("src"), runs.one_process("src")) for _ in range(PAIRS)]
        ratio = statistics.median((a - start) / b for a, b in pairs)
        seconds = [f"{statistics.median(side):.2f} s" for side in zip(*pairs, strict=True)]
        reached = "yes" if ratio <= BOUND else "NO"
        start_ms = f"{start * 1e3:.0f} ms"
        lines.append([name, f"{ratio:.2f}", f"{BOUND}", reached, start_ms, *seconds])
        together("src")
        subprocess.run(runs.command("src", "out-threads"), cwd=runs.work, check=True)
        if not same(runs.work / "out-together", runs.work / "out-threads"):
            raise SystemExit("the results differ")
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
        subprocess.run([*sample, "1", "tiny"], cwd=work, check=True)
        read_all(Path(work, "src"))
        header = [
            "two processes of one thread",
            "of one process of two",
            "at most",
            "reached",
            "start, left out",
            "medians",
            "against",
        ]
        print(table(header, rows(runs)), end="", flush=True)


main()
