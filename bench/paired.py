"""Measuring commands in pairs: a subject and a reference right after one another, again and again.

A figure is the median over the pairs of subject / reference: below 1 the subject is faster.
"""

import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PAIRS = 9


@dataclass
class Run:
    seconds: float
    cpu_seconds: float
    peak_memory: int  # bytes


@dataclass
class Paired:
    ratio: float
    subject: Run  # medians
    reference: Run


def run(command: list[str], codes: tuple[int, ...] = (0,)) -> Run:
    """Runs one command to its end. CalledProcessError when it ends with another code than these."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in codes:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def medians(runs: list[Run]) -> Run:
    return Run(
        statistics.median(r.seconds for r in runs),
        statistics.median(r.cpu_seconds for r in runs),
        max(r.peak_memory for r in runs),
    )


def run_paired(subject, reference, pairs: int = PAIRS) -> Paired:
    """Both are functions that return a Run; each once unmeasured, then in alternating order."""
    subject()
    reference()
    subjects, references = [], []
    for pair in range(pairs):
        first, second = (subject, reference) if pair % 2 == 0 else (reference, subject)
        results = [first(), second()]
        if pair % 2 == 1:
            results.reverse()
        subjects.append(results[0])
        references.append(results[1])
    ratio = statistics.median(
        s.seconds / r.seconds for s, r in zip(subjects, references, strict=True)
    )
    return Paired(ratio, medians(subjects), medians(references))


def settle(old: Path) -> None:
    """Before a run: nothing of an earlier one is on its way to the disk, and what this one will write again is gone.

    In this order, so that the run gets the memory that was freed just now: a virtual machine hands memory that lies
    free for a while back to its host, and the next one to touch it waits for the host.
    """
    os.sync()
    shutil.rmtree(old, ignore_errors=True)


def read_all(folder: Path) -> None:
    """Brings the files of a folder into the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
