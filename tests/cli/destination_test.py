"""Where `mxferry convert` writes: what is there already, and what happens when writing fails."""

import os
import resource
import subprocess
import unittest
from pathlib import Path

from checkpoints import INDEX, STATE, digests, is_whole, made, names, read
from command import DONE, LIMIT, SYSTEM, USAGE, CommandTest

IS_ROOT = os.geteuid() == 0
NOBODY = 65534


class Occupied(CommandTest):
    def test_what_exists_needs_force(self):
        self.sample("src")
        (self.folder / "dst").mkdir()
        self.convert("src", "dst", "--to", "hf")
        before = digests(self.folder / "dst")
        printed = self.convert("src", "dst", "--to", "nemo", code=USAGE)
        self.assertIn("--force", printed.stderr)
        self.assertEqual(digests(self.folder / "dst"), before)
        plan = self.convert("src", "dst", "--to", "nemo", "--dry-run", "--json").json["plan"]
        self.assertIs(plan["destination_exists"], True)
        self.convert("src", "dst", "--to", "nemo", "--force")
        self.assertNotEqual(digests(self.folder / "dst"), before)

    def test_force_leaves_no_file_of_an_old_checkpoint(self):
        self.sample("src")
        self.convert("src", "clean", "--to", "nemo")
        self.convert("src", "dst", "--to", "hf", "--max-shard-size", "50KB")
        old = self.folder / "dst"
        self.assertGreater(len(names(old)), 10)
        (old / "model-00001-of-00009.safetensors.partial").write_bytes(b"left by a killed process")
        (old / "my notes.txt").write_text("not a weight")
        self.convert("src", "dst", "--to", "nemo", "--force")
        self.assertEqual(names(old), names(self.folder / "clean") | {"my notes.txt"})
        self.assertEqual(read(old), read(self.folder / "clean"))
        # And from one file to many.
        self.convert("src", "dst", "--to", "hf", "--max-shard-size", "200KB", "--force")
        self.assertNotIn("model.safetensors", names(old))
        self.assertIn(INDEX, names(old))

    def test_a_file_is_no_destination(self):
        self.sample("src")
        (self.folder / "file").write_text("mine")
        for destination in ("file", ""):
            self.convert("src", destination, "--to", "hf", "--force", code=USAGE)
        self.convert("src", "file/dst", "--to", "hf", code=SYSTEM)
        self.assertEqual((self.folder / "file").read_text(), "mine")

    def test_the_source_is_never_the_destination(self):
        before = digests(self.sample("src"))
        (self.folder / "link").symlink_to("src")
        for destination in ("src", "./src/", "src/../src", "link", str(self.folder / "src")):
            with self.subTest(destination):
                printed = self.convert("src", destination, "--to", "nemo", "--force", code=USAGE)
                self.assertIn("same folder", printed.text)
        self.assertEqual(digests(self.folder / "src"), before)


class Refused(CommandTest):
    """Whatever fails leaves nothing behind."""

    def test_read_only_folder(self):
        self.sample("src")
        shut = self.folder / "shut"
        shut.mkdir(mode=0o555)
        self.folder.chmod(0o755)
        options = {"user": NOBODY} if IS_ROOT else {}
        try:
            printed = self.convert("src", "shut/dst", "--to", "hf", code=SYSTEM, **options)
        except PermissionError as error:
            self.skipTest(f"another user cannot run the command here: {error}")
        self.assertIn("shut/dst: cannot create the folder: Permission denied", printed.text)
        self.assertEqual(names(shut), set())

    def test_a_file_grows_too_large(self):
        self.sample("src")
        smallest = 100_000  # more than the side files, less than the weights

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (smallest, smallest))

        printed = self.convert("src", "dst", "--to", "hf", code=SYSTEM, preexec_fn=limit)
        self.assertRegex(printed.text, r"model\.safetensors.*: File too large")
        self.assertFalse((self.folder / "dst").exists())


class SmallDisk(CommandTest):
    def mount(self, options: str) -> Path:
        disk = self.folder / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if not IS_ROOT:
            self.skipTest("only root can mount a small disk")
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest(f"no small disk: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        return disk

    def test_refuses_before_it_starts_where_there_is_no_room(self):
        self.sample("src")
        disk = self.mount("size=300k")
        printed = self.convert("src", "disk/dst", "--to", "hf", "--json", code=LIMIT)
        error = printed.json["error"]
        self.assertEqual(error["code"], "not_enough_disk")
        self.assertEqual(names(disk), set())
        plan = self.convert("src", "disk/dst", "--to", "hf", "--dry-run", "--json").json["plan"]
        self.assertGreater(plan["disk_needed"], plan["disk_free"])
        printed = self.convert("src", "disk/dst", "--to", "hf", "--dry-run")
        self.assertIn("NOT ENOUGH", printed.stdout)

    def test_needs_no_more_than_it_says(self):
        self.sample("src")
        arguments = ["--to", "nemo", "--max-shard-size", "100KB"]
        plan = self.convert("src", "dst", *arguments, "--dry-run", "--json").json["plan"]
        self.convert("src", "dst", *arguments)
        used = sum(path.stat().st_size for path in (self.folder / "dst").iterdir())
        # config.json and the index are not weights, and small.
        self.assertLess(abs(used - plan["disk_needed"]), 20_000)

    def test_the_disk_is_full_midway(self):
        self.sample("src")
        # Bytes enough, but not enough files: some shards are written before it fails.
        disk = self.mount("size=10m,nr_inodes=22")
        arguments = ["--to", "hf", "--max-shard-size", "50KB", "--threads", "1"]
        printed = self.convert("src", "disk/dst", *arguments, code=SYSTEM)
        self.assertRegex(printed.text, r"model-\d{5}-of-\d{5}\..*: No space left on device")
        self.assertIn("--resume goes on from there", printed.text)
        self.assertEqual(names(disk / "dst"), {STATE})
        left = names(made(disk / "dst"))
        self.assertFalse([name for name in left if name.endswith(".partial")])
        self.assertTrue([name for name in left if name.endswith(".safetensors")])
        # With room it goes on; without, it can begin anew with something smaller.
        subprocess.run(["mount", "-o", "remount,nr_inodes=0", str(disk)], check=True)
        self.convert("src", "disk/dst", *arguments, "--resume", code=DONE)
        self.convert("src", "clean", *arguments)
        self.assertEqual(digests(disk / "dst"), digests(self.folder / "clean"))
        self.convert("src", "disk/dst", "--to", "hf", "--force", code=DONE)
        self.assertTrue(is_whole(disk / "dst/model.safetensors"))


if __name__ == "__main__":
    unittest.main()
