"""Benchmarks of whole conversions against `cp` of what they write, on one file system."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from paired import Run, read_all, run, run_paired, settle

THREADS = "2"
FIVE_SHARDS = "400MB"


@dataclass
class Row:
    what: str
    ratio: float
    at_least: float
    aim: float
    note: str


@dataclass
class Bench:
    """The sample checkpoints, made once, and the rows measured so far."""

    build: Path
    work: Path
    rows: list[Row] = field(default_factory=list)

    @property
    def mxferry(self) -> str:
        return str(self.build / "mxferry")

    def sample(self, name: str, *options: str) -> Path:
        folder = self.work / name
        run([self.mxferry, "sample", str(folder), *options])
        return folder

    def check(self, source: Path, target: Path) -> None:
        """Every weight against the scalar reference; raises when one differs."""
        subprocess.run(
            [str(self.build / "check_conversion"), str(source), str(target)],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def convert(self, source: Path, *options: str) -> Run:
        target = self.work / "converted"
        settle(target)
        return run([self.mxferry, "convert", str(source), str(target), "--threads", THREADS, *options])

    def against_copy(self, what: str, source: Path, options: list[str], sync: bool, bound) -> None:
        """One row: a conversion against cp of its output, both synced or neither."""
        read_all(source)
        options = options if sync else [*options, "--no-sync"]
        self.convert(source, *options)
        output = self.work / "output"
        shutil.rmtree(output, ignore_errors=True)
        (self.work / "converted").rename(output)
        self.check(source, output)
        copy = self.work / "copy"
        shell = f"cp --reflink=never -r '{output}' '{copy}'" + (f" && sync '{copy}'/*" if sync else "")

        def reference() -> Run:
            settle(copy)
            return run(["sh", "-c", shell])

        paired = run_paired(lambda: self.convert(source, *options), reference)
        shutil.rmtree(copy)
        bytes_out = sum(path.stat().st_size for path in output.iterdir())
        subject, copied = paired.subject, paired.reference
        note = (
            f"{bytes_out / 1e9:.2f} GB; {bytes_out / subject.seconds / 1e9:.2f} GB/s, "
            f"copy {bytes_out / copied.seconds / 1e9:.2f} GB/s; peak {subject.peak_memory / 1e6:.0f} MB"
        )
        self.rows.append(Row(what, paired.ratio, *bound, note))
        print(f"  {what}: {paired.ratio:.2f} ({note})", flush=True)


def measure_files(bench: Bench) -> None:
    layer = bench.sample("layer", "--preset", "20b-layer")
    to_nemo = ["--to", "nemo"]
    shards = ["--max-shard-size", FIVE_SHARDS]
    bench.against_copy("MXFP4 to BF16, one file, not synced", layer, to_nemo, False, (0.65, 0.50))
    bench.against_copy(
        "MXFP4 to BF16, several files, not synced", layer, to_nemo + shards, False, (0.55, 0.42)
    )
    bench.against_copy("MXFP4 to BF16, one file, synced", layer, to_nemo, True, (1.10, 1.0))
    packed = ["--to", "original", "--dtype", "mxfp4"]
    bench.against_copy("blocks moved as they are, not synced", layer, packed, False, (0.60, 0.45))
    dense = bench.sample("dense", "--preset", "20b-layer", "--dtype", "bf16")
    bench.against_copy("tensors copied unchanged, not synced", dense, to_nemo, False, (0.60, 0.45))


@dataclass
class Limit:
    what: str
    value: float
    unit: str
    at_least: float
    aim: float


def measure_limits(bench: Bench) -> list[Limit]:
    """Peak memory beyond the headers, and the CPU time of a conversion of 120b's tensors with hardly any weights."""
    limits = []
    for layers in (1, 3):
        source = bench.sample(f"layers-{layers}", "--preset", "20b-layer", "--layers", str(layers))
        peak = max(bench.convert(source, "--to", "nemo", "--no-sync").peak_memory for _ in range(3))
        limits.append(Limit(f"peak memory, {layers} layer(s) of 20b, 2 threads", peak / 1e6, "MB", 64, 40))
        shutil.rmtree(source)
    names = bench.sample(
        "names", "--layers", "36", "--experts", "1", "--hidden", "32", "--intermediate", "32", "--vocab", "256"
    )
    plan = json.loads(
        subprocess.run(
            [bench.mxferry, "convert", str(names), "x", "--to", "hf", "--dry-run", "--json"],
            check=True,
            capture_output=True,
        ).stdout
    )["plan"]
    size = str(plan["bytes_out"] // 14)
    runs = [
        bench.convert(names, "--to", "hf", "--no-sync", "--max-shard-size", size) for _ in range(9)
    ]
    files = len(list((bench.work / "converted").glob("*.safetensors")))
    cpu = sorted(r.cpu_seconds for r in runs)[len(runs) // 2] * 1e3
    what = f"CPU time of {plan['tensors_in']} tensors into {files} files, weights all but empty"
    limits.append(Limit(what, cpu, "ms", 30, 10))
    for limit in limits:
        print(f"  {limit.what}: {limit.value:.1f} {limit.unit}", flush=True)
    return limits


def measure(build: Path, folder: Path) -> tuple[list[Row], list[Limit]]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as work:
        bench = Bench(build, Path(work))
        measure_files(bench)
        return bench.rows, measure_limits(bench)
