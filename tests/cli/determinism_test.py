"""Threads, memory and repetition change nothing in what is written."""

import unittest

from checkpoints import digests
from command import LIMIT, CommandTest


class Determinism(CommandTest):
    def test_threads_and_memory_change_no_byte(self):
        self.sample("src", "--experts", "3", "--hidden", "352", "--intermediate", "224", "--wild")
        self.convert("src", "dense", "--to", "nemo")
        for source, options in [
            ("src", ["--to", "nemo", "--max-shard-size", "1MB"]),
            ("src", ["--to", "original", "--dtype", "f32"]),
            ("src", ["--to", "original", "--dtype", "mxfp4"]),
            ("dense", ["--to", "original", "--max-shard-size", "300KiB"]),
        ]:
            with self.subTest(source=source, options=options):
                self.convert(source, "dst", *options, "--force", "--threads", "1")
                expected = digests(self.folder / "dst")
                # 14 MiB is little more than the program itself takes.
                for threads, memory in [
                    ("2", "1GiB"),
                    ("3", "1GiB"),
                    ("4", "1GiB"),
                    ("1", "14MiB"),
                ]:
                    limits = ["--threads", threads, "--max-memory", memory]
                    self.convert(source, "dst", *options, "--force", *limits)
                    self.assertEqual(digests(self.folder / "dst"), expected, limits)

    def test_waiting_for_the_disk_changes_no_byte(self):
        self.sample("src")
        self.convert("src", "fast", "--to", "nemo")
        self.mxferry("convert", "src", "synced", "--to", "nemo")
        self.assertEqual(digests(self.folder / "synced"), digests(self.folder / "fast"))

    def test_too_little_memory_is_refused_with_what_is_needed(self):
        self.sample("src")
        arguments = ["--to", "nemo", "--json", "--threads", "2", "--max-memory"]
        error = self.convert("src", "dst", *arguments, "1MB", code=LIMIT).json["error"]
        self.assertEqual(error["code"], "not_enough_memory")
        self.assertFalse((self.folder / "dst").exists())
        needed = error["expected"].split()[2]
        self.convert("src", "dst", *arguments, needed)


if __name__ == "__main__":
    unittest.main()
