"""What `mxferry convert` writes: layouts, dtypes, names, shards, config and other files."""

import itertools
import json
import struct
import unittest

from checkpoints import (
    INDEX,
    Tensor,
    decode,
    floats,
    names,
    read,
    read_file,
    read_header,
    replace_weights,
    transposed,
)
from command import SOURCE, USAGE, CommandTest

# Of the tiny sample.
EXPERTS, HIDDEN, INTERMEDIATE = 4, 64, 96
# What `mxferry sample` can write.
SAMPLES = [("hf", "mxfp4"), ("hf", "bf16"), ("nemo", "bf16"), ("original", "mxfp4")]
SAMPLES += [("original", "bf16"), ("torchtitan", "bf16"), ("unsloth", "bf16")]
SAMPLES += [("mlx", "mxfp4"), ("mlx", "bf16")]
SAMPLES += [("compressed-tensors", "mxfp4"), ("compressed-tensors", "bf16")]
LAYOUTS = sorted({layout for layout, _ in SAMPLES})
PACKED = [layout for layout, dtype in SAMPLES if dtype == "mxfp4"]


class Layouts(CommandTest):
    def test_experts_are_decoded_and_transposed(self):
        source = read(self.sample("src"))
        self.convert("src", "dst", "--to", "hf")
        target = read(self.folder / "dst")
        prefix = "model.layers.1.mlp.experts."
        for name, rows, columns in [
            (f"{prefix}gate_up_proj", 2 * INTERMEDIATE, HIDDEN),
            (f"{prefix}down_proj", HIDDEN, INTERMEDIATE),
        ]:
            weights = decode(source[f"{name}_blocks"], source[f"{name}_scales"])
            self.assertEqual(target[name].shape, [EXPERTS, columns, rows])
            self.assertEqual(floats(target[name]), transposed(weights, EXPERTS, rows, columns))

    def test_any_layout_becomes_any_other(self):
        for layout, dtype in SAMPLES:
            self.sample(f"{layout}-{dtype}", "--to", layout, "--dtype", dtype, "--wild")
        for layout, dtype in SAMPLES:
            for target in LAYOUTS:
                with self.subTest(f"{layout} {dtype} to {target}"):
                    source, written = f"{layout}-{dtype}", f"{layout}-{dtype}-as-{target}"
                    self.convert(source, written, "--to", target, "--dtype", "bf16")
                    expected = read(self.folder / f"{target}-bf16")
                    self.assertEqual(read(self.folder / written), expected)
                    shown = self.mxferry("inspect", written, "--json", "--strict").json
                    self.assertEqual(shown["layout"], target)
                    self.assertIs(shown["packed"], False)

    def test_any_packed_layout_becomes_any_other(self):
        for layout in PACKED:
            self.sample(f"{layout}-mxfp4", "--to", layout, "--wild")
        for layout, target in itertools.product(PACKED, PACKED):
            with self.subTest(f"{layout} to {target}"):
                source, written = f"{layout}-mxfp4", f"{layout}-as-{target}"
                self.convert(source, written, "--to", target, "--dtype", "mxfp4", "--verify")
                self.assertEqual(read(self.folder / written), read(self.folder / f"{target}-mxfp4"))
                shown = self.mxferry("inspect", written, "--json", "--strict").json
                self.assertEqual((shown["layout"], shown["packed"]), (target, True))

    def test_transformer_engine_has_names_in_nemo_alone(self):
        self.sample("src")
        printed = self.convert("src", "dst", "--to", "hf", "--attn", "te", code=USAGE)
        self.assertIn("expected --to nemo", printed.text)

    def test_transformer_engine_names_the_sinks(self):
        self.sample("src")
        self.convert("src", "te", "--to", "nemo", "--attn", "te")
        self.convert("src", "flex", "--to", "nemo", "--attn", "flex")
        te, flex = read(self.folder / "te"), read(self.folder / "flex")
        sinks = {name for name in flex if name.endswith(".self_attn.sinks")}
        self.assertEqual(len(sinks), 3)
        renamed = {name.replace("sinks", "attn_module.softmax_offset") for name in sinks}
        self.assertEqual(te.keys() - flex.keys(), renamed)
        self.assertEqual(self.mxferry("inspect", "te", "--json").json["attn"], "te")
        self.convert("te", "back", "--to", "nemo")
        self.assertEqual(read(self.folder / "back"), flex)

    def test_there_and_back_by_the_original_layout_moves_the_blocks(self):
        source = read(self.sample("src", "--wild"))
        self.convert("src", "original", "--to", "original", "--dtype", "mxfp4")
        self.convert("original", "back", "--to", "hf", "--dtype", "mxfp4")
        self.assertEqual(read(self.folder / "back"), source)
        config = json.loads((self.folder / "back/config.json").read_text())
        self.assertEqual(config["quantization_config"]["quant_method"], "mxfp4")
        self.assertEqual(config["model_type"], "gpt_oss")

    def test_original_layout_fuses_q_k_v_and_has_its_own_json(self):
        source = read(self.sample("src"))
        self.convert("src", "dst", "--to", "original", "--dtype", "mxfp4")
        target = read(self.folder / "dst")
        for kind in ("weight", "bias"):
            parts = [source[f"model.layers.2.self_attn.{x}_proj.{kind}"].data for x in "qkv"]
            self.assertEqual(target[f"block.2.attn.qkv.{kind}"].data, b"".join(parts))
        config = json.loads((self.folder / "dst/config.json").read_text())
        self.assertEqual(config["num_experts"], EXPERTS)
        self.assertNotIn("architectures", config)
        dtypes = json.loads((self.folder / "dst/dtypes.json").read_text())
        self.assertEqual(dtypes.keys(), target.keys())
        self.assertEqual(dtypes["block.0.mlp.mlp1_weight.blocks"], "FP4")
        self.assertEqual(dtypes["block.0.mlp.mlp1_weight.scales"], "UE8")
        self.assertEqual(dtypes["norm.scale"], "BF16")

    def dtypes(self, folder: str) -> tuple[set[str], set[str]]:
        """Those of the experts' weights and those of the rest."""
        expert: set[str] = set()
        rest: set[str] = set()
        for name, tensor in read(self.folder / folder).items():
            (expert if name.endswith(("_proj", "_projs")) else rest).add(tensor.dtype)
        return expert, rest

    def test_options(self):
        self.sample("src")
        for options, expected in [
            ([], ({"BF16"}, {"BF16"})),
            (["--dtype", "f32"], ({"F32"}, {"F32"})),
            (["--dtype", "f16"], ({"F16"}, {"F16"})),
            (["--dtype", "f32", "--dense-dtype", "bf16"], ({"F32"}, {"BF16"})),
            (["--dense-dtype", "f32"], ({"BF16"}, {"F32"})),
        ]:
            with self.subTest(options):
                self.convert("src", "dst", "--to", "nemo", "--force", *options)
                self.assertEqual(self.dtypes("dst"), expected)

    def test_dense_tensors_keep_theirs_by_default(self):
        self.sample("src", "--dtype", "bf16")
        self.convert("src", "f32", "--to", "hf", "--dtype", "f32")
        self.convert("f32", "dst", "--to", "nemo")
        self.assertEqual(self.dtypes("dst"), ({"F32"}, {"F32"}))

    def test_wider_weights_are_the_same_weights(self):
        self.sample("src", "--wild")
        self.convert("src", "bf16", "--to", "original")
        self.convert("src", "f32", "--to", "original", "--dtype", "f32")
        wide = read(self.folder / "f32")
        for name, tensor in read(self.folder / "bf16").items():
            self.assertEqual(floats(wide[name]), floats(tensor))

    def test_overflow_of_f16_is_refused_by_name(self):
        self.sample("src", "--wild")
        printed = self.convert("src", "dst", "--to", "hf", "--dtype", "f16", "--json", code=SOURCE)
        error = printed.json["error"]
        self.assertEqual(error["code"], "overflow")
        self.assertRegex(error["tensor"], r"experts\.(gate_up|down)_proj")
        self.assertFalse((self.folder / "dst").exists())

    def test_underflows_of_f16_are_counted(self):
        source = read(self.sample("src", "--dtype", "bf16"))
        tiny = struct.pack("<4H", 0x3300, 0x3380, 0x3390, 0xB201)  # below 2^-24 and above
        name = "model.layers.0.input_layernorm.weight"
        source[name] = source[name]._replace(data=tiny + source[name].data[len(tiny) :])
        replace_weights(self.folder / "src", source)
        report = self.convert("src", "dst", "--to", "hf", "--dtype", "f16", "--json").json
        underflows = flushed = 0
        for tensor_name, tensor in read(self.folder / "dst").items():
            for before, after in zip(floats(source[tensor_name]), floats(tensor), strict=True):
                self.assertEqual(struct.pack("<e", before), struct.pack("<e", after))
                underflows += before != after and abs(before) < 2**-14
                flushed += before != 0 and after == 0
        self.assertGreaterEqual(flushed, 1)
        self.assertGreater(underflows, flushed)
        self.assertEqual((report["underflows"], report["flushed_to_zero"]), (underflows, flushed))


class Names(CommandTest):
    def test_exclude_matches_the_beginning_of_the_new_name(self):
        self.sample("src")
        whole = read(self.folder / "src")
        for regex, is_left_out in [
            (r"model\.layers\.1\.", lambda name: name.startswith("model.layers.1.")),
            (r"layers\.1\.", lambda name: False),
            (r".*mlp\.gate\.", lambda name: ".mlp.gate." in name),
            (r".*mlp\.router\.", lambda name: False),  # the old name
            (r"(?!model\.)", lambda name: not name.startswith("model.")),
        ]:
            with self.subTest(regex):
                self.convert("src", "dst", "--to", "nemo", "--force", "--exclude", regex)
                self.convert("src", "all", "--to", "nemo", "--force")
                everything = read(self.folder / "all")
                kept = {name: t for name, t in everything.items() if not is_left_out(name)}
                self.assertEqual(read(self.folder / "dst"), kept)
        self.assertEqual(read(self.folder / "src"), whole)

    def test_exclude_must_be_a_regular_expression_and_leave_something(self):
        self.sample("src")
        self.convert("src", "dst", "--to", "hf", "--exclude", "(", code=USAGE)
        printed = self.convert("src", "dst", "--to", "hf", "--exclude", ".*", code=USAGE)
        self.assertIn("--exclude", printed.stderr)
        self.assertFalse((self.folder / "dst").exists())

    def test_unknown_tensors_are_copied_and_reported(self):
        source = read(self.sample("src"))
        extra = {"extra.counter": Tensor("I64", [3], bytes(range(24)))}
        extra["model.layers.0.mlp.experts.lora_A"] = Tensor("F32", [2], b"\0\1\2\3\4\5\6\7")
        replace_weights(self.folder / "src", source | extra)
        printed = self.convert("src", "dst", "--to", "nemo", "--dtype", "f32")
        self.assertIn("extra.counter", printed.stderr)
        self.assertIn("2 tensor(s)", printed.stderr)
        target = read(self.folder / "dst")
        self.assertEqual({name: target[name] for name in extra}, extra)
        plan = self.convert("src", "dst", "--to", "nemo", "--force", "--json").json["plan"]
        self.assertEqual(set(plan["passed_through"]), set(extra))


class Files(CommandTest):
    def shards(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.folder / folder).glob("*.safetensors"))

    def test_one_file_has_no_index(self):
        self.sample("src")
        self.convert("src", "dst", "--to", "hf")
        self.assertEqual(self.shards("dst"), ["model.safetensors"])
        self.assertFalse((self.folder / "dst" / INDEX).exists())
        header, _ = read_header(self.folder / "dst/model.safetensors")
        self.assertEqual(header["__metadata__"], {"format": "pt"})

    def test_many_files_have_a_true_index(self):
        self.sample("src")
        self.convert("src", "dst", "--to", "hf", "--max-shard-size", "100KB")
        shards = self.shards("dst")
        count = len(shards)
        self.assertGreater(count, 3)
        expected = [f"model-{k:05}-of-{count:05}.safetensors" for k in range(1, count + 1)]
        self.assertEqual(shards, expected)
        held = {name: read_file(self.folder / "dst" / name) for name in shards}
        index = json.loads((self.folder / "dst" / INDEX).read_text())
        places = {tensor: file for file, tensors in held.items() for tensor in tensors}
        self.assertEqual(index["weight_map"], places)
        sizes = [sum(len(t.data) for t in tensors.values()) for tensors in held.values()]
        self.assertEqual(index["metadata"]["total_size"], sum(sizes))
        self.assertTrue(all(size <= 100_000 for size in sizes), sizes)

    def test_stale_keys_of_an_index_are_dropped(self):
        self.sample("src", "--dtype", "bf16")
        path = self.folder / "src" / INDEX
        index = json.loads(path.read_text())
        expert = "model.layers.0.mlp.experts.down_proj"
        for stale in (f"{expert}_blocks", f"{expert}_scales"):
            index["weight_map"][stale] = index["weight_map"][expert]
        path.write_text(json.dumps(index))
        printed = self.convert("src", "dst", "--to", "hf", "--max-shard-size", "100KB")
        self.assertIn("warning", printed.stderr)
        written = json.loads((self.folder / "dst" / INDEX).read_text())["weight_map"]
        self.assertEqual(written.keys(), read(self.folder / "dst").keys())
        self.assertNotIn(f"{expert}_blocks", written)

    def test_units_of_sizes(self):
        self.sample("src")
        largest = {}
        for size in ("60KB", "60KiB", "60000", "61440", "60 kb", "1GB", "1GiB", "1MB", "1TiB"):
            arguments = ["--to", "hf", "--max-shard-size", size, "--dry-run", "--json"]
            shards = self.convert("src", "dst", *arguments).json["plan"]["shards"]
            largest[size] = [[tensor["name"] for tensor in s["tensors"]] for s in shards]
        self.assertEqual(largest["60KB"], largest["60000"])
        self.assertEqual(largest["60KB"], largest["60 kb"])
        self.assertEqual(largest["60KiB"], largest["61440"])
        self.assertEqual(len(largest["1GB"]), 1)
        for size in ("", "5XB", "-1", "0", "GB", "1.5.5MB", "99999999999999999999", "20000PB"):
            with self.subTest(size):
                arguments = ["--to", "hf", f"--max-shard-size={size}", "--dry-run"]
                self.convert("src", "dst", *arguments, code=USAGE)

    def test_the_unit_kib_is_1024_bytes(self):
        source = read(self.sample("src", "--dtype", "bf16"))
        # Two tensors of 1000 bytes in total, then of 1024.
        for total, unit in ((1000, "KB"), (1024, "KiB")):
            kept = dict(source)
            kept["x.a"] = Tensor("U8", [500], bytes(500))
            kept["x.b"] = Tensor("U8", [total - 500], bytes(total - 500))
            replace_weights(self.folder / "src", kept)
            arguments = ["--to", "hf", "--exclude", "(?!x)", "--dry-run", "--json"]
            for size, files in ((f"1{unit}", 1), (str(total - 1), 2)):
                plan = self.convert("src", "dst", *arguments, "--max-shard-size", size).json["plan"]
                self.assertEqual(len(plan["shards"]), files, (total, size))

    def test_config_is_edited_and_nothing_in_it_lost(self):
        self.sample("src")
        path = self.folder / "src/config.json"
        before = json.loads(path.read_text())
        self.assertIn("quantization_config", before)
        before["my_key"] = {"list": [1, 2.5, None, "\u00e9"], "big": 2**53 + 1}
        for key in ("torch_dtype", "dtype"):
            config = {k: v for k, v in before.items() if k not in ("torch_dtype", "dtype")}
            config[key] = "bfloat16"
            path.write_text(json.dumps(config))
            self.convert("src", "dst", "--to", "hf", "--dtype", "f16", "--force")
            after = json.loads((self.folder / "dst/config.json").read_text())
            del config["quantization_config"]
            self.assertEqual(after, config | {key: "float16"})
        self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4", "--force")
        after = json.loads((self.folder / "dst/config.json").read_text())
        self.assertEqual(after["quantization_config"], before["quantization_config"])

    def test_other_files_are_carried_and_weights_are_not(self):
        source = self.sample("src")
        (source / "LICENSE").write_bytes(bytes(range(256)) * 9000)
        (source / "empty").touch()
        weights = ["pytorch_model.bin", "x.gguf", "m.pth", "left.partial", "d.incomplete"]
        for name in weights:
            (source / name).write_bytes(b"x")
        (source / "metal").mkdir()
        (source / "metal/model.bin").write_bytes(b"x")
        plan = self.convert("src", "dst", "--to", "hf", "--json").json["plan"]
        carried = names(source) - {"metal", "config.json", INDEX} - set(weights)
        carried -= set(self.shards("src"))
        self.assertEqual(set(plan["carried"]), carried)
        expected = carried | {"config.json", "model.safetensors"}
        self.assertEqual(names(self.folder / "dst"), expected)
        for name in carried:
            copy = self.folder / "dst" / name
            self.assertEqual(copy.read_bytes(), (source / name).read_bytes(), name)


if __name__ == "__main__":
    unittest.main()
