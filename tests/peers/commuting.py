"""Which calls of two commands may change places: what FAULTS_LOG of tests/faults/faults.cc tells.

One command is stopped before its Nth step, another one runs to its end, the first goes on. If the
Nth step commutes with all calls of the other command, everybody sees the same as if the first had
been stopped before step N + 1; so that need not be run.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# Calls that change nothing which another process can see. "open" is one that creates nothing.
LOOKS = {
    *("open", "read", "pread", "preadv", "fsync", "fdatasync", "statvfs"),
    *("stat", "lstat", "fstat", "fstatat", "statx", "access", "faccessat"),
    *("readlink", "readlinkat", "realpath"),
}
LISTS = {"opendir", "fdopendir"}


class Call(NamedTuple):
    name: str
    paths: tuple[str, ...]
    step: int  # 0 for a call that is none

    @property
    def changes(self) -> bool:
        return self.name not in LOOKS | LISTS | {"close"}


def read_log(path: Path, folder: Path) -> list[Call]:
    """The calls, in their order; relative paths are of `folder`."""
    calls = []
    for line in path.read_text().splitlines():
        name, *paths, step = line.split("\t")
        calls.append(Call(name, tuple(str(folder / path) for path in paths if path), int(step)))
    return calls


def above(path: str) -> list[str]:
    return [str(parent) for parent in Path(path).parents]


class Calls:
    """All calls of a command, to be compared with those of another."""

    def __init__(self, calls: list[Call]):
        def paths_of(wanted: Callable[[Call], bool]) -> set[str]:
            return {path for call in calls if wanted(call) for path in call.paths}

        self.used = paths_of(lambda call: call.name != "close")
        self.changed = paths_of(lambda call: call.changes)
        self.listed = paths_of(lambda call: call.name in LISTS)
        self.locked = paths_of(lambda call: call.name == "flock")
        self.above = {parent for path in self.used for parent in above(path)}
        self.changed_within = {above(path)[0] for path in self.changed}

    def commute_with(self, call: Call) -> bool:
        return all(self._commute(call, path) for path in call.paths)

    def _commute(self, call: Call, path: str) -> bool:
        if call.name == "close":  # which may give back a lock
            return path not in self.locked
        parents = above(path)
        if path in self.changed or not self.changed.isdisjoint(parents):
            return False
        if call.name in LISTS:
            return path not in self.changed_within
        if call.changes:
            return path not in self.used | self.above and parents[0] not in self.listed
        return True


def next_step(first: list[Call], second: list[Call], stopped_at: int) -> int:
    """The next step of the first at which the two may see anything else; beyond all steps where
    there is none."""
    others = Calls(second)
    step = 0
    for call in first:
        step = max(step, call.step)  # a call that is no step goes with the step before it
        if step >= stopped_at and not others.commute_with(call):
            return step + 1
    return sys.maxsize
