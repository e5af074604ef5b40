"""One conversion by the ranks of mpirun."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from checkpoints import INDEX, STATE, digests, names, read_header
from command import DONE, MXFERRY, SOURCE, USAGE, CommandTest
from parts_test import FILES, SIZES

MPIRUN = shutil.which("mpirun")
PROGRAM = Path(MXFERRY).with_name("mxferry-mpi")


@unittest.skipUnless(MPIRUN, "there is no mpirun")
@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} was not built: MPI's headers are missing")
class Mpi(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src", *SIZES)
        # Open MPI itself leaks, and takes locks in two orders.
        (self.folder / "suppressions").write_text("deadlock:mca_btl_tcp\n")
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        self.environment |= {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "ASAN_OPTIONS": f"{sanitizer}:detect_leaks=0",
            "TSAN_OPTIONS": f"suppressions={self.folder}/suppressions",
        }

    def command(self, ranks: int, *arguments: str) -> list[str]:
        return [MPIRUN, "--oversubscribe", "-n", str(ranks), MXFERRY, *arguments]

    def together(self, ranks: int, *arguments: str, code: int = DONE) -> str:
        """What all of them printed."""
        ended = subprocess.run(
            self.command(ranks, *arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(ended.returncode, code, ended.stdout + ended.stderr)
        return ended.stdout + ended.stderr

    def test_any_number_of_ranks_makes_the_same(self):
        arguments = ["convert", "src", "dst", "--to", "nemo", *FILES]
        self.convert("src", "alone", "--to", "nemo", *FILES)
        for ranks in (1, 2, 4):
            with self.subTest(ranks):
                printed = self.together(ranks, *arguments, "--force")
                self.assertEqual(printed.count("Done in"), 1, printed)
                self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))
        self.assertIn("Nothing was left to do", self.together(2, *arguments, "--resume"))

    def spoil(self, weight: str) -> None:
        for path in (self.folder / "src").glob("*.safetensors"):
            header, begin = read_header(path)
            if weight in header:
                with path.open("r+b") as file:
                    file.seek(begin + header[weight]["data_offsets"][0])
                    file.write(b"\xff")

    def test_what_one_rank_meets_ends_all(self):
        self.spoil("model.layers.2.mlp.experts.down_proj_scales")
        arguments = ["convert", "src", "dst", "--to", "nemo", *FILES]
        printed = self.together(4, *arguments, code=SOURCE)
        self.assertRegex(printed, r"mxferry: rank [23]: tensor 'model.layers.2.mlp")
        self.assertNotIn(INDEX, names(self.folder / "dst"))
        self.assertNotIn("Done in", printed)

    def test_ranks_with_other_options_end_before_anything_is_written(self):
        self.convert("src", "dst", "--to", "hf")
        before = digests(self.folder / "dst")
        one = ["convert", "src", "dst", "--to", "nemo", "--force", *FILES]
        other = [*one, "--dtype", "f32"]
        printed = self.together(2, *one, ":", "-n", "1", MXFERRY, *other, code=USAGE)
        self.assertIn("the ranks would do different conversions", " ".join(printed.split()))
        self.assertEqual(digests(self.folder / "dst"), before)

    def test_stopped_it_can_be_resumed(self):
        self.sample("many", "--layers", "60", "--experts", "1", "--hidden", "32")
        options = ["--to", "hf", "--max-shard-size", "1"]
        self.convert("many", "alone", *options)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number):
                destination = self.folder / f"dst-{number}"
                arguments = ["convert", "many", destination.name, *options]
                process = subprocess.Popen(
                    self.command(2, *arguments),
                    cwd=self.folder,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                self.addCleanup(process.kill)
                deadline = time.monotonic() + 60
                while len(list(destination.glob(f"{STATE}/*/files/*.safetensors"))) < 3:
                    self.assertIsNone(process.poll(), "it ended too early")
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.001)
                ranks = self.ranks_of(process)
                self.signal_all(ranks, signal.SIGSTOP)
                self.assertFalse((destination / INDEX).exists(), "it was at its end already")
                # One is enough to end all.
                self.signal_all(ranks[:1], number)
                self.signal_all(ranks, signal.SIGCONT)
                self.assertNotEqual(process.wait(timeout=60), 0)
                self.assertFalse((destination / INDEX).exists())
                self.together(2, *arguments, "--resume")
                self.assertEqual(digests(destination), digests(self.folder / "alone"))

    def ranks_of(self, mpirun: subprocess.Popen) -> list[int]:
        children = Path(f"/proc/{mpirun.pid}/task/{mpirun.pid}/children").read_text().split()
        return [int(child) for child in children]

    def signal_all(self, processes: list[int], number: int) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def test_srun_without_mpi_is_refused(self):
        self.environment["SLURM_STEP_NUM_TASKS"] = "4"
        printed = self.convert("src", "dst", "--to", "nemo", code=2)
        self.assertIn("srun --mpi=pmix", printed.text)


if __name__ == "__main__":
    unittest.main()
