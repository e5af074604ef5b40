"""convert --checksum and verify --manifest, with sha256sum as the peer."""

import os
import subprocess
import unittest
from pathlib import Path

from checkpoints import digests, made, names
from command import MANY_FILES, SOURCE, USAGE, CommandTest

DIFFERS = 1
MANIFEST = "SHA256SUMS"


class Manifest(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src")

    def test_sha256sum_finds_every_file_as_it_is(self):
        odd = "odd \\ name\r\nof two lines"
        (self.folder / "src" / odd).write_text("carried along")
        Path(os.fsdecode(os.fsencode(self.folder) + b"/src/no \xff UTF-8")).write_text("too")
        self.convert("src", "dst", "--to", "hf", "--checksum", "--max-shard-size", "100KB")
        checked = subprocess.run(
            ["sha256sum", "--check", "--strict", MANIFEST],
            cwd=self.folder / "dst",
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=True,
        )
        found = names(self.folder / "dst") - {MANIFEST}
        self.assertIn(odd, found)
        self.assertEqual(len(checked.stdout.splitlines()), len(found))
        printed = self.mxferry("verify", "--manifest", "dst")
        self.assertIn(f"All {len(found)} files are intact", printed.stdout)

    def test_what_sha256sum_writes_is_taken(self):
        subprocess.run(
            f"sha256sum --binary * > {MANIFEST}", cwd=self.folder / "src", shell=True, check=True
        )
        report = self.mxferry("verify", "--manifest", "src", "--json").json
        self.assertIs(report["intact"], True)
        self.assertEqual(report["unlisted"], [])

    def test_damage_is_told_by_file(self):
        self.convert("src", "dst", "--to", "nemo", "--checksum")
        weights = self.folder / "dst/model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        (self.folder / "dst/config.json").unlink()
        (self.folder / "dst/added.bin").write_bytes(b"")
        printed = self.mxferry("verify", "--manifest", "dst", code=DIFFERS).stdout
        self.assertIn("DAMAGED", printed)
        self.assertIn("model.safetensors: differs", printed)
        self.assertIn("config.json: is missing", printed)
        self.assertIn("added.bin", printed)
        report = self.mxferry("verify", "--manifest", "dst", "--json", code=DIFFERS).json
        self.assertEqual(
            [d["file"] for d in report["damaged"]], ["config.json", "model.safetensors"]
        )
        self.assertIsNone(report["damaged"][0]["found"])
        self.assertEqual(report["unlisted"], ["added.bin"])

    def test_stopped_parts_and_resumed_it_is_the_same(self):
        options = ["--to", "hf", *MANY_FILES, "--checksum"]
        self.convert("src", "alone", *options)
        self.convert("src", "dst", *options, "--rank", "1", "--world", "3")
        self.convert("src", "dst", *options, "--resume")
        self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))

    def test_a_file_that_has_gone_since_is_not_waited_for(self):
        options = ["--to", "hf", "--checksum", "--max-shard-size", "100KB"]
        self.convert("src", "dst", *options, "--rank", "0", "--world", "2")
        (self.folder / "src/README.md").unlink()
        (made(self.folder / "dst") / "README.md").unlink()
        for rank in ("0", "1"):
            self.convert("src", "dst", *options, "--rank", rank, "--world", "2", "--resume")
        self.mxferry("finish", "dst")
        self.assertIn("intact", self.mxferry("verify", "--manifest", "dst").stdout)

    def test_a_manifest_of_what_was_there_goes_at_the_latest_in_the_end(self):
        options = ["--to", "hf", "--max-shard-size", "100KB", "--force"]
        for rank in ("0", "1"):
            self.convert("src", "dst", *options, "--rank", rank, "--world", "2")
            (self.folder / "dst" / MANIFEST).write_text("stale")
        self.mxferry("finish", "dst")
        self.assertNotIn(MANIFEST, names(self.folder / "dst"))

    def test_with_and_without_are_two_conversions(self):
        self.convert("src", "dst", "--to", "hf", "--rank", "0", "--world", "2")
        printed = self.convert("src", "dst", "--to", "hf", "--checksum", "--resume", code=USAGE)
        self.assertIn("--checksum was false and is true", printed.text)

    def test_a_download_is_checked_by_the_names_of_its_blobs(self):
        hub = self.folder / ".cache/huggingface/hub/models--openai--gpt-oss-20b"
        snapshot = hub / "snapshots/0123456789"
        snapshot.mkdir(parents=True)
        (hub / "blobs").mkdir()
        (hub / "refs").mkdir()
        (hub / "refs/main").write_text("0123456789")
        for name, digest in digests(self.folder / "src").items():
            (hub / "blobs" / digest).write_bytes((self.folder / "src" / name).read_bytes())
            (snapshot / name).symlink_to(f"../../blobs/{digest}")
        source = ["verify", "--manifest", "openai/gpt-oss-20b"]
        self.assertIn("intact", self.mxferry(*source).stdout)
        (snapshot / "config.json").write_text("changed through the link")
        self.assertIn("config.json: differs", self.mxferry(*source, code=DIFFERS).stdout)

    def test_strangers_names_do_no_harm(self):
        folder = self.folder / "hostile"
        folder.mkdir()
        os.mkfifo(folder / "pipe")
        zeros = "0" * 64
        (folder / MANIFEST).write_text(f"{zeros}  pipe\n{zeros}  \x1b[31mred\n")
        printed = self.mxferry("verify", "--manifest", "hostile", code=DIFFERS).stdout
        self.assertIn("pipe: not a regular file", printed)
        self.assertIn("\\x1b[31mred: is missing", printed)
        for line in (f"{zeros}  ../src/config.json", f"{zeros}  /etc/passwd", "\x1b[31m"):
            (folder / MANIFEST).write_text(line)
            refused = self.mxferry("verify", "--manifest", "hostile", code=SOURCE)
            self.assertIn("line 1 of the manifest", refused.text)
            self.assertNotIn("\x1b", refused.stderr)

    def test_usage(self):
        self.assertIn("no manifest", self.mxferry("verify", "--manifest", "src", code=SOURCE).text)
        memory = ["--manifest", "src", "--max-memory", "1GB"]
        for arguments in ([], ["src"], ["src", "src", "--manifest", "src"], memory):
            self.mxferry("verify", *arguments, code=USAGE)


if __name__ == "__main__":
    unittest.main()
