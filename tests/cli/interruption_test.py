"""Stopped in the middle: what remains, and how the command ends."""

import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from checkpoints import INDEX, STATE, digests, is_whole, made, names
from command import INTERRUPTED, MANY_FILES, MANY_LAYERS, TERMINATED, USAGE, CommandTest

ARGUMENTS = ["convert", "src", "dst", "--to", "hf", *MANY_FILES]


class Interruption(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src", *MANY_LAYERS)
        self.destination = self.folder / "dst"

    def begin(self, *arguments: str, **options) -> subprocess.Popen:
        """A conversion that has finished a few files and is far from its end: stopped there."""
        process = self.start(*ARGUMENTS, *arguments, **options)
        deadline = time.monotonic() + 60
        while len(list(self.destination.glob(f"{STATE}/*/files/model-*.safetensors"))) < 3:
            self.assertIsNone(process.poll(), "it ended too early")
            self.assertLess(time.monotonic(), deadline, "it did not begin")
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        self.assertFalse((self.destination / INDEX).exists(), "it was at its end already")
        return process

    def test_signals_end_it_and_it_can_be_resumed(self):
        clean = digests(self.clean())
        for number, code in [
            (signal.SIGINT, INTERRUPTED),
            (signal.SIGTERM, TERMINATED),
            (signal.SIGHUP, 128 + signal.SIGHUP),
        ]:
            with self.subTest(number):
                process = self.begin("--json", stdout=subprocess.PIPE, text=True)
                process.send_signal(number)
                process.send_signal(signal.SIGCONT)
                stdout, _ = process.communicate(timeout=60)
                self.assertEqual(process.returncode, code)
                self.assertIn('"code": "cancelled"', stdout)
                self.assertRegex(stdout, r"[1-9]\d* of \d+ files are finished; --resume goes on")
                self.assertEqual(names(self.destination), {STATE})
                left = names(made(self.destination))
                self.assertFalse([name for name in left if name.endswith(".partial")])
                self.mxferry(*ARGUMENTS, "--no-sync", "--resume")
                self.assertEqual(digests(self.destination), clean)
                shutil.rmtree(self.destination)

    def clean(self) -> Path:
        """What an undisturbed run makes."""
        self.convert("src", "clean", "--to", "hf", *MANY_FILES)
        return self.folder / "clean"

    def test_a_folder_that_was_there_stays(self):
        self.destination.mkdir()
        (self.destination / "notes.txt").write_text("mine")
        process = self.begin("--force", stderr=subprocess.DEVNULL)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(timeout=60), INTERRUPTED)
        self.assertEqual(names(self.destination), {"notes.txt", STATE})

    def test_a_second_run_is_refused_while_one_is_at_work(self):
        process = self.begin("--no-sync", "--quiet")
        for option in ("--resume", "--force"):
            printed = self.mxferry(*ARGUMENTS, option, code=USAGE)
            self.assertIn("another process is converting to this folder", printed.text)
        printed = self.mxferry(*ARGUMENTS, code=USAGE)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertEqual(digests(self.destination), digests(self.clean()))

    def test_an_ignored_signal_stays_ignored(self):
        def ignore():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

        process = self.begin("--no-sync", "--quiet", preexec_fn=ignore)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(timeout=60), 0)

    def test_killed_it_leaves_whole_files_and_no_index(self):
        process = self.begin()
        process.kill()
        process.wait()
        self.assertEqual(names(self.destination), {STATE})
        shards = list(made(self.destination).glob("*.safetensors"))
        self.assertGreaterEqual(len(shards), 3)
        for shard in shards:
            self.assertTrue(is_whole(shard), shard)
        # And the next run makes it good.
        self.mxferry(*ARGUMENTS, "--no-sync", "--force")
        self.convert("src", "clean", "--to", "hf", *MANY_FILES)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_progress_is_plain_lines_without_a_terminal(self):
        process = self.begin("--no-sync", stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(10.1)  # a line is due every ten seconds
        process.send_signal(signal.SIGCONT)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertRegex(stderr, r"^\[#*\.*\] +\d+ % .* of .* GB/s .* left\n")
        self.assertNotIn("\r", stderr)
        self.assertNotIn("\x1b", stderr + stdout)
        self.assertIn("Done in", stdout)

    def test_a_reader_that_went_away_does_not_stop_it(self):
        process = self.begin("--no-sync", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process.stderr.close()
        time.sleep(10.1)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertIn(INDEX, names(self.destination))

    def test_closed_streams_are_not_the_numbers_of_its_files(self):
        def close():
            for stream in (0, 1, 2):
                os.close(stream)

        process = self.begin(preexec_fn=close)
        for stream in (0, 1, 2):
            self.assertEqual(os.readlink(f"/proc/{process.pid}/fd/{stream}"), "/dev/null")


if __name__ == "__main__":
    unittest.main()
