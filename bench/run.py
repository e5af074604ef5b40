"""Runs every benchmark, prints the ratios with their bounds, and writes docs/benchmarks.md.

    python3 bench/run.py BUILD --python PYTHON [--work FOLDER]

BUILD holds the programs, PYTHON has the package, PyTorch, Transformers and Matplotlib. FOLDER (the build folder by
default) gets 6 GB of temporary files.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import textwrap
from pathlib import Path

import files
from tables import table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Written by `make bench`. Ratios count here, not absolute figures: each is the median of at least
nine pairs with a reference that ran right before or after in the same run, with memory touched and
input in the page cache beforehand. Kernels, and conversions in the default mode, are compared with
the scalar reference before their figure is shown; the rows of other modes and of verify are times
alone. "At least" and "at most" are the bounds that the project requires of itself, "aim" is its
goal.
"""


def paragraph(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False) + "\n\n"


def machine(version: str, folder: Path) -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = subprocess.run(
        ["stat", "-f", "-c", "%T", str(folder)], check=True, capture_output=True, text=True
    ).stdout.strip()
    return (
        f"{version}; {model}, {len(os.sched_getaffinity(0))} threads, {memory:.0f} GiB; files on {system}; "
        f"Linux {platform.release()}"
    )


def verdict(value: float, at_least: float, aim: float, more_is_better: bool) -> str:
    def reaches(bound: float) -> bool:
        return value >= bound if more_is_better else value <= bound

    return "aim" if reaches(aim) else "yes" if reaches(at_least) else "NO"


def kernel_table(build: Path) -> str:
    print("kernels, of the bandwidth of stores or reads (more is better)", flush=True)
    result = subprocess.run(
        [str(build / "bench_kernels"), "--json"], check=True, capture_output=True, text=True
    )
    rows = []
    for row in json.loads(result.stdout):
        bounds = [row["at_least"], row["aim"]]
        reached = verdict(row["ratio"], *bounds, True) if all(bounds) else ""
        share = f"{row['ratio']:.2f} of {row['denominator']}"
        print(f"  {row['name']}, {row['threads']} thread(s): {share} {reached}", flush=True)
        shown = [f"{bound:.2f}" if bound else "" for bound in bounds]
        rates = [f"{row['gbps']:.1f}", f"{row['denominator_gbps']:.1f}"]
        ratio = [f"{row['ratio']:.2f}", row["denominator"]]
        rows.append([row["name"], str(row["threads"]), *ratio, *shown, reached, *rates])
    header = ["kernel", "threads", "ratio", "of", "at least", "aim", "reached", "GB/s", "its GB/s"]
    return table(header, rows)


def file_tables(build: Path, folder: Path) -> str:
    print("commands, as a share of the time of something else (less is better)", flush=True)
    rows, limits = files.measure(build, folder)
    copies = [
        [
            r.what,
            f"{r.ratio:.2f}",
            r.against,
            f"{r.at_least:.2f}",
            f"{r.aim:.2f}",
            verdict(r.ratio, r.at_least, r.aim, False),
            r.note,
        ]
        for r in rows
    ]
    bounds = [
        [
            m.what,
            f"{m.value:.1f} {m.unit}",
            f"{m.at_least:.0f}",
            f"{m.aim:.0f}",
            verdict(m.value, m.at_least, m.aim, False),
        ]
        for m in limits
    ]
    return (
        table(
            [
                "command, 2 threads",
                "ratio",
                "of the time of",
                "at most",
                "aim",
                "reached",
                "medians",
            ],
            copies,
        )
        + "\n## Memory and overhead\n\n"
        + table(["what", "measured", "at most", "aim", "reached"], bounds)
    )


def package_table(build: Path, folder: Path, python: Path) -> str:
    print("the Python package", flush=True)
    layer = folder / "package-layer"
    shutil.rmtree(layer, ignore_errors=True)
    sample = [str(build / "mxferry"), "sample", str(layer), "--preset", "20b-layer", "--quiet"]
    subprocess.run(sample, check=True)
    try:
        result = subprocess.run(
            [str(python), str(ROOT / "bench" / "package.py"), str(layer)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        shutil.rmtree(layer)
    rows = []
    for row in json.loads(result.stdout):
        more = row["unit"] == "x"
        good = row["value"] >= row["bound"] if more else row["value"] <= row["bound"]
        value = f"{row['value']:.1f} {row['unit']}"
        bound = f"at {'least' if more else 'most'} {row['bound']:.0f}"
        print(f"  {row['what']}: {value} ({bound}; {row['note']})", flush=True)
        rows.append([row["what"], value, bound, "yes" if good else "NO", row["note"]])
    return table(["what", "measured", "bound", "reached", "medians"], rows)


def ranks_section(build: Path, folder: Path, python: Path) -> str:
    print("a rank's part", flush=True)
    plot = PAGE.with_name("ranks.svg")
    command = [str(python), str(ROOT / "bench" / "ranks.py"), str(build), "--work", str(folder)]
    result = subprocess.run(
        [*command, "--plot", str(plot)], check=True, stdout=subprocess.PIPE, text=True
    )
    print(result.stdout, flush=True)
    text = (
        "`load_checkpoint` of one rank of a mesh of `ep` ranks, the same layer: BF16 from MXFP4, all "
        "but the experts whole; each rank in its own processes, the time the median of five loads "
        "after a first. At best, an equal part of the experts is read and kept, and the time is "
        "proportional to the bytes read and written. Planning is timed in a fresh process; the files "
        "have the headers of gpt-oss-120b and holes for its weights."
    )
    return (
        f"## A rank's part\n\n{paragraph(text)}"
        f"{result.stdout}\n![Bytes read, peak memory and time by ep, measured and at best]({plot.name})\n"
    )


def together_section(build: Path, folder: Path) -> str:
    print("several processes", flush=True)
    command = ["python3", str(ROOT / "bench" / "together.py"), str(build), "--work", str(folder)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(result.stdout, flush=True)
    text = (
        "Eight layers of gpt-oss-20b with 8 experts each to BF16, in a file per layer or more, without "
        "syncing, compared with one process of as many threads, in turn. The results are compared "
        "byte by byte."
    )
    return f"## Several processes\n\n{paragraph(text)}{result.stdout}\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("build", type=Path)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    folder = arguments.work or arguments.build
    version = subprocess.run(
        [str(arguments.build / "mxferry"), "--version"], check=True, capture_output=True, text=True
    ).stdout.strip()
    described = machine(version, folder)
    print(described, flush=True)
    kernels = kernel_table(arguments.build)
    conversions = file_tables(arguments.build, folder)
    package = package_table(arguments.build, folder, arguments.python)
    together = together_section(arguments.build, folder)
    ranks = ranks_section(arguments.build, folder, arguments.python)
    in_memory = (
        "One gate_up tensor of gpt-oss-20b's geometry in memory: decoding as a share of the bandwidth "
        "of non-temporal stores of as many bytes with as many threads, encoding as a share of that of "
        "reading. The first rows decode nothing: a plain loop reads as many bytes as a decode does "
        "while it stores as many."
    )
    of_files = (
        "One true-sized layer of gpt-oss-20b, with `cp --reflink=never` and `cat` of the same files as "
        "references (`cp` and then `sync` of them if the conversion syncs)."
    )
    in_python = (
        "The same layer, with Transformers, PyTorch and the package in one process on as many "
        "threads; an x is how many times as fast."
    )
    PAGE.write_text(
        f"{HEAD}\n{paragraph(f'Machine: {described}.')}"
        f"## Kernels\n\n{paragraph(in_memory)}{kernels}\n"
        f"## Commands\n\n{paragraph(of_files)}{conversions}\n"
        f"## The Python package\n\n{paragraph(in_python)}{package}\n{together}{ranks}"
    )
    print(f"wrote {PAGE.relative_to(ROOT)}")


main()
