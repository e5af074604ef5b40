"""`mxferry convert --dtype mxfp4` from dense weights: modes, references, proof, refusals."""

import json
import shutil
import struct
import unittest

from checkpoints import Tensor, read, read_header, replace_weights
from command import SOURCE, USAGE, CommandTest

DENSE = [("hf", "bf16"), ("nemo", "bf16"), ("original", "bf16")]
GATE_UP = "model.layers.1.mlp.experts.gate_up_proj"
# [experts, in, out] of the tiny sample's gate_up_proj.
EXPERTS, HIDDEN, ROWS = 4, 64, 192


def bf16(value: float) -> bytes:
    return struct.pack("<f", value)[2:]


class Quantize(CommandTest):
    def test_untouched_weights_return_byte_for_byte_with_a_reference(self):
        for layout, dtype in DENSE:
            for target in ("hf", "original"):
                with self.subTest(f"{layout} to {target}"):
                    self.sample(f"{layout}-{dtype}", "--to", layout, "--dtype", dtype, "--wild")
                    packed = self.sample(
                        f"packed-{target}", "--to", target, "--wild", "--seed", "0"
                    )
                    result = self.convert(
                        f"{layout}-{dtype}",
                        f"{layout}-{target}",
                        *["--to", target, "--dtype", "mxfp4", "--reference", f"packed-{target}"],
                        *["--json", "--verify"],
                    ).json
                    self.assertEqual(read(self.folder / f"{layout}-{target}"), read(packed))
                    self.assertTrue(result["verified"])
                    self.assertEqual(len(result["quantized"]), 6)
                    for tensor in result["quantized"]:
                        self.assertEqual(tensor["kept"], tensor["blocks"])
                        self.assertGreater(tensor["blocks"], 0)
                for made in (f"packed-{target}", f"{layout}-{target}", f"{layout}-{dtype}"):
                    self.remove(made)

    def remove(self, name: str):
        for path in (self.folder / name).iterdir():
            path.unlink()
        (self.folder / name).rmdir()

    def test_values_return_without_a_reference_in_every_mode(self):
        self.sample("packed", "--wild")
        self.convert("packed", "dense", "--to", "nemo", "--dtype", "f32")
        for mode in ("gptoss", "ocp", "even", "best"):
            options = ["--to", "hf", "--dtype", "mxfp4", "--dense-dtype", "bf16"]
            self.convert("dense", mode, *options, "--quant-mode", mode)
            result = self.mxferry("verify", "packed", mode, "--json").json
            self.assertTrue(result["identical"], mode)
            self.assertEqual(result["total"]["blocks_saturated"], 0)

    def test_config_says_that_the_experts_are_packed(self):
        source = self.sample("packed")
        self.convert("packed", "dense", "--to", "hf")
        self.convert("dense", "again", "--to", "hf", "--dtype", "mxfp4")
        config = json.loads((source / "config.json").read_text())
        again = json.loads((self.folder / "again" / "config.json").read_text())
        self.assertEqual(again, config)
        self.assertEqual(again["quantization_config"]["quant_method"], "mxfp4")

    def test_the_loss_is_in_the_summary_and_the_exit_code_is_0(self):
        self.dense_with({})
        changed = {i: bf16(0.011 + i / 9000) for i in range(0, 2 * EXPERTS * HIDDEN * ROWS, 2)}
        self.dense_with(changed, "finetuned")
        result = self.convert(
            "finetuned", "q", "--to", "hf", "--dtype", "mxfp4", "--verify", "--reference", "packed"
        )
        self.assertIn("verified: every byte was read back", result.text)
        self.assertIn("lost:", result.text)
        self.assertIn("SQNR", result.text)
        shown = self.mxferry("verify", "finetuned", "q", "--json", code=1).json
        self.assertRegex(
            shown["verdict"], r"^B is A quantized: [\d.]+ dB, 0 of 6,912 blocks saturated$"
        )
        self.assertFalse(shown["identical"])
        differing = [p for p in shown["parameters"] if not p["values_identical"]]
        self.assertEqual([p["b"] for p in differing], [f"{GATE_UP}_blocks"])
        self.assertEqual(len(differing[0]["experts"]), EXPERTS)
        # The other five kept their blocks.
        untouched = self.mxferry("verify", "packed", "q", "--json", code=1).json
        self.assertEqual(
            sum(p["bytes_identical"] for p in untouched["parameters"]),
            len(untouched["parameters"]) - 1,
        )

    def dense_with(self, changes: dict[int, bytes], name: str = "dense"):
        """The dense sample, with other bytes at offsets of layer 1's gate_up_proj."""
        if not (self.folder / "packed").exists():
            self.sample("packed")
        self.convert("packed", name, "--to", "hf")
        tensors = read(self.folder / name)
        old = tensors[GATE_UP]
        data = bytearray(old.data)
        for offset, value in changes.items():
            if offset + len(value) <= len(data):
                data[offset : offset + len(value)] = value
        tensors[GATE_UP] = Tensor(old.dtype, old.shape, bytes(data))
        replace_weights(self.folder / name, tensors)

    def test_weights_that_are_not_finite_are_refused_by_their_place(self):
        # Expert 2, input 33, output row 7 of [experts, in, out].
        offset = 2 * ((2 * HIDDEN + 33) * ROWS + 7)
        for value, text in (("nan", "NaN"), ("inf", "infinite")):
            self.dense_with({offset: bf16(float(value))}, f"dense-{value}")
            options = ["--to", "hf", "--dtype", "mxfp4"]
            result = self.convert(f"dense-{value}", "out", *options, code=SOURCE)
            self.assertIn(text, result.text)
            self.assertIn(f"tensor '{GATE_UP}'", result.text)
            self.assertIn("expert 2, row 7, column 33", result.text)
            self.assertFalse((self.folder / "out").exists())
        self.convert("dense-nan", "out", *options, "--allow-nonfinite", code=SOURCE)
        self.convert("dense-inf", "out", *options, "--allow-nonfinite")
        scales = read(self.folder / "out")[f"{GATE_UP}_scales"]
        self.assertEqual(scales.data[(2 * ROWS + 7) * 2 + 1], 252)

    def test_blocks_and_scales_may_be_in_different_shards(self):
        self.sample("packed")
        self.convert("packed", "dense", "--to", "nemo")
        options = ["--to", "hf", "--dtype", "mxfp4", "--threads", "3"]
        self.convert("dense", "one", *options)
        self.convert("dense", "many", *options, "--max-shard-size", "1")
        self.assertEqual(read(self.folder / "one"), read(self.folder / "many"))
        names = [n for p in (self.folder / "many").glob("*.safetensors") for n in read_header(p)[0]]
        self.assertEqual(len(names), len(set(names) - {"__metadata__"}) * 2)

    def test_a_reference_must_be_of_the_same_model(self):
        self.sample("packed")
        self.convert("packed", "dense", "--to", "hf")
        self.sample("other", "--intermediate", "128")
        options = ["--to", "hf", "--dtype", "mxfp4", "--reference"]
        self.assertIn(
            "of another model", self.convert("dense", "q", *options, "other", code=SOURCE).text
        )
        self.assertIn(
            "no MXFP4 weights", self.convert("dense", "q", *options, "dense", code=SOURCE).text
        )
        self.convert("packed", "q", "--to", "hf", "--reference", "packed", code=USAGE)

    def test_a_mode_is_refused_where_nothing_is_quantized(self):
        self.sample("packed")
        self.convert("packed", "q", "--to", "hf", "--quant-mode", "best", code=USAGE)

    def test_a_part_can_be_quantized_and_proved(self):
        self.sample("packed")
        self.convert("packed", "dense", "--to", "hf")
        options = ["--to", "hf", "--dtype", "mxfp4", "--verify"]
        self.convert("dense", "part", *options, "--exclude", r"model\.layers\.[02]")


class Pruned(CommandTest):
    def test_a_reference_with_more_experts_gives_the_kept_ones_their_bytes(self):
        self.sample("packed", "--experts", "6")
        self.convert("packed", "dense", "--to", "hf")
        # By layer: which experts are kept, in which order.
        kept = [[4, 1, 5], [0, 2, 3], [5, 4, 2]]

        def prune(tensors):
            pruned = {}
            for name, tensor in tensors.items():
                if ".mlp." not in name:
                    pruned[name] = tensor
                    continue
                layer = int(name.split(".")[2])
                size = len(tensor.data) // 6
                parts = [tensor.data[e * size : (e + 1) * size] for e in kept[layer]]
                pruned[name] = Tensor(tensor.dtype, [3, *tensor.shape[1:]], b"".join(parts))
            return pruned

        shutil.copytree(self.folder / "dense", self.folder / "pruned")
        replace_weights(self.folder / "pruned", prune(read(self.folder / "dense")))
        config = json.loads((self.folder / "pruned/config.json").read_text())
        config["num_local_experts"] = 3
        (self.folder / "pruned/config.json").write_text(json.dumps(config))
        options = ["--to", "hf", "--dtype", "mxfp4", "--reference", "packed", "--verify"]
        printed = self.convert("pruned", "served", *options)
        self.assertIn("9 of the 9 experts of all layers are found", printed.text)
        self.assertEqual(read(self.folder / "served"), prune(read(self.folder / "packed")))


class Orientation(CommandTest):
    """down_proj is square in the real models, and nothing but its sibling or its weights tells how it lies."""

    SIZES = ["--hidden", "96", "--intermediate", "96", "--layers", "2"]
    DOWN = "model.layers.0.mlp.experts.down_proj"

    def dense(self, name: str, change) -> None:
        self.sample("packed", *self.SIZES)
        self.convert("packed", name, "--to", "hf")
        tensors = read(self.folder / name)
        change(tensors)
        replace_weights(self.folder / name, tensors)

    @staticmethod
    def transposed(tensor: Tensor) -> Tensor:
        experts, rows, columns = tensor.shape
        assert rows == columns
        values = [tensor.data[i : i + 2] for i in range(0, len(tensor.data), 2)]
        square = rows * columns
        turned = [
            values[e * square + c * columns + r]
            for e in range(experts)
            for r in range(rows)
            for c in range(columns)
        ]
        return Tensor(tensor.dtype, tensor.shape, b"".join(turned))

    def turn(self, tensors: dict):
        tensors[self.DOWN] = self.transposed(tensors[self.DOWN])

    def test_a_silent_transpose_is_a_loud_warning_and_named_by_verify(self):
        self.dense("turned", self.turn)
        shown = self.mxferry("inspect", "turned").text
        self.assertIn("PROBABLY TRANSPOSED", shown)
        self.assertIn(self.DOWN, shown)
        compared = self.mxferry("verify", "packed", "turned", code=1).text
        self.assertIn("TRANSPOSED: 1 matrices", compared)
        quantized = ["--to", "hf", "--dtype", "mxfp4"]
        self.convert("turned", "q", *quantized)
        self.assertIn("TRANSPOSED", self.mxferry("verify", "packed", "q", code=1).text)

    def test_the_weights_tell_where_the_sibling_is_packed(self):
        def half_packed(tensors):
            packed = read(self.folder / "packed")
            for layer in range(2):
                name = f"model.layers.{layer}.mlp.experts.gate_up_proj"
                del tensors[name]
                for ending in ("_blocks", "_scales"):
                    tensors[name + ending] = packed[name + ending]
            self.turn(tensors)

        self.dense("half", half_packed)
        self.convert("half", "nemo", "--to", "nemo")
        self.convert("packed", "expected", "--to", "nemo")
        self.assertEqual(read(self.folder / "nemo"), read(self.folder / "expected"))

    def train(self, name: str, into: str, change=None):
        """A copy of a dense folder whose experts no longer are MXFP4's values."""
        shutil.copytree(self.folder / name, self.folder / into)
        tensors = read(self.folder / into)
        for weights in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
            old = tensors[weights]
            # The last bit of BF16 of every second weight: 0.4 percent.
            data = bytes(b ^ 1 if i % 4 == 0 else b for i, b in enumerate(old.data))
            tensors[weights] = Tensor(old.dtype, old.shape, data)
        if change:
            change(tensors)
        replace_weights(self.folder / into, tensors)

    def test_a_reference_reveals_what_no_shape_does(self):
        def halves(tensors):
            for layer in range(2):
                name = f"model.layers.{layer}.mlp.experts.gate_up_proj"
                old = tensors[name]  # [expert, in, out], its columns gate and up in turn
                columns = old.shape[2]
                pairs = [old.data[i : i + 2] for i in range(0, len(old.data), 2)]
                lines = [pairs[i : i + columns] for i in range(0, len(pairs), columns)]
                data = b"".join(b"".join(line[::2] + line[1::2]) for line in lines)
                tensors[name] = Tensor(old.dtype, old.shape, data)

        self.dense("plain", lambda tensors: None)
        quantized = ["--to", "hf", "--dtype", "mxfp4", "--reference", "packed"]
        for kind, change in (("TRANSPOSED", self.turn), ("HALVES", halves), ("", None)):
            with self.subTest(kind):
                self.train("plain", f"trained{kind}", change)
                printed = self.convert(f"trained{kind}", f"q{kind}", *quantized)
                compared = self.mxferry("verify", "packed", f"trained{kind}", code=1).text
                for text in (printed.text, compared):
                    self.assertIn(kind, text)
                strict = SOURCE if kind else 0
                self.convert(f"trained{kind}", f"s{kind}", *quantized, "--strict", code=strict)
        self.assertNotIn("PROBABLY", printed.text)

    def test_the_user_overrules(self):
        self.dense("turned", self.turn)
        options = ["--to", "original", "--exclude", "block.1"]
        self.convert("turned", "out_in", *options, "--orientation", "out_in")
        self.convert("packed", "dense", "--to", "hf")
        self.convert("dense", "in_out", *options)
        name = "block.0.mlp.mlp2_weight"
        self.assertEqual(read(self.folder / "out_in")[name], read(self.folder / "in_out")[name])


if __name__ == "__main__":
    unittest.main()
