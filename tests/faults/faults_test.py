"""Every call of a small conversion fails once; and the order of the calls that power loss is about.

FAULTS names the library that is preloaded, which says what it does.
"""

import os
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from checkpoints import INDEX, STATE, digests, is_whole, names
from command import MXFERRY, CommandTest

FAULTS = os.environ["FAULTS"]
# Which calls fail in one run of the tests: every STEPth, beginning with another one each time.
# `make check-deep` takes all.
STEP = int(os.environ.get("MXFERRY_FAULTS_STEP", "15"))
OPTIONS = ["--to", "nemo", "--max-shard-size", "100KB", "--threads", "2"]
OPTIONS += ["--verify", "--checksum"]


class Faults(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src", "--layers", "2", "--experts", "2", "--hidden", "64", "--vocab", "64")
        self.before = digests(self.folder / "src")
        self.mxferry("convert", "src", "clean", *OPTIONS)
        self.clean = digests(self.folder / "clean")
        self.destination = self.folder / "dst"

    def run_with(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess:
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        environment = self.environment | {
            "LD_PRELOAD": FAULTS,
            "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0:alloc_dealloc_mismatch=0",
            "FAULTS_ROOT": str(self.folder),
        }
        return subprocess.run(
            [MXFERRY, "convert", "src", "dst", *OPTIONS, *arguments],
            cwd=self.folder,
            env=environment | {key: str(value) for key, value in variables.items()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def count(self) -> tuple[int, int]:
        ended = self.run_with(FAULTS_COUNT=self.folder / "count")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        shutil.rmtree(self.destination)
        calls, allocations, _ = map(int, (self.folder / "count").read_text().split())
        return calls, allocations

    def check_failed(self, ended: subprocess.CompletedProcess) -> bool:
        """Whether it failed; then with one clear message, and nothing half done."""
        self.assertNotIn("Sanitizer", ended.stderr)
        if ended.returncode == 0:  # what failed was a hint, or the last removal of an empty folder
            left = digests(self.destination)
            if left.pop(STATE, None):
                self.assertLessEqual(set(names(self.destination / STATE)), {"lock"}, ended.stderr)
            self.assertEqual(left, self.clean, ended.stderr)
            return False
        fault, *said = ended.stderr.splitlines()
        if ended.returncode == -signal.SIGABRT and fault == "FAULT new":
            # A JSON value of nlohmann's allocates when it goes, and so may end the process.
            self.assertIn("std::bad_alloc", ended.stderr)
        else:
            self.assertIn(ended.returncode, (2, 3, 4, 5), ended.stderr)
            self.assertTrue(said and said[0].startswith("mxferry: "), ended.stderr)
        if fault.startswith("FAULT ") and ": " in fault:
            path = fault.split()[2].removesuffix(":")
            reason = fault.rpartition(": ")[2]
            text = " ".join(" ".join(said).split())
            self.assertTrue(reason in text or Path(path).name in text, ended.stderr)
        if self.destination.exists():
            if INDEX in names(self.destination):  # what failed is the clearing up after it
                left = digests(self.destination)
                whole = {name for name in self.clean if name.startswith("model")} | {"SHA256SUMS"}
                self.assertLessEqual(whole, left.keys(), ended.stderr)
            for path in self.destination.glob("*.safetensors"):
                self.assertTrue(is_whole(path), f"{path}\n{ended.stderr}")
        return True

    def check_rerun(self, ended: subprocess.CompletedProcess):
        self.assertEqual(digests(self.folder / "src"), self.before)
        self.convert("src", "dst", *OPTIONS, "--resume")
        self.assertEqual(digests(self.destination), self.clean, ended.stderr)

    def fail_one_by_one(self, variable: str, points: range, **more: object) -> int:
        failed = 0
        for point in points:
            with self.subTest(f"{variable}={point}"):
                shutil.rmtree(self.destination, ignore_errors=True)
                ended = self.run_with(**{variable: point}, **more)
                failed += self.check_failed(ended)
                self.check_rerun(ended)
        return failed

    def test_each_call_of_the_system_may_fail(self):
        calls, _ = self.count()
        points = range(1 + os.getpid() % STEP, calls + 1, STEP)
        failed = self.fail_one_by_one("FAULTS_AT", points)
        print(f"{len(points)} of {calls} calls failed, {failed} of them a run", file=sys.stderr)
        self.assertGreater(failed, len(points) / 2)

    def test_memory_may_end_anywhere(self):
        _, allocations = self.count()
        step = 10 * STEP if STEP > 1 else 1
        points = range(1 + os.getpid() % step, allocations + 1, step)
        # A JSON value of nlohmann's that cannot be made whole loses its parts.
        suppressions = self.folder / "suppressions"
        suppressions.write_text("leak:nlohmann\n")
        leaks = f"suppressions={suppressions}:print_suppressions=0"
        failed = self.fail_one_by_one("FAULTS_NEW", points, LSAN_OPTIONS=leaks)
        print(f"{len(points)} of {allocations} allocations failed", file=sys.stderr)
        self.assertGreater(failed, 0)

    def test_short_and_interrupted_transfers_change_nothing(self):
        ended = self.run_with(FAULTS_SHORT=1)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(digests(self.destination), self.clean)

    def test_the_disk_has_everything_before_what_promises_it(self):
        self.convert("src", "dst", "--to", "hf", "--max-shard-size", "50KB")
        log = self.folder / "log"
        self.assertEqual(self.run_with("--force", FAULTS_LOG=log).returncode, 0)
        calls = [line.split("\t") for line in log.read_text().splitlines()]
        calls = [
            [call, *(str(Path(self.folder, path)) for path in paths)] for call, *paths, _ in calls
        ]
        folder = str(self.destination)

        def places(call: str, path: str) -> list[int]:
            return [i for i, c in enumerate(calls) if c[:2] == [call, path]]

        installed = {}  # name -> when it came to its place
        for place, (call, path, final) in enumerate(calls):
            if call != "rename":
                continue
            if path.endswith(".partial"):
                self.assertLess(max(places("pwrite", path)), max(places("fsync", path)), path)
                self.assertLess(max(places("fsync", path)), place, f"{path} is named too early")
            elif Path(final).parent == self.destination:
                installed[Path(final).name] = place
        self.assertEqual(installed.keys(), self.clean.keys())
        by_time = sorted(installed, key=installed.get)
        self.assertEqual(by_time[-2:], [INDEX, "config.json"])

        def is_synced_between(path: str, first: int, last: int) -> bool:
            return any(first < place < last for place in places("fsync", path))

        # The publication is on the disk before the first change, the old marks are gone before the
        # first new file is there, all of that before the new marks, and all of it in the end.
        work = str(Path(calls[installed[INDEX]][1]).parent)
        begun = next(i for i, c in enumerate(calls) if c[2].endswith("/publication"))
        marks = (f"{folder}/config.json", f"{folder}/{INDEX}")
        unmarked = [i for i, c in enumerate(calls) if c[0] == "rename" and c[1] in marks]
        first, ended = installed[by_time[0]], places("unlink", f"{folder}/{STATE}/publication")[0]
        named = max(
            i for i, c in enumerate(calls) if c[0] == "rename" and c[2] == f"{work}/{INDEX}"
        )
        self.assertTrue(is_synced_between(work, named, begun))
        self.assertTrue(is_synced_between(f"{folder}/{STATE}", begun, min(unmarked)))
        self.assertTrue(is_synced_between(folder, max(unmarked), first))
        self.assertTrue(is_synced_between(folder, installed[by_time[-3]], installed[INDEX]))
        self.assertTrue(is_synced_between(folder, installed["config.json"], ended))


if __name__ == "__main__":
    unittest.main()
