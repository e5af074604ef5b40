"""Files of the ranks of a PyTorch run, one or many."""

import resource
import unittest

from checkpoints import digests, names, read
from command import SOURCE, USAGE, CommandTest

RANK = "shard-{:05}-model-00001-of-00001.safetensors"


class Ranks(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src")
        self.convert("src", "whole", "--to", "nemo")

    def test_they_are_written_and_joined(self):
        printed = self.convert("src", "epoch_0_step_9/model", "--to", "nemo", "--dcp-shards", "3")
        self.assertIn("3 files", printed.text)
        shown = self.mxferry("inspect", "epoch_0_step_9", "--strict")
        self.assertIn("epoch_0_step_9/model layout: nemo", shown.text)
        self.assertIn("3 file(s), each of one rank, with its chunks of the tensors", shown.text)
        self.assertTrue(self.mxferry("inspect", "epoch_0_step_9", "--json").json["distributed"])
        joined = self.convert("epoch_0_step_9", "back", "--to", "nemo")
        self.assertIn("epoch_0_step_9/model (nemo)", joined.text)
        self.assertEqual(read(self.folder / "back"), read(self.folder / "whole"))
        self.assertEqual(names(self.folder / "back"), names(self.folder / "whole"))
        self.mxferry("verify", "whole", "epoch_0_step_9")

    def test_a_lost_one_is_named(self):
        self.convert("src", "ranks", "--to", "nemo", "--dcp-shards", "4")
        (self.folder / "ranks" / RANK.format(3)).unlink()
        printed = self.convert("ranks", "dst", "--to", "hf", code=SOURCE)
        self.assertIn("lm_head.weight", printed.text)
        self.assertIn("nothing of [128:192, 0:64]", printed.text)
        self.assertIn("there is no shard-00003-*", printed.text)
        self.assertFalse((self.folder / "dst").exists())

    def test_more_of_them_than_a_process_may_open(self):
        printed = self.convert("src", "ranks", "--to", "nemo", "--dcp-shards", "300")
        self.assertIn("256 files", printed.text)  # the longest dimension
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)

        def allow_few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))

        self.convert("ranks", "back", "--to", "nemo", preexec_fn=allow_few)
        self.assertEqual(read(self.folder / "back"), read(self.folder / "whole"))

    def test_they_are_written_in_parts_and_resumed(self):
        options = ["--to", "hf", "--dtype", "mxfp4", "--dcp-shards", "5"]
        self.convert("src", "alone", *options)
        for rank in (1, 2, 0):
            self.convert("src", "dst", *options, "--rank", str(rank), "--world", "3")
        self.mxferry("finish", "dst")
        self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))
        printed = self.convert("src", "dst", *options, "--resume")
        self.assertIn("Nothing was left to do", printed.stdout)
        printed = self.convert("src", "dst", "--to", "hf", "--dcp-shards", "4", code=USAGE)
        # Fewer ranks: no file of the old ones is left to be joined with the new.
        self.convert("src", "dst", "--to", "hf", "--dcp-shards", "4", "--force")
        self.mxferry("verify", "src", "dst")
        self.convert("src", "dst", "--to", "hf", "--force")
        self.assertNotIn(RANK.format(1), names(self.folder / "dst"))
        self.mxferry("verify", "src", "dst")
        self.convert("src", "dst", *options, "--force")
        self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))

    def test_they_have_no_largest_size(self):
        options = ["--to", "nemo", "--dcp-shards", "2", "--max-shard-size", "1MB"]
        self.assertIn("only one of", self.convert("src", "dst", *options, code=USAGE).text)


if __name__ == "__main__":
    unittest.main()
