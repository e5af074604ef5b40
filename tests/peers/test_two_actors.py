"""Two commands at one destination: one is stopped at a call, the other runs, the first goes on.

MXFERRY_ACTORS_STEP: every STEPth of all interleavings is run, beginning with another one each time;
1 is all of them, but for those that are the same as one that was run (commuting.py).
MXFERRY_ACTORS_CASE: only those whose name has this text in it, all of them.
"""

import collections
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from actors import ACTORS, FINISH, OLD_AND_PARTS, SAVE, STATES, A, Actor, Look, Run, State, World
from commuting import next_step, read_log
from laws import Actors, Broken, check_end, check_fault, check_no_mixture, check_repair

STEP = int(os.environ.get("MXFERRY_ACTORS_STEP", "250"))
# There are fewer faults than interleavings, and more of them are run.
FAULTS_STEP = max(1, STEP // 10)
CASE = os.environ.get("MXFERRY_ACTORS_CASE", "")
# How many of each law's failures are told in full.
SHOWN = 3

# What is killed, or has a call that fails, on a folder that is occupied.
FORCED = [
    Actor("convert A --force", [*A, "--force"], "A"),
    Actor("convert A --force --checksum", [*A, "--force", "--checksum"], "A with SHA256SUMS"),
    Actor("save B --force", [*SAVE, "--force"], "B"),
]
OCCUPIED = [state for state in STATES if state.old]
ALONE = [(state, actor) for state in OCCUPIED for actor in FORCED]
ALONE.append((OLD_AND_PARTS, Actor("finish", FINISH, "A")))
ALONE.append((OLD_AND_PARTS, Actor("convert A --resume", [*A, "--resume"], "A")))


class Interleaving(NamedTuple):
    state: State
    first: Actor
    second: Actor
    step: int
    alone: tuple[bool, bool]

    def __str__(self) -> str:
        names = f"{self.first.name} / {self.second.name}"
        return f"[{self.state.name}] {names} @ {self.step}"


class Fault(NamedTuple):
    state: State
    actor: Actor
    variable: str
    step: int

    def __str__(self) -> str:
        return f"[{self.state.name}] {self.actor.name} {self.variable}={self.step}"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("actors"))


def interleave(world: World, case: Interleaving, box: Path) -> int:
    """The first is stopped at a call, the second runs to its end, and the first goes on.

    Returns the next step at which that is not the same."""
    target = world.place(case.state, box)
    faults = {"FAULTS_ROOT": target}
    logs = (box / "1" / "log", box / "2" / "log")
    stop = {"FAULTS_STOP_AT": case.step, "FAULTS_LOG": logs[0]}
    first = Run(world.at(case.first.command, target), box / "1", **faults, **stop)
    second = None
    try:
        stopped = first.has_stopped()
        check_no_mixture(world, Look(target), "when the first was stopped")
        command = world.at(case.second.command, target)
        second = Run(command, box / "2", **faults, FAULTS_LOG=logs[1])
        assert not second.has_stopped()
        if stopped:
            check_no_mixture(world, Look(target), "when the second had ended")
            first.go_on()
            assert not first.has_stopped()
    finally:
        first.kill()
        if second is not None:
            second.kill()
    both = ((case.first, first.ended()), (case.second, second.ended()))
    actors = Actors(case.state, both)
    check_end(world, actors, Look(target), case.alone)
    check_repair(world, actors, target, box / "3")
    beside = set(os.listdir(box)) - {"1", "2", "3", "dst"}
    if beside:
        raise Broken("nothing is left beside the destination", str(beside))
    return next_step(*(read_log(log, target.parent) for log in logs), case.step)


def disturb(world: World, case: Fault, box: Path) -> int:
    """One call fails, or the process is killed there. Returns the next call."""
    target = world.place(case.state, box)
    command = world.at(case.actor.command, target)
    disturbed = Run(command, box / "1", FAULTS_ROOT=target, **{case.variable: case.step})
    try:
        assert not disturbed.has_stopped()
    finally:
        disturbed.kill()
    ended = disturbed.ended()
    check_fault(world, case.state, case.actor, ended, target, box / "2")
    return case.step + 1


def sample_of(rows: list[list], step: int) -> list[list]:
    cases = [case for row in rows for case in row]
    if CASE:
        return [[case] for case in cases if CASE in str(case)]
    return [[case] for case in cases[os.getpid() % step :: step]] if step > 1 else rows


def run_all(world: World, name: str, rows: list[list], step: int, check: Callable, capsys):
    """Runs a sample of the cases, all processors at work, and tells what did not hold.

    A row is the same thing at one step after the other. Where all are run, those that `check` calls
    the same as the last one are left out."""
    failures: list[tuple[object, Broken]] = []
    lock = threading.Lock()

    def run_one(case: Interleaving | Fault) -> int:
        box = Path(tempfile.mkdtemp(dir=world.folder))
        following = case.step + 1
        try:
            following = check(world, case, box / name)
        except Broken as broken:
            with lock:
                failures.append((case, broken))
        except Exception as error:
            with lock:
                failures.append((case, Broken("the test understands what it sees", repr(error))))
        shutil.rmtree(box)
        return following

    def run_row(row: list) -> int:
        runs = following = 0
        for case in row:
            if case.step >= following:
                following = run_one(case)
                runs += 1
        return runs

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = sum(pool.map(run_row, sample_of(rows, step)))
    total = sum(len(row) for row in rows)
    with capsys.disabled():
        print(f"\n{runs} of {total} {name} were run, laws were broken in {len(failures)}")
    by_law = collections.defaultdict(list)
    for case, broken in failures:
        by_law[broken.law].append(f"{case}\n{broken}\n")
    text = ""
    for law, told in sorted(by_law.items(), key=lambda entry: -len(entry[1])):
        text += f"\n{len(told)} times broken: {law}\n\n" + "\n".join(told[:SHOWN])
    if failures:
        pytest.fail(text, pytrace=False)


def on_all(function: Callable, arguments: list) -> list:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda argument: function(*argument), arguments))


def interleavings(world: World) -> list[list[Interleaving]]:
    """Every pair in every state, at every step of the first, and once after its end."""
    rows = []
    for state in STATES:
        made = world.made(state)
        counts = on_all(world.alone, [(made, actor.command) for actor in ACTORS])
        for first, first_alone in zip(ACTORS, counts, strict=True):
            for second, second_alone in zip(ACTORS, counts, strict=True):
                alone = (first_alone.ended.status == 0, second_alone.ended.status == 0)
                steps = range(1, first_alone.steps + 2)
                rows.append([Interleaving(state, first, second, step, alone) for step in steps])
    return rows


def test_of_two_commands_one_does_it_or_both_do_the_same(world, capsys):
    run_all(world, "interleavings", interleavings(world), STEP, interleave, capsys)


def test_an_error_or_a_kill_never_costs_the_old_checkpoint(world, capsys):
    rows = []
    counts = on_all(world.alone, [(world.made(state), actor.command) for state, actor in ALONE])
    for (state, actor), undisturbed in zip(ALONE, counts, strict=True):
        for variable in ("FAULTS_AT", "FAULTS_KILL_AT"):
            calls = range(1, undisturbed.calls + 1)
            rows.append([Fault(state, actor, variable, call) for call in calls])
    run_all(world, "faults", rows, FAULTS_STEP, disturb, capsys)


def test_work_that_is_not_finished_leaves_the_old_checkpoint(world):
    for state in [*STATES, OLD_AND_PARTS]:
        if state.old:
            look, old = Look(world.made(state)), world.results[state.old]
            assert look.files == old.files, f"{state.name}: {look.differences(old)}"
