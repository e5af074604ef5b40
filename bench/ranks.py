"""What one rank of several needs: time, memory and bytes of its part of a checkpoint, and the time to plan.

    python ranks.py BUILD [--work FOLDER] [--plot FILE]

BUILD holds `mxferry` and `bench_ranks`; each figure is of a process of its own. FOLDER (the build folder by default) gets
a true-sized layer of gpt-oss-20b, 0.5 GB, and gpt-oss-120b without its data. Prints tables in Markdown; FILE, an SVG,
gets the plot, which needs matplotlib.
"""

import argparse
import json
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sparse
from paired import PAIRS, read_all
from tables import table

RANKS = (1, 2, 4, 8)
PLAN_BOUND = 50.0  # ms
MOST_ABOVE_IDEAL = 1.15


@dataclass
class Figure:
    """Of one rank: a median, its share of what one rank alone takes, and what that share would be at best."""

    median: float
    share: float
    ideal: float


@dataclass
class Row:
    ranks: int
    bytes_read: Figure
    peak_memory: Figure
    seconds: Figure

    def in_proportion(self) -> bool:
        figures = (self.bytes_read, self.peak_memory, self.seconds)
        return all(figure.share <= MOST_ABOVE_IDEAL * figure.ideal for figure in figures)


def run(build: Path, *arguments: object) -> dict:
    command = [str(build / "bench_ranks"), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def stored_tensors(checkpoint: Path) -> dict[str, int]:
    """Names to bytes."""
    sizes = {}
    for path in checkpoint.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            sizes[name] = entry["data_offsets"][1] - entry["data_offsets"][0]
    return sizes


def decoded_sizes(stored: dict[str, int]) -> dict[str, int]:
    """In BF16: two weights of two bytes for each byte of blocks."""
    return {
        name: 4 * size if name.endswith("_blocks") else size
        for name, size in stored.items()
        if not name.endswith("_scales")
    }


def ideal_bytes(sizes: dict[str, int], ranks: int) -> float:
    """An equal part of the experts, and all else."""
    experts = sum(size for name, size in sizes.items() if ".mlp.experts." in name)
    return sum(sizes.values()) - experts + experts / ranks


def measure_parts(build: Path, checkpoint: Path) -> list[Row]:
    """The last rank of each number of ranks, all of them in turn, again and again."""
    stored = stored_tensors(checkpoint)
    decoded = decoded_sizes(stored)
    read_all(checkpoint)
    rounds = [
        {
            ranks: run(build, "load", checkpoint, "--ranks", ranks, "--rank", ranks - 1)
            for ranks in RANKS
        }
        for _ in range(PAIRS)
    ]

    def figure(ranks: int, key: str, ideal: Callable[[int], float]) -> Figure:
        return Figure(
            statistics.median(results[ranks][key] for results in rounds),
            statistics.median(results[ranks][key] / results[1][key] for results in rounds),
            ideal(ranks) / ideal(1),
        )

    def bytes_read(ranks: int) -> float:
        return ideal_bytes(stored, ranks)

    def memory(ranks: int) -> float:
        return ideal_bytes(decoded, ranks)

    def moved(ranks: int) -> float:
        return bytes_read(ranks) + memory(ranks)

    return [
        Row(
            ranks,
            figure(ranks, "bytes_read", bytes_read),
            figure(ranks, "peak_memory", memory),
            figure(ranks, "seconds", moved),
        )
        for ranks in RANKS
    ]


def parts_table(rows: list[Row]) -> str:
    header = ["ep"]
    for what in ("bytes read", "peak memory", "time"):
        header += [what, "of ep = 1", "at best"]
    header.append(f"all at most {MOST_ABOVE_IDEAL} of that")
    lines = []
    for row in rows:
        line = [str(row.ranks)]
        for figure, scale, unit in (
            (row.bytes_read, 1e-6, "MB"),
            (row.peak_memory, 1e-6, "MB"),
            (row.seconds, 1e3, "ms"),
        ):
            line += [f"{figure.median * scale:.0f} {unit}"]
            line += [f"{figure.share:.3f}", f"{figure.ideal:.3f}"]
        lines.append([*line, "yes" if row.in_proportion() else "NO"])
    return table(header, lines)


def plan_table(build: Path, checkpoint: Path) -> str:
    sparse.write_checkpoint(checkpoint)
    runs = [run(build, "plan", checkpoint) for _ in range(PAIRS)]
    time = statistics.median(result["seconds"] for result in runs) * 1e3
    what = (
        f"planning gpt-oss-120b for the nemo layout: {runs[0]['tensors']} tensors in {sparse.SHARDS} files, "
        f"{runs[0]['bytes_in'] / 1e9:.1f} GB to {runs[0]['bytes_out'] / 1e9:.1f} GB"
    )
    reached = "yes" if time <= PLAN_BOUND else "NO"
    return table(
        ["what", "measured", "at most", "reached"],
        [[what, f"{time:.1f} ms", f"{PLAN_BOUND:.0f} ms", reached]],
    )


def plot(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    # Text as text, and nothing in the file that differs from run to run.
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "ranks", "font.size": 11}
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    panels = {"bytes read": "bytes_read", "peak memory": "peak_memory", "time": "seconds"}
    ranks = [row.ranks for row in rows]
    for axis, (title, key) in zip(axes, panels.items(), strict=True):
        figures = [getattr(row, key) for row in rows]
        axis.plot(ranks, [f.ideal for f in figures], "--", color="gray", label="at best")
        axis.plot(ranks, [f.share for f in figures], "o-", label="measured")
        axis.set(title=title, xlabel="ep", xscale="log", yscale="log", xticks=ranks)
        axis.set_xticklabels(map(str, ranks))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="of ep = 1", yticks=(1, 0.5, 0.25, 0.125))
    axes[0].set_yticklabels(("1", "1/2", "1/4", "1/8"))
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})
    text = path.read_text()
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("build", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    folder = arguments.work or arguments.build
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-ranks-") as work:
        layer = Path(work, "layer")
        sample = [str(arguments.build / "mxferry"), "sample", str(layer), "--preset", "20b-layer"]
        subprocess.run([*sample, "--quiet"], check=True)
        rows = measure_parts(arguments.build, layer)
        print(parts_table(rows), flush=True)
        print(plan_table(arguments.build, Path(work, "120b")), end="", flush=True)
    if arguments.plot:
        plot(rows, arguments.plot)


main()
