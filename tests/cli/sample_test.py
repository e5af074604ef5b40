"""What `mxferry sample` writes."""

import json
import unittest

from checkpoints import digests, names, read
from command import USAGE, CommandTest


class Sample(CommandTest):
    def test_looks_like_what_was_published(self):
        folder = self.sample("src")
        shards = [name for name in names(folder) if name.endswith(".safetensors")]
        self.assertIn("model-00000-of-00001.safetensors", shards)
        config = json.loads((folder / "config.json").read_text())
        self.assertEqual(config["quantization_config"]["quant_method"], "mxfp4")
        tensors = read(folder)
        blocks = tensors["model.layers.0.mlp.experts.down_proj_blocks"]
        self.assertEqual((blocks.dtype, blocks.shape), ("U8", [4, 64, 3, 16]))
        shown = self.mxferry("inspect", "src", "--json", "--strict").json
        self.assertEqual((shown["layout"], shown["packed"], shown["problems"]), ("hf", True, []))

    def test_sizes_are_those_asked_for(self):
        sizes = {"--layers": 2, "--experts": 3, "--hidden": 32, "--intermediate": 160}
        sizes["--vocab"] = 77
        self.sample("src", *(str(x) for pair in sizes.items() for x in pair))
        config = self.mxferry("inspect", "src", "--json").json["config"]
        keys = ["num_hidden_layers", "num_local_experts", "hidden_size", "intermediate_size"]
        keys.append("vocab_size")
        self.assertEqual([config[key] for key in keys], list(sizes.values()))
        shape = read(self.folder / "src")["model.layers.1.mlp.experts.gate_up_proj_blocks"].shape
        self.assertEqual(shape, [3, 320, 1, 16])

    def test_bytes_depend_on_the_seed_alone(self):
        first = digests(self.sample("first"))
        self.assertEqual(digests(self.sample("again")), first)
        other = digests(self.sample("other", "--seed", "1"))
        changed = {name for name in first if first[name] != other[name]}
        self.assertTrue(changed and all(name.endswith(".safetensors") for name in changed), changed)

    def test_wild_has_every_finite_scale_and_code(self):
        tensors = read(self.sample("src", "--wild"))
        scales, codes = set(), set()
        for name, tensor in tensors.items():
            if name.endswith("_scales"):
                scales |= set(tensor.data)
            if name.endswith("_blocks"):
                codes |= set(tensor.data)
        self.assertEqual(scales, set(range(253)))
        self.assertEqual(codes, set(range(256)))

    def test_impossible_wishes_are_usage_errors(self):
        for options in [
            ["--hidden", "33"],
            ["--layers", "-1"],
            ["--experts", "many"],
            ["--dtype", "f32"],
            ["--preset", "70b"],
            ["--to", "nemo", "--dtype", "mxfp4"],
        ]:
            with self.subTest(options):
                self.mxferry("sample", "src", *options, code=USAGE)
                self.assertFalse((self.folder / "src").exists())
        self.sample("src")
        self.mxferry("sample", "src", code=USAGE)


if __name__ == "__main__":
    unittest.main()
