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
from checkpoints import INDEX, digests, is_whole, names
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
        calls, allocations = map(int, (self.folder / "count").read_text().split())
        return calls, allocations

    def check_failed(self, ended: subprocess.CompletedProcess) -> bool:
        """Whether it failed; then with one clear message, and nothing half done."""
        self.assertNotIn("Sanitizer", ended.stderr)
        if ended.returncode == 0:  # what failed was only a hint
            self.assertEqual(digests(self.destination), self.clean, ended.stderr)
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
        step = max(1, allocations // 60)
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
        log = self.folder / "log"
        self.assertEqual(self.run_with(FAULTS_LOG=log).returncode, 0)
        calls = [line.split("\t") for line in log.read_text().splitlines()]
        folder = str(self.destination)
        renamed = {}  # final name -> place in the log
        for place, (name, path, final) in enumerate(calls):
            if name != "rename":
                continue
            renamed[Path(self.folder, final).name] = place
            partial = str(Path(self.folder, path))
            writes = [i for i, c in enumerate(calls) if c[:2] == ["pwrite", partial]]
            syncs = [i for i, c in enumerate(calls) if c[:2] == ["fsync", partial]]
            self.assertTrue(
                max(writes) < max(syncs) < place, f"{path} has its name before its data"
            )
        shards = {name for name in self.clean if name.endswith(".safetensors")}
        self.assertLessEqual(shards | {INDEX, "config.json"}, renamed.keys())
        self.assertEqual(max(renamed, key=renamed.get), INDEX)
        folder_syncs = [i for i, c in enumerate(calls) if c[:2] == ["fsync", folder]]
        for name in shards:
            self.assertTrue(
                any(renamed[name] < place < renamed[INDEX] for place in folder_syncs),
                f"the name of {name} may be lost when the index is there",
            )
        journal = next(
            place
            for place, (name, path, _) in enumerate(calls)
            if name in ("unlink", "remove") and ".mxferry-journal" in path
        )
        self.assertTrue(
            any(renamed[INDEX] < place < journal for place in folder_syncs),
            "the journal goes before the index is on the disk",
        )


if __name__ == "__main__":
    unittest.main()
