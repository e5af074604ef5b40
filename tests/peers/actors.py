"""Commands that are stopped, killed or let fail at their Nth call on the destination.

MXFERRY names the command, SAVE_MODEL the tool that does what save_checkpoint() does, and FAULTS the
library that is preloaded into both.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import safetensors

MXFERRY = os.environ.get("MXFERRY", "")
SAVE_MODEL = os.environ.get("SAVE_MODEL", "")
FAULTS = os.environ.get("FAULTS", "")

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# A user's own file beside an old checkpoint, which is nobody's business.
NOTES = "notes.txt"
# Seconds that a command may take, which is hundreds of times what it needs.
LIMIT = 60

# Hidden and intermediate size differ, and there are three files of weights.
SIZES = ["--layers", "1", "--experts", "2", "--hidden", "32", "--intermediate", "64"]
SIZES += ["--vocab", "32"]
USUAL = ["--to", "hf", "--threads", "1", "--no-sync", "--json"]
A = ["convert", "SOURCE_A", "DST", *USUAL, "--max-shard-size", "24KB"]
B = ["convert", "SOURCE_B", "DST", *USUAL, "--max-shard-size", "24KB"]
OTHER = ["convert", "SOURCE_A", "DST", *USUAL, "--dtype", "f16"]
OLD = ["convert", "SOURCE_C", "DST", *USUAL, "--max-shard-size", "12KB", "--checksum"]
TWIN = ["convert", "SOURCE_C", "DST", *USUAL, "--max-shard-size", "24KB"]
SAVE = ["save", "DENSE_B", "DST", "--no-sync", "--max-shard-size", "24000"]
SAMPLE = ["sample", "DST", "--seed", "5", *SIZES, "--json"]
PARTS = [["--rank", "0", "--world", "2"], ["--rank", "1", "--world", "2"]]
FINISH = ["finish", "DST", "--json"]


class Actor(NamedTuple):
    name: str
    command: list[str]
    makes: str = ""  # the name of a result; "" for what makes one of what others have written
    part: int = 0  # the number of the part that it is; 0 for what makes a whole checkpoint

    @property
    def forced(self) -> bool:
        return "--force" in self.command


ACTORS = [
    Actor("convert A", A, "A"),
    Actor("convert A as F16 --force", [*OTHER, "--force"], "A as F16"),
    Actor("convert A --resume", [*A, "--resume"], "A"),
    Actor("convert B --resume", [*B, "--resume"], "B"),
    Actor("part 1", [*A, *PARTS[0]], "A", 1),
    Actor("part 1 --force", [*A, *PARTS[0], "--force"], "A", 1),
    Actor("part 1 --resume", [*A, *PARTS[0], "--resume"], "A", 1),
    Actor("part 2", [*A, *PARTS[1]], "A", 2),
    Actor("part 2 --force", [*A, *PARTS[1], "--force"], "A", 2),
    Actor("part 2 --resume", [*A, *PARTS[1], "--resume"], "A", 2),
    Actor("finish", FINISH),
    Actor("save B", SAVE, "B"),
    Actor("save B --force", [*SAVE, "--force"], "B"),
    Actor("sample", SAMPLE, "sample"),
]

# What each makes of an empty folder.
RESULTS = {
    "A": A,
    "A with SHA256SUMS": [*A, "--checksum"],
    "A as F16": OTHER,
    "B": B,
    "sample": SAMPLE,
    "old": OLD,
    "twin": TWIN,
}


class State(NamedTuple):
    """What is at the destination before; the commands that make it, the last of them killed."""

    name: str
    commands: list[list[str]]
    old: str = ""  # the checkpoint that is there
    parts: tuple[int, ...] = ()  # of two, that are done
    killed: bool = False

    @property
    def pending(self) -> bool:
        """Whether a conversion of A has been begun there."""
        return self.killed or bool(self.parts)


STATES = [
    State("nothing", []),
    State("old", [OLD], old="old"),
    State("twin", [TWIN], old="twin"),  # its files have the names that A's have
    State("part 1 done", [[*A, *PARTS[0]]], parts=(1,)),
    State("killed", [A], killed=True),
    State("old and killed", [OLD, [*A, "--force"]], old="old", killed=True),
]
OLD_AND_PARTS = State(
    "old and both parts done",
    [OLD, [*A, *PARTS[0], "--force"], [*A, *PARTS[1], "--resume"]],
    old="old",
    parts=(1, 2),
)


class Ended(NamedTuple):
    """How a command has ended."""

    command: list[str]
    status: int  # negative: the signal
    error: str  # the name of the error
    output: str

    @property
    def has_message(self) -> bool:
        return "mxferry: " in self.output and self.error != ""

    def __str__(self) -> str:
        text = f"exit status {self.status} {self.error}".rstrip()
        return text if self.status == 0 else f"{text}: {self.output.strip()}"


class Alone(NamedTuple):
    """A command that nothing disturbed: what it called (tests/faults/faults.cc), and its end."""

    calls: int
    steps: int
    ended: Ended


class Run:
    """A command at work, in a folder of its own for what it prints."""

    def __init__(self, command: list[str], folder: Path, **faults: object):
        folder.mkdir(parents=True, exist_ok=True)
        self.command = command
        self.folder = folder
        program = [SAVE_MODEL, *command[1:]] if command[0] == "save" else [MXFERRY, *command]
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        environment = os.environ | {
            "LD_PRELOAD": FAULTS,
            "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0:alloc_dealloc_mismatch=0"
            ":detect_leaks=0",
            "HOME": str(folder),
            "FAULTS_HURRY": "1",
            "FAULTS_LIMIT": str(LIMIT),
        }
        environment |= {key: str(value) for key, value in faults.items()}
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            self._process = subprocess.Popen(
                program,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def has_stopped(self) -> bool:
        """Waits until it stops or ends, and tells which."""
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return False

    def go_on(self):
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self):
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()

    def ended(self) -> Ended:
        """Of a command that has ended."""
        stdout = (self.folder / "stdout").read_text()
        stderr = (self.folder / "stderr").read_text()
        error = ""
        if self.command[0] == "save":
            lines = stderr.splitlines()
            error = lines[-1] if len(lines) > 1 else ""
        elif stdout.startswith("{"):
            told = json.loads(stdout).get("error", {})
            error = told.get("code", "")
            # As without --json.
            stdout = f"mxferry: {told['message']}\n" if told else ""
        return Ended(self.command, self._process.returncode, error, stdout + stderr)


def run(command: list[str], folder: Path, **faults: object) -> Ended:
    started = Run(command, folder, **faults)
    try:
        assert not started.has_stopped(), f"{command} has stopped"
    finally:
        started.kill()
    return started.ended()


class Look:
    """What is in a folder."""

    def __init__(self, folder: Path):
        self.state: list[str] = []  # names of mxferry's own
        self.files: dict[str, bytes] = {}  # the others
        self.notes: bytes | None = None
        self.has_only_lock = False  # what a failed clearing up may leave of the state
        if not folder.is_dir():
            return
        for name in sorted(os.listdir(folder)):
            if name.startswith(".mxferry") or name.endswith(".partial"):
                self.state.append(name)
                path = folder / name
                self.has_only_lock = path.is_dir() and set(os.listdir(path)) <= {"lock"}
            else:
                path = folder / name
                self.files[name] = path.read_bytes() if path.is_file() else b"not a file"
        self.notes = self.files.pop(NOTES, None)

    @cached_property
    def ways_to_open(self) -> list[dict[str, str]]:
        """The file of every tensor, in each way that a reader may open the folder."""
        ways = []
        if "config.json" not in self.files:
            return ways
        if INDEX in self.files:
            where = json.loads(self.files[INDEX])["weight_map"]
            if set(where.values()) <= self.files.keys():
                ways.append(where)
        if SINGLE in self.files:
            names = [name for name, _ in safetensors.deserialize(self.files[SINGLE])]
            ways.append(dict.fromkeys(names, SINGLE))
        return ways

    def tensors(self, where: dict[str, str]) -> dict[str, tuple]:
        """Read by the reference implementation."""
        found = {}
        for file in set(where.values()):
            for name, tensor in safetensors.deserialize(self.files[file]):
                if where.get(name) == file:
                    found[name] = (tensor["dtype"], tensor["shape"], bytes(tensor["data"]))
        return found

    def differences(self, other: "Look") -> str:
        """The names of files that are here alone, there alone, or other ones."""
        names = self.files.keys() | other.files.keys()
        marks = {}
        for name in names:
            if name not in other.files:
                marks[name] = "+"
            elif name not in self.files:
                marks[name] = "-"
            elif self.files[name] != other.files[name]:
                marks[name] = "~"
        return " ".join(mark + name for name, mark in sorted(marks.items())) or "none"


class World:
    """The sources, the results of undisturbed runs, and the states to begin with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._sources = {}
        for number, letter in enumerate("ABC"):
            path = folder / f"source_{letter}"
            self._do(["sample", str(path), "--seed", str(number + 1), *SIZES, "--json"])
            self._sources[f"SOURCE_{letter}"] = str(path)
        self._sources["DENSE_B"] = str(folder / "result B")
        self.results = {}
        self.tensors = {}
        self.repaired: set[tuple] = set()  # what was left, of which the next command made a result
        for name, command in RESULTS.items():
            path = folder / f"result {name}"
            self._do(self.at(command, path))
            self.results[name] = look = Look(path)
            self.tensors[name] = look.tensors(look.ways_to_open[0])
        for state in [*STATES, OLD_AND_PARTS]:
            self._make(state)

    def at(self, command: list[str], destination: Path) -> list[str]:
        """The command with this destination, and the sources."""
        return [{**self._sources, "DST": str(destination)}.get(word, word) for word in command]

    def made(self, state: State) -> Path:
        """The destination that others are copied from."""
        return self.folder / f"state {state.name}" / "dst"

    def _do(self, command: list[str]):
        ended = run(command, self.folder / "log")
        assert ended.status == 0, f"{command}: {ended}"

    def _make(self, state: State):
        target = self.made(state)
        target.parent.mkdir()
        for number, command in enumerate(state.commands):
            if state.killed and number == len(state.commands) - 1:
                calls = self.alone(target, command).calls
                faults = {"FAULTS_ROOT": target, "FAULTS_KILL_AT": calls // 2}
                ended = run(self.at(command, target), self.folder / "log", **faults)
                assert ended.status == -signal.SIGKILL, ended
            else:
                self._do(self.at(command, target))
            if state.old and number == 0:
                (target / NOTES).write_text("what I did\n")

    def place(self, state: State, folder: Path) -> Path:
        """A destination in this state, in a new folder."""
        folder.mkdir(parents=True)
        made = self.made(state)
        if made.exists():
            shutil.copytree(made, folder / "dst", symlinks=True)
        return folder / "dst"

    def alone(self, made: Path, command: list[str]) -> Alone:
        """What an undisturbed command does at a copy of a destination."""
        box = Path(tempfile.mkdtemp(dir=self.folder))
        target = box / "dst"
        if made.exists():
            shutil.copytree(made, target, symlinks=True)
        counted = box / "count"
        faults = {"FAULTS_ROOT": target, "FAULTS_COUNT": counted}
        ended = run(self.at(command, target), box / "log", **faults)
        calls, _, steps = map(int, counted.read_text().split())
        return Alone(calls, steps, ended)
