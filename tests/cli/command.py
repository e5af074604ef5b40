"""Runs the command as a user would. MXFERRY names it."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import NamedTuple

MXFERRY = os.environ["MXFERRY"]
# Whether the command was built with a sanitizer, which needs memory and time of its own.
IS_SANITIZED = any(name in Path(MXFERRY).read_bytes() for name in (b"__asan_init", b"__tsan_init"))
DONE, USAGE, SOURCE, SYSTEM, LIMIT, INTERRUPTED, TERMINATED = 0, 2, 3, 4, 5, 130, 143
# A user without rights.
NOBODY = 65534

# The many layers of a sample that converts slowly enough to be caught in the middle when every
# tensor becomes a file of its own.
MANY_LAYERS = ["--layers", "100", "--experts", "1", "--hidden", "32", "--intermediate", "64"]
MANY_FILES = ["--max-shard-size", "1", "--threads", "1"]


class Result(NamedTuple):
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Everything for people, without the breaks between lines."""
        return " ".join((self.stdout + self.stderr).split())

    @property
    def json(self) -> dict:
        """What --json printed; an error where that is not one object and nothing else."""
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value


class CommandTest(unittest.TestCase):
    """Every test has a new working folder, in which the command runs."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = dict(os.environ)
        for variable in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
            self.environment.pop(variable, None)
        self.environment["HOME"] = folder.name

    def mxferry(self, *arguments: str, code: int | None = DONE, **options) -> Result:
        """What it printed; the test fails when it ends with another code (None: any), or not in a
        minute."""
        result = subprocess.run(
            [MXFERRY, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )
        if code is not None and result.returncode != code:
            self.fail(
                f"exit status {result.returncode}, not {code}, of mxferry {' '.join(arguments)}\n"
                + result.stdout
                + result.stderr
            )
        return Result(result.stdout, result.stderr)

    def convert(
        self, source: str, target: str, *options: str, code: int | None = DONE, **more
    ) -> Result:
        return self.mxferry("convert", source, target, "--no-sync", *options, code=code, **more)

    def error(self, *arguments: str, code: int = USAGE) -> dict:
        return self.mxferry(*arguments, "--json", code=code).json["error"]

    def sample(self, name: str, *options: str) -> Path:
        self.mxferry("sample", name, *options)
        return self.folder / name

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [MXFERRY, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            **options,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process
