"""One conversion in parts: --rank, --world and `mxferry finish`."""

import random
import unittest

from checkpoints import INDEX, STATE, digests, made, names
from command import DONE, SOURCE, USAGE, CommandTest

# Several files with several parts in one of them, and files that are one part's alone.
SIZES = ["--layers", "3", "--experts", "5", "--hidden", "96", "--intermediate", "160"]
FILES = ["--max-shard-size", "300KB"]


class Parts(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src", *SIZES)

    def part(self, rank: int, world: int, *options: str, target: str = "dst", **more):
        place = ["--rank", str(rank), "--world", str(world)]
        return self.convert("src", target, *place, *options, **more)

    def test_any_number_in_any_order_makes_what_one_process_makes(self):
        for options in (["--to", "nemo", *FILES], ["--to", "original"]):
            self.convert("src", "alone", *options, "--force")
            for world in (2, 3, 4, 50):
                with self.subTest(options=options, world=world):
                    target = f"dst-{options[1]}-{world}"
                    ranks = list(range(world))
                    random.Random(world).shuffle(ranks)
                    for rank in ranks:
                        printed = self.part(rank, world, *options, "--verify", target=target)
                        self.assertIn(f"mxferry finish {target}", printed.stdout)
                        self.assertNotIn(INDEX, names(self.folder / target))
                    self.mxferry("finish", target)
                    self.assertEqual(digests(self.folder / target), digests(self.folder / "alone"))

    def test_quantizing_too(self):
        self.convert("src", "dense", "--to", "nemo")
        options = ["--to", "hf", "--dtype", "mxfp4", "--reference", "src", *FILES]
        self.convert("dense", "alone", *options)
        for rank in range(4):
            place = ["--rank", str(rank), "--world", "4"]
            self.convert("dense", "dst", *options, *place)
        self.mxferry("finish", "dst")
        self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))

    def test_the_plan_tells_the_part(self):
        bytes_out = 0
        for rank in range(3):
            plan = self.part(rank, 3, "--to", "nemo", "--dry-run", "--json").json["plan"]
            self.assertEqual((plan["part"]["rank"], plan["part"]["world"]), (rank, 3))
            bytes_out += plan["part"]["bytes_out"]
        self.assertEqual(bytes_out, plan["bytes_out"])
        printed = self.part(1, 3, "--to", "nemo", "--dry-run")
        self.assertIn("rank 1 of 3", printed.stdout)

    def test_finish_needs_every_part(self):
        options = ["--to", "nemo", *FILES]
        self.mxferry("finish", "dst", code=SOURCE)
        for rank in (2, 0):
            self.part(rank, 4, *options)
        error = self.mxferry("finish", "dst", "--json", code=SOURCE).json["error"]
        self.assertEqual(error["code"], "unfinished_conversion")
        self.assertIn("open: rank 1, 3", error["message"])
        # Nor is it a checkpoint for anybody else.
        printed = self.mxferry("inspect", "dst", code=SOURCE)
        self.assertIn("a conversion to this folder is not finished", printed.text)
        printed = self.convert("dst", "copy", "--to", "hf", code=SOURCE)
        self.assertIn("a conversion to this folder is not finished", printed.text)
        for rank in (1, 3):
            self.part(rank, 4, *options)
        self.assertEqual(self.mxferry("finish", "dst", "--json").json["parts"], 4)
        before = digests(self.folder / "dst")
        self.assertEqual(self.mxferry("finish", "dst", "--json").json["parts"], 0)
        self.assertEqual(digests(self.folder / "dst"), before)
        self.mxferry("inspect", "dst")

    def test_finish_sees_a_file_that_is_cut(self):
        for rank in range(2):
            self.part(rank, 2, "--to", "nemo", *FILES)
        shard = sorted(made(self.folder / "dst").glob("*.safetensors"))[0]
        whole = shard.read_bytes()
        shard.write_bytes(whole[:-1])
        printed = self.mxferry("finish", "dst", code=SOURCE)
        self.assertIn(shard.name, printed.text)
        self.assertNotIn(INDEX, names(self.folder / "dst"))
        shard.write_bytes(whole)
        self.mxferry("finish", "dst")

    def test_parts_of_different_conversions_do_not_mix(self):
        self.part(0, 2, "--to", "nemo", *FILES)
        printed = self.part(1, 2, "--to", "nemo", "--dtype", "f32", *FILES, code=USAGE)
        self.assertIn("--dtype was null and is 'f32'", printed.text)
        printed = self.part(1, 3, "--to", "nemo", *FILES, code=USAGE)
        self.assertIn("an unfinished conversion is there", printed.text)
        self.convert("src", "dst", "--to", "nemo", *FILES, code=USAGE)
        self.part(1, 2, "--to", "nemo", *FILES)
        self.mxferry("finish", "dst")

    def test_a_part_again_needs_resume(self):
        options = ["--to", "nemo", *FILES]
        self.part(0, 2, *options)
        printed = self.part(0, 2, *options, code=USAGE)
        self.assertIn("--resume", printed.text)
        report = self.part(0, 2, *options, "--resume", "--json").json
        self.assertGreater(report["resumed_shards"], 0)

    def test_another_number_of_parts_goes_on(self):
        options = ["--to", "nemo", *FILES]
        self.convert("src", "alone", *options)
        self.part(0, 2, *options)
        # One process does what is missing.
        report = self.convert("src", "dst", *options, "--resume", "--json").json
        self.assertGreater(report["resumed_shards"], 0)
        self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))

    def test_force_replaces_an_old_checkpoint_part_by_part(self):
        self.convert("src", "dst", "--to", "hf", "--max-shard-size", "50KB")
        old = digests(self.folder / "dst")
        options = ["--to", "nemo", *FILES]
        self.part(1, 2, *options, code=USAGE)
        for rank in (1, 0):
            self.part(rank, 2, *options, "--force")
            self.assertEqual(digests(self.folder / "dst"), old | {STATE: "a folder"})
        self.mxferry("finish", "dst")
        self.convert("src", "alone", *options)
        self.assertEqual(digests(self.folder / "dst"), digests(self.folder / "alone"))

    def test_what_is_no_part(self):
        self.part(2, 2, "--to", "nemo", code=USAGE)
        self.convert("src", "dst", "--to", "nemo", "--rank", "0", code=USAGE)
        self.convert("src", "dst", "--to", "nemo", "--world", "2", code=USAGE)
        self.part(0, 0, "--to", "nemo", code=USAGE)
        self.part(0, 1, "--to", "nemo", code=DONE)


if __name__ == "__main__":
    unittest.main()
