"""`mxferry verify`: what it finds, says and writes."""

import json
import unittest

from checkpoints import Tensor, read, replace_weights
from command import SOURCE, SYSTEM, USAGE, CommandTest

DIFFERS = 1
NORM = "model.layers.0.input_layernorm.weight"


class Verify(CommandTest):
    def change(self, name: str, change) -> None:
        tensors = read(self.folder / name)
        change(tensors)
        replace_weights(self.folder / name, tensors)

    def test_a_checkpoint_is_itself_byte_for_byte(self):
        self.sample("a")
        self.assertIn(
            "B holds exactly the values of A, byte for byte.", self.mxferry("verify", "a", "a").text
        )

    def test_layouts_and_dtypes_do_not_matter(self):
        self.sample("a", "--wild")
        for layout, dtype in [("hf", "bf16"), ("nemo", "f32"), ("original", "bf16")]:
            self.convert("a", f"{layout}-{dtype}", "--to", layout, "--dtype", dtype)
            for pair in (["a", f"{layout}-{dtype}"], [f"{layout}-{dtype}", "a"]):
                result = self.mxferry("verify", *pair, "--json").json
                self.assertTrue(result["identical"], pair)
                self.assertEqual(result["verdict"], "B holds exactly the values of A")
                self.assertEqual(len(result["parameters"]), 54)
                self.assertEqual(result["total"]["different"], 0)
        self.convert("a", "te", "--to", "nemo", "--attn", "te")
        self.mxferry("verify", "te", "original-bf16")

    def test_one_changed_weight_is_found_and_placed(self):
        self.sample("a")
        self.convert("a", "b", "--to", "hf")

        def change(tensors):
            old = tensors[NORM]
            data = bytearray(old.data)
            data[2 * 11 : 2 * 12] = b"\x80\x40"  # 4.0 in BF16
            tensors[NORM] = Tensor(old.dtype, old.shape, bytes(data))

        self.change("b", change)
        result = self.mxferry("verify", "a", "b", "--json", code=DIFFERS).json
        self.assertEqual(result["total"]["different"], 1)
        [differing] = [p for p in result["parameters"] if not p["values_identical"]]
        self.assertEqual(differing["b"], NORM)
        self.assertEqual(differing["worst"]["column"], 11)
        self.assertEqual(differing["worst"]["b"], 4.0)
        text = self.mxferry("verify", "a", "b", code=DIFFERS).text
        self.assertIn("B differs from A in 1 of 54 parameters: 1 of 295,704 weights", text)
        self.assertIn(f"{NORM} bf16 -> bf16", text)
        self.assertIn("row 0, column 11", text)

    def test_a_parameter_that_differs_in_nan_alone_is_the_worst(self):
        self.sample("a")
        self.convert("a", "b", "--to", "hf")

        def change(tensors):
            for number, name in enumerate(sorted(name for name in tensors if "norm" in name)):
                old = tensors[name]
                first = b"\xc0\x7f" if name == NORM else bytes([number, 0x40])
                tensors[name] = Tensor(old.dtype, old.shape, first + old.data[2:])

        self.change("b", change)
        text = self.mxferry("verify", "a", "b", code=DIFFERS).text
        self.assertIn(f"7 parameters differ, the worst: {NORM} bf16 -> bf16", text)

    def test_an_unknown_tensor_has_no_experts(self):
        self.sample("a")
        tensors = read(self.folder / "a") | {"extra": Tensor("BF16", [2, 3, 4], bytes(48))}
        replace_weights(self.folder / "a", tensors)
        result = self.mxferry("verify", "a", "a", "--json").json
        (extra,) = [p for p in result["parameters"] if p["b"] == "extra"]
        self.assertFalse(extra.get("experts"))

    def test_zeros_of_either_sign_are_equal_and_counted(self):
        self.sample("a")
        self.convert("a", "b", "--to", "hf")
        self.convert("a", "c", "--to", "hf")

        def zero(sign):
            def change(tensors):
                old = tensors[NORM]
                tensors[NORM] = Tensor(old.dtype, old.shape, sign + old.data[2:])

            return change

        self.change("b", zero(b"\x00\x00"))
        self.change("c", zero(b"\x00\x80"))
        result = self.mxferry("verify", "b", "c", "--json").json
        self.assertTrue(result["identical"])
        self.assertEqual(result["total"]["zero_signs"], 1)
        self.assertIn("1 zeros have the other sign", result["verdict"])

    def test_names_on_one_side_only(self):
        self.sample("a")
        self.convert("a", "b", "--to", "hf")

        def change(tensors):
            del tensors["model.layers.1.self_attn.q_proj.bias"]
            tensors["extra.bin"] = Tensor("U8", [3], b"abc")
            tensors["same.bin"] = Tensor("I16", [2], b"abcd")

        self.change("b", change)
        result = self.mxferry("verify", "a", "b", "--json", code=DIFFERS).json
        self.assertEqual(result["only_a"], ["model.layers.1.self_attn.q_proj.bias"])
        self.assertEqual(result["only_b"], ["extra.bin", "same.bin"])
        self.assertIn("B is not the same model as A", result["verdict"])
        self.convert("b", "c", "--to", "nemo")
        both = self.mxferry("verify", "b", "c", "--json").json
        self.assertIn("same.bin", [p["a"] for p in both["parameters"]])

    def test_another_geometry_is_named(self):
        self.sample("a")
        self.sample("b", "--intermediate", "128")
        result = self.mxferry("verify", "a", "b", "--json", code=DIFFERS).json
        self.assertEqual(len(result["mismatched"]), 3 * 3)
        self.assertIn("of other shape", result["verdict"])

    def test_bytes_read_and_threads_do_not_change_the_figures(self):
        self.sample("a", "--wild")
        self.convert(
            "a", "b", "--to", "nemo", "--dtype", "f16", "--dense-dtype", "f16", code=SOURCE
        )
        self.sample("c")
        self.convert("c", "d", "--to", "nemo", "--dtype", "f16")
        figures = []
        for options in (["--threads", "1"], ["--threads", "3"], ["--max-memory", "16MiB"]):
            result = self.mxferry("verify", "c", "d", "--json", *options, code=DIFFERS).json
            figures.append({k: v for k, v in result.items() if k != "seconds"})
            self.assertGreater(result["total"]["sqnr_db"], 60)
        for found in figures[1:]:
            # Sums of squares may be added in another order.
            for total in (found["total"], figures[0]["total"]):
                total["sqnr_db"] = round(total["sqnr_db"], 6)
            self.assertEqual(found["total"], figures[0]["total"])

    def test_the_page_is_written_whole_and_needs_nothing(self):
        self.sample("a")
        self.convert("a", "b", "--to", "nemo", "--dtype", "f16")
        self.mxferry("verify", "a", "b", "--html", "report.html", "--quiet", code=DIFFERS)
        page = (self.folder / "report.html").read_text(encoding="ascii")
        self.assertTrue(page.startswith("<!DOCTYPE html>") or page.startswith("<!doctype html>"))
        self.assertNotIn("<script", page)
        self.assertNotIn("http", page.replace("http-equiv", ""))
        self.assertFalse((self.folder / "report.html.partial").exists())
        failed = self.mxferry("verify", "a", "b", "--html", "no/such/place.html", code=SYSTEM)
        self.assertIn("cannot write the page", failed.text)

    def test_refuses_what_is_no_checkpoint(self):
        self.sample("a")
        self.mxferry("verify", "a", "nowhere", code=SOURCE)
        self.mxferry("verify", "a", code=USAGE)
        self.assertFalse(
            json.loads(self.mxferry("verify", "a", "x", "--json", code=SOURCE).stdout)["ok"]
        )

    def test_lines_fit_the_terminal(self):
        self.sample("a")
        self.sample("b", "--seed", "1")
        shown = self.mxferry("verify", "a", "b", code=DIFFERS).stdout
        longest = max(
            (line for line in shown.splitlines() if "largest error at" not in line), key=len
        )
        self.assertLessEqual(len(longest), 80, longest)


if __name__ == "__main__":
    unittest.main()
