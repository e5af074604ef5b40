"""Real control groups: their quota is the number of threads, and within their memory a conversion
never meets the end that the system has for those who take more."""

import contextlib
import math
import os
import tempfile
import unittest
from pathlib import Path

from command import IS_SANITIZED, LIMIT, MXFERRY, CommandTest

PAGE = 4096
PERIOD = 100_000  # microseconds


def hierarchy(controller: str) -> tuple[Path, bool]:
    """The folder of this process's group where the controller can be set, and whether it is of
    version 2. Raises SkipTest with the reason where there is none."""
    groups = dict(
        (names, path)
        for _, names, path in (line.split(":", 2) for line in own("cgroup").splitlines())
    )
    for line in own("mountinfo").splitlines():
        fields, _, system = line.partition(" - ")
        top, mount_point = fields.split()[3:5]
        kind, _, options = system.split()
        if kind == "cgroup" and controller in options.split(","):
            names = next(names for names in groups if controller in names.split(","))
            return Path(mount_point) / os.path.relpath(groups[names], top), False
        if kind == "cgroup2":
            folder = Path(mount_point) / os.path.relpath(groups[""], top)
            # Only a group without processes of its own has others with controllers in it.
            for parent in (folder, folder.parent):
                control = parent / "cgroup.subtree_control"
                if control.is_file() and controller in control.read_text().split():
                    return parent, True
    raise unittest.SkipTest(f"no group of this machine may set {controller}")


def own(file: str) -> str:
    return Path("/proc/self", file).read_text()


class CgroupTest(CommandTest):
    @contextlib.contextmanager
    def group(self, controller: str):
        """A new group in the own one, and whether it is of version 2."""
        parent, is_v2 = hierarchy(controller)
        folder = parent / f"mxferry_test_{os.getpid()}"
        try:
            folder.mkdir()
        except OSError as error:
            self.skipTest(f"no control group can be made: {error}")
        try:
            yield folder, is_v2
        finally:
            folder.rmdir()

    def write(self, file: Path, content: object):
        try:
            file.write_text(str(content))
        except OSError as error:
            self.skipTest(f"{file.name} cannot be set: {error}")

    def run_in(self, group: Path, *arguments: str, **options):
        def join():
            (group / "cgroup.procs").write_text(str(os.getpid()))

        return self.mxferry(*arguments, preexec_fn=join, **options)


class Cpus(CgroupTest):
    def set_quota(self, group: Path, is_v2: bool, cpus: float):
        quota = round(cpus * PERIOD)
        if is_v2:
            self.write(group / "cpu.max", f"{quota} {PERIOD}")
        else:
            self.write(group / "cpu.cfs_period_us", PERIOD)
            self.write(group / "cpu.cfs_quota_us", quota)

    def test_quota_is_the_number_of_threads(self):
        self.sample("src")
        plan = ("convert", "src", "dst", "--to", "nemo", "--dry-run", "--json")
        available = self.mxferry(*plan).json["plan"]["threads"]
        with self.group("cpu") as (group, is_v2):
            for cpus in (0.5, 1, 1.5, available + 1):
                with self.subTest(cpus):
                    self.set_quota(group, is_v2, cpus)
                    threads = self.run_in(group, *plan).json["plan"]["threads"]
                    self.assertEqual(threads, min(available, math.ceil(cpus)))
            self.set_quota(group, is_v2, 1)
            given = self.run_in(group, *plan, "--threads", "3").json["plan"]["threads"]
            self.assertEqual(given, 3)


class Memory(CgroupTest):
    SIZES = ("--layers", "1", "--experts", "2", "--hidden", "2880", "--intermediate", "1440")

    def setUp(self):
        super().setUp()
        if IS_SANITIZED:
            self.skipTest("a sanitizer needs memory of its own")
        # On a disk: what lies in a tmpfs is memory that the group is charged for.
        folder = tempfile.TemporaryDirectory(dir=Path(MXFERRY).parent)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def set_limit(self, group: Path, is_v2: bool, size: int) -> int:
        """In whole pages; returns the bytes."""
        size = -(-size // PAGE) * PAGE
        self.write(group / ("memory.max" if is_v2 else "memory.limit_in_bytes"), size)
        with contextlib.suppress(OSError):  # no swap, where the machine has any
            if is_v2:
                (group / "memory.swap.max").write_text("0")
            else:
                (group / "memory.memsw.limit_in_bytes").write_text(str(size))
        return size

    def least_memory(self, threads: int, *arguments: str) -> int:
        """What the refusal of too little memory names."""
        refused = self.mxferry(
            *arguments, "--threads", str(threads), "--max-memory", "1", "--json", code=LIMIT
        )
        words = refused.json["error"]["expected"].split()
        self.assertEqual(words[:2], ["at", "least"])
        return int(words[2])

    def test_is_kept_at_any_number_of_threads(self):
        self.sample("src", *self.SIZES)
        convert = ("convert", "src", "dst", "--to", "nemo", "--force", "--checksum")
        back = ("convert", "dst", "back", "--to", "hf", "--dtype", "mxfp4", "--force")
        for threads in (1, 2, 4, 8, 16):
            for command in (convert, back):
                with self.subTest(threads=threads, to=command[4]):
                    self.convert_in_group(threads, command)

    def convert_in_group(self, threads: int, command: tuple[str, ...]):
        with self.group("memory") as (group, is_v2):
            size = self.set_limit(group, is_v2, self.least_memory(threads, *command))
            options = ("--threads", str(threads), "--max-memory", str(size), "--json")
            done = self.run_in(group, *command, *options).json
            self.assertEqual(done["plan"]["threads"], threads)
            self.assertLessEqual(done["peak_memory"], size)

    def test_is_the_default(self):
        self.sample("src", *self.SIZES)
        command = ("convert", "src", "dst", "--to", "nemo")
        with self.group("memory") as (group, is_v2):
            size = self.set_limit(group, is_v2, self.least_memory(1, *command))
            done = self.run_in(group, *command, "--json").json
            self.assertLessEqual(done["plan"]["peak_memory_estimate"], size)

    def test_that_is_too_small_is_refused_in_advance(self):
        self.sample("src", *self.SIZES)
        command = ("convert", "src", "dst", "--to", "nemo")
        with self.group("memory") as (group, is_v2):
            self.set_limit(group, is_v2, self.least_memory(16, *command) - PAGE)
            for more in ((), ("--max-memory", "1GiB")):
                refused = self.run_in(group, *command, "--threads", "16", *more, code=LIMIT)
                self.assertIn("control group", refused.text)
                self.assertIn("fewer threads", refused.text)
                self.assertFalse((self.folder / "dst").exists())


if __name__ == "__main__":
    unittest.main()
