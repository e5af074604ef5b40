"""Benchmarks of whole conversions against `cp` of what they write, on one file system."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from paired import Paired, Run, read_all, run, run_paired, settle

THREADS = "2"
FIVE_SHARDS = "400MB"


@dataclass
class Row:
    what: str
    against: str
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
        return run(
            [self.mxferry, "convert", str(source), str(target), "--threads", THREADS, *options]
        )

    def against_copy(
        self, what: str, source: Path, options: list[str], bound, *, sync=False, of_input=False
    ) -> None:
        """One row: a conversion against cp of its output or its input, both synced or neither."""
        read_all(source)
        options = options if sync else [*options, "--no-sync"]
        self.convert(source, *options)
        output = self.work / "output"
        shutil.rmtree(output, ignore_errors=True)
        (self.work / "converted").rename(output)
        self.check(source, output)
        copied = source if of_input else output
        copy = self.work / "copy"
        shell = f"cp --reflink=never -r '{copied}' '{copy}'" + (
            f" && sync '{copy}'/*" if sync else ""
        )

        def reference() -> Run:
            settle(copy)
            return run(["sh", "-c", shell])

        paired = run_paired(lambda: self.convert(source, *options), reference)
        shutil.rmtree(copy)
        against = ("cp of the input" if of_input else "cp of the output") + (
            " and sync" if sync else ""
        )
        self.add(what, against, paired, bound, size_of(copied))

    def against_default(
        self, what: str, source: Path, options: list[str], more: list[str], bound, *, sync=False
    ) -> None:
        """One row: a conversion with more options against one without."""
        read_all(source)
        options = options if sync else [*options, "--no-sync"]
        paired = run_paired(
            lambda: self.convert(source, *options, *more), lambda: self.convert(source, *options)
        )
        self.add(what, "the default", paired, bound, size_of(source))

    def verify_against_cat(self, what: str, a: Path, b: Path) -> None:
        """One row: comparing two checkpoints against reading them."""
        read_all(a)
        read_all(b)
        files = [str(path) for folder in (a, b) for path in sorted(folder.glob("*.safetensors"))]
        verify = [self.mxferry, "verify", str(a), str(b), "--threads", THREADS]
        paired = run_paired(
            lambda: run(verify, codes=(0, 1)),
            lambda: run(["cat", *files]),
        )
        self.add(what, "cat of both", paired, (1.5, 1.0), size_of(a) + size_of(b))

    def add(self, what: str, against: str, paired: Paired, bound, size: int) -> None:
        subject, reference = paired.subject, paired.reference
        note = (
            f"{size / 1e9:.2f} GB in {subject.seconds:.2f} s, reference in {reference.seconds:.2f} s; "
            f"peak {subject.peak_memory / 1e6:.0f} MB"
        )
        self.rows.append(Row(what, against, paired.ratio, *bound, note))
        print(f"  {what}: {paired.ratio:.2f} of {against} ({note})", flush=True)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def add_noise(source: Path, target: Path) -> None:
    """The checkpoint as if it had been trained: the lower bits of its BF16 weights are other ones. Weights that are
    zero stay so, because the smallest numbers would be far from any that training makes."""
    shutil.copytree(source, target)
    for path in target.glob("*.safetensors"):
        with path.open("r+b") as file:
            begin = 8 + int.from_bytes(file.read(8), "little")
            for offset in range(begin, path.stat().st_size, 1 << 19):
                file.seek(offset)
                noisy = with_noise(bytearray(file.read(1 << 19)))
                file.seek(offset)
                file.write(noisy)


def with_noise(weights: bytearray) -> bytearray:
    low, high = weights[::2], weights[1::2]
    # The two upper bits are of the exponent, and the one mantissa bit that decoded MXFP4 has.
    noisy = low.translate(bytes((byte & 0xC0) | (byte * 37 + 21) % 64 for byte in range(256)))
    not_zero = high.translate(bytes(0xFF if byte & 0x7F else 0 for byte in range(256)))
    mixed = int.from_bytes(noisy, "little") & int.from_bytes(not_zero, "little")
    weights[::2] = mixed.to_bytes(len(low), "little")
    return weights


def measure_files(bench: Bench) -> None:
    layer = bench.sample("layer", "--preset", "20b-layer")
    to_nemo = ["--to", "nemo"]
    shards = ["--max-shard-size", FIVE_SHARDS]
    bench.against_copy("MXFP4 to BF16, one file, not synced", layer, to_nemo, (0.65, 0.50))
    bench.against_copy(
        "MXFP4 to BF16, several files, not synced", layer, to_nemo + shards, (0.55, 0.42)
    )
    bench.against_copy("MXFP4 to BF16, one file, synced", layer, to_nemo, (1.10, 1.0), sync=True)
    bench.against_default(
        "MXFP4 to BF16, --checksum, several files, synced",
        layer,
        to_nemo + shards,
        ["--checksum"],
        (1.10, 1.05),
        sync=True,
    )
    packed = ["--to", "original", "--dtype", "mxfp4"]
    bench.against_copy(
        "blocks moved as they are, one file, not synced", layer, packed, (0.60, 0.45)
    )
    bench.against_copy(
        "blocks moved as they are, several files, not synced",
        layer,
        [*packed, "--max-shard-size", "200MB"],
        (0.60, 0.45),
    )
    dense = bench.sample("dense", "--preset", "20b-layer", "--dtype", "bf16")
    bench.against_copy("tensors copied unchanged, not synced", dense, to_nemo, (0.60, 0.45))
    bench.verify_against_cat("verify, MXFP4 and BF16 of the same values", layer, dense)
    trained = bench.work / "trained"
    add_noise(dense, trained)
    shutil.rmtree(dense)
    quantize = ["--to", "hf", "--dtype", "mxfp4"]
    bench.against_copy(
        "BF16 to MXFP4, one file, not synced", trained, quantize, (0.55, 0.42), of_input=True
    )
    bench.against_default(
        "BF16 to MXFP4, --quant-mode best",
        trained,
        quantize,
        ["--quant-mode", "best"],
        (2.0, 1.5),
    )
    bench.against_default(
        "BF16 to MXFP4, --reference",
        trained,
        quantize,
        ["--reference", str(layer)],
        (2.0, 1.5),
    )
    bench.convert(trained, *quantize, "--no-sync")
    bench.verify_against_cat("verify, BF16 and its MXFP4", trained, bench.work / "converted")


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
        limits.append(
            Limit(f"peak memory, {layers} layer(s) of 20b, 2 threads", peak / 1e6, "MB", 64, 40)
        )
        shutil.rmtree(source)
    dense = bench.sample("dense", "--preset", "20b-layer", "--dtype", "bf16")
    quantize = ["--to", "hf", "--dtype", "mxfp4", "--no-sync"]
    peak = max(bench.convert(dense, *quantize).peak_memory for _ in range(3))
    limits.append(
        Limit("peak memory, one layer of 20b to MXFP4, 2 threads", peak / 1e6, "MB", 64, 40)
    )
    shutil.rmtree(dense)
    names = bench.sample(
        "names",
        "--layers",
        "36",
        "--experts",
        "1",
        "--hidden",
        "32",
        "--intermediate",
        "32",
        "--vocab",
        "256",
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
