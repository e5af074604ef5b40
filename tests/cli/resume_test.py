"""--resume: what was finished stays, what was begun with other options is refused."""

import os
import random
import signal
import subprocess
import time
import unittest

from checkpoints import INDEX, digests, made, names
from command import MANY_FILES, USAGE, CommandTest

# How often a run is killed; `make check-deep` asks for more.
KILLS = int(os.environ.get("MXFERRY_KILLS", "12"))


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
    OPTIONS = ("--to", "nemo", "--max-shard-size", "100KB")

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


if __name__ == "__main__":
    unittest.main()
