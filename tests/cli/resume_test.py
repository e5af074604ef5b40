"""--resume: what was finished stays, what was begun with other options is refused."""

import json
import os
import random
import signal
import subprocess
import time
import unittest
from pathlib import Path

from checkpoints import INDEX, digests, made, names
from command import MANY_FILES, NOBODY, SOURCE, USAGE, CommandTest

# How often a run is killed; `make check-deep` asks for more.
KILLS = int(os.environ.get("MXFERRY_KILLS", "12"))

FILES = ["--max-shard-size", "100KB"]


class Killed(CommandTest):
    def test_killed_at_any_moment_and_resumed_it_is_the_same(self):
        sizes = ["--experts", "1", "--hidden", "32", "--intermediate", "64"]
        self.sample("src", "--layers", "25", *sizes)
        options = ["--to", "hf", *MANY_FILES, "--checksum"]
        arguments = ["convert", "src", "dst", *options, "--no-sync", "--quiet"]
        begun = time.monotonic()
        self.convert("src", "clean", *options)
        duration = time.monotonic() - begun
        clean = digests(self.folder / "clean")
        moment = random.Random(6)
        kills = resumed = 0
        while kills < KILLS:
            process = self.start(*arguments, "--resume")
            time.sleep(moment.random() * duration)
            process.send_signal(signal.SIGKILL)
            killed = process.wait() == -signal.SIGKILL
            kills += killed
            if killed and moment.random() < 0.5:
                continue  # and once more, where it was
            if (self.folder / "dst").exists():
                report = self.mxferry(*arguments, "--resume", "--json").json
                resumed += report["resumed_shards"] > 0
                self.assertEqual(digests(self.folder / "dst"), clean)
                subprocess.run(["rm", "-r", self.folder / "dst"], check=True)
        self.assertGreater(resumed, 0)


class Resume(CommandTest):
    OPTIONS = ("--to", "nemo", *FILES)

    def setUp(self):
        super().setUp()
        self.sample("src")
        self.destination = self.folder / "dst"

    def leave_unfinished(self):
        """A destination where one of two parts is done."""
        self.convert("src", "dst", *self.OPTIONS, "--rank", "0", "--world", "2")

    def test_begins_where_there_is_nothing(self):
        self.convert("src", "dst", *self.OPTIONS, "--resume")
        self.convert("src", "clean", *self.OPTIONS)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_does_nothing_where_all_is_done(self):
        self.convert("src", "dst", *self.OPTIONS)
        before = {path: path.stat().st_mtime_ns for path in self.destination.iterdir()}
        report = self.convert("src", "dst", *self.OPTIONS, "--resume", "--json").json
        self.assertIs(report["was_complete"], True)
        after = {path: path.stat().st_mtime_ns for path in self.destination.iterdir()}
        self.assertEqual(after, before)

    def test_another_checkpoint_is_not_touched(self):
        self.convert("src", "dst", "--to", "hf")
        before = digests(self.destination)
        self.convert("src", "dst", *self.OPTIONS, "--resume", code=USAGE)
        self.assertEqual(digests(self.destination), before)

    def test_other_options_are_refused_with_the_reason(self):
        self.leave_unfinished()
        for options, reason in [
            (["--dtype", "f16"], "--dtype was null and is 'f16'"),
            (["--attn", "te"], "--attn was 'flex' and is 'te'"),
            (["--exclude", "lm_head"], "--exclude was '' and is 'lm_head'"),
        ]:
            printed = self.convert("src", "dst", *self.OPTIONS, *options, "--resume", code=USAGE)
            self.assertIn(reason, printed.text)

    def test_a_source_that_changed_is_refused_with_the_reason(self):
        self.leave_unfinished()
        shard = sorted((self.folder / "src").glob("*.safetensors"))[0]
        os.utime(shard, ns=(1, 1))
        printed = self.convert("src", "dst", *self.OPTIONS, "--resume", code=USAGE)
        self.assertIn(f"{shard.name} of the source has changed (its time of", printed.text)
        config = self.folder / "src/config.json"
        self.leave_source_as_it_was(shard)
        config.write_text(config.read_text().replace("{", "{ ", 1))
        printed = self.convert("src", "dst", *self.OPTIONS, "--resume", code=USAGE)
        self.assertIn("of the source has changed", printed.text)
        # Anew is always possible.
        self.convert("src", "dst", *self.OPTIONS, "--force")
        self.assertIn(INDEX, names(self.destination))

    def leave_source_as_it_was(self, shard):
        """Except that its time is another, which the next conversion begins with."""
        self.convert("src", "dst", *self.OPTIONS, "--force", "--rank", "0", "--world", "2")

    def test_a_damaged_journal_is_no_way_to_hurt(self):
        self.leave_unfinished()
        work = made(self.destination).parent
        texts = {name: (work / name).read_text() for name in ("record", "part-00001-of-00002")}
        place = ["--rank", "0", "--world", "2", "--resume"]
        for name, text in texts.items():
            for damaged in (
                "",
                "nonsense\n",
                "[1]\n",
                '{"begun": 1, "shard": 2, "side_files": 3}\n',
                '{"version": 3}\n',
                text.replace('"options":{', '"options":{"--to":[1],', 1),
                text.replace('"files":{', '"files":[],"x":{', 1),
                text[:40],
                text.replace("model-00001", "../escaped-1"),
            ):
                with self.subTest(f"{name}: {damaged[:30]}"):
                    (work / name).write_text(damaged)
                    try:
                        self.convert("src", "dst", *self.OPTIONS, *place)
                    except self.failureException:
                        self.convert("src", "dst", *self.OPTIONS, *place, code=USAGE)
                    self.assertFalse(list(self.folder.rglob("escaped*")))
            (work / name).write_text(text)
        # Whatever was believed of that, the result is the right one.
        self.convert("src", "dst", *self.OPTIONS, "--rank", "1", "--world", "2")
        self.convert("src", "dst", *self.OPTIONS, *place)
        self.mxferry("finish", "dst")
        self.convert("src", "clean", *self.OPTIONS)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))


class Proven(CommandTest):
    """--resume on something finished proves that it is this conversion's, or refuses."""

    def setUp(self):
        super().setUp()
        self.sample("src")
        self.destination = self.folder / "dst"

    def test_a_finished_checkpoint_of_another_source_is_no_result(self):
        self.sample("other", "--seed", "7")
        self.convert("src", "dst", "--to", "nemo", *FILES)
        before = digests(self.destination)
        for options in (["--resume"], ["--resume", "--verify"]):
            arguments = ["convert", "other", "dst", "--to", "nemo", *FILES, *options]
            error = self.error(*arguments)
            self.assertEqual(error["code"], "destination_exists")
            self.assertIn("not what this conversion makes", error["message"])
        self.assertEqual(digests(self.destination), before)

    def test_every_file_is_compared(self):
        self.convert("src", "clean", "--to", "nemo", *FILES)
        for name in sorted(names(self.folder / "clean")):
            with self.subTest(name):
                self.convert("src", "dst", "--to", "nemo", *FILES, "--force")
                path = self.destination / name
                content = bytearray(path.read_bytes())
                content[-1] ^= 1
                path.write_bytes(content)
                self.convert("src", "dst", "--to", "nemo", *FILES, "--resume", code=USAGE)
                path.unlink()
                self.convert("src", "dst", "--to", "nemo", *FILES, "--resume", code=USAGE)
        self.convert("src", "dst", "--to", "nemo", *FILES, "--force")
        (self.destination / "model-00099-of-00099.safetensors").write_bytes(b"another")
        self.convert("src", "dst", "--to", "nemo", *FILES, "--resume", code=USAGE)

    def test_what_is_given_with_it_is_done(self):
        self.convert("src", "dst", "--to", "hf", "--dtype", "f16", *FILES)
        arguments = ["convert", "src", "dst", "--to", "hf", "--dtype", "f16", *FILES]
        arguments += ["--resume", "--verify", "--checksum"]
        report = self.mxferry(*arguments, "--json").json
        self.assertIs(report["was_complete"], True)
        self.assertIs(report["verified"], True)
        self.assertIsNotNone(report["loss"])
        self.mxferry("verify", "--manifest", "dst")
        # A manifest that is wrong is made anew.
        (self.destination / "SHA256SUMS").write_text("0" * 64 + "  config.json\n")
        self.mxferry(*arguments)
        self.mxferry("verify", "--manifest", "dst")

    def test_a_manifest_that_is_wrong_is_no_result(self):
        self.convert("src", "dst", "--to", "nemo", "--checksum")
        self.convert("src", "dst", "--to", "nemo", "--resume")
        manifest = self.destination / "SHA256SUMS"
        manifest.write_text("0" * 64 + "  config.json\n")
        error = self.error("convert", "src", "dst", "--to", "nemo", "--resume")
        self.assertEqual(error["code"], "destination_exists")
        self.assertIn("by SHA256SUMS config.json differs", error["found"])

    def test_parts_prove_their_shares(self):
        options = ["--to", "nemo", *FILES]
        places = [["--rank", str(rank), "--world", "3"] for rank in range(3)]
        for place in places:
            self.convert("src", "dst", *options, *place, "--resume")
        self.mxferry("finish", "dst")
        before = digests(self.destination)
        for place in places:
            report = self.convert("src", "dst", *options, *place, "--resume", "--json").json
            self.assertIs(report["was_complete"], True)
        self.sample("other", "--seed", "7")
        for place in places:
            self.convert("other", "dst", *options, *place, "--resume", code=USAGE)
        self.assertEqual(digests(self.destination), before)

    def test_what_was_not_synced_is_synced_before_it_counts(self):
        options = ["--to", "nemo", *FILES]
        place = ["--rank", "0", "--world", "2"]
        self.convert("src", "dst", *options, *place)  # with --no-sync
        (journal,) = made(self.destination).parent.glob("part-*")
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        shards = [line for line in lines if "shard" in line or "shared" in line]
        self.assertTrue(shards)
        self.assertFalse([line for line in lines if line.get("synced")])
        self.mxferry("convert", "src", "dst", *options, *place, "--resume")
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        synced = {line.get("shard", line.get("shared")) for line in lines if line.get("synced")}
        self.assertLessEqual({line.get("shard", line.get("shared")) for line in shards}, synced)
        # What was given to a system that has gone is not counted on.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        unsynced = [
            line for line in journal.read_text().splitlines() if '"synced":true' not in line
        ]
        journal.write_text("\n".join(unsynced).replace(boot, "another") + "\n")
        report = self.convert("src", "dst", *options, *place, "--resume", "--json").json
        self.assertEqual(report["resumed_shards"], 0)

    def test_finish_counts_on_nothing_that_this_machine_has_lost(self):
        options = ["--to", "nemo", *FILES]
        for rank in range(2):
            self.convert("src", "dst", *options, "--rank", str(rank), "--world", "2")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        journals = {path: path.read_text() for path in made(self.destination).parent.glob("part-*")}
        for path, text in journals.items():
            path.write_text(text.replace(boot, "another"))
        self.assertEqual(self.error("finish", "dst", code=SOURCE)["code"], "unfinished_conversion")
        # What another machine has written is for that machine to say.
        for path, text in journals.items():
            host = Path("/proc/sys/kernel/hostname").read_text().strip()
            path.write_text(text.replace(f"{host}/{boot}", "elsewhere/another"))
        self.mxferry("finish", "dst")

    def test_a_folder_that_cannot_be_written_to_is_compared_all_the_same(self):
        self.convert("src", "dst", "--to", "nemo", *FILES)
        options = {"user": NOBODY} if os.geteuid() == 0 else {}
        self.folder.chmod(0o755)
        self.destination.chmod(0o555)
        self.addCleanup(self.destination.chmod, 0o755)
        arguments = ["src", "dst", "--to", "nemo", *FILES, "--resume", "--json"]
        try:
            report = self.convert(*arguments, **options).json
        except PermissionError as error:
            self.skipTest(f"another user cannot run the command here: {error}")
        self.assertIs(report["was_complete"], True)


if __name__ == "__main__":
    unittest.main()
