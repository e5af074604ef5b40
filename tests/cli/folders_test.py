"""Folders as people have them: converted to a model that loaders find whole, or refused."""

import json
import re
import unittest

from checkpoints import INDEX, Tensor, names, read, replace_weights, write_file
from command import DONE, SOURCE, USAGE, CommandTest

LAYERS = 3


class FolderTest(CommandTest):
    """`self.source` is a packed checkpoint, `self.tensors` what it holds."""

    def setUp(self):
        super().setUp()
        self.source = self.sample("src")
        self.tensors = read(self.source)

    def config(self, folder: str = "src") -> dict:
        return json.loads((self.folder / folder / "config.json").read_text())

    def edit_config(self, **values):
        """Sets keys of the source's config.json; None removes one."""
        config = self.config() | values
        config = {key: value for key, value in config.items() if value is not None}
        (self.source / "config.json").write_text(json.dumps(config))

    def rename(self, change):
        """Replaces the source's weights by the same under other names."""
        renamed = {change(name): tensor for name, tensor in self.tensors.items()}
        replace_weights(self.source, renamed)

    def problems(self, code: int = DONE) -> list[dict]:
        return self.mxferry("inspect", "src", "--json", code=code).json["problems"]

    def assert_same_model(self, *words: str):
        """The conversion makes what it makes of the untouched source, and says the words."""
        if not (self.folder / "expected").exists():
            self.sample("plain")
            self.convert("plain", "expected", "--to", "hf")
        printed = self.convert("src", "dst", "--to", "hf", "--force", "--verify")
        self.assertEqual(read(self.folder / "dst"), read(self.folder / "expected"))
        for word in words:
            self.assertIn(word, printed.text)
        self.assertEqual([p for p in self.problems() if p["severity"] == "fatal"], [])
        if "note:" in words:
            shown = self.mxferry("inspect", "src").text
            command = re.search(r"Put right by: mxferry (convert \S+) OUT (.*)", shown)
            self.mxferry(
                *command[1].split(), "repaired", *command[2].split(), "--force", "--strict"
            )
            self.assertIn("No problems found", self.mxferry("inspect", "repaired").text)

    def assert_refused(self, code: str, *words: str):
        """By every command that reads; nothing is written."""
        for options in (["--to", "hf"], ["--to", "hf", "--dtype", "mxfp4", "--verify"]):
            printed = self.convert("src", "refused", *options, "--json", code=SOURCE)
            error = printed.json["error"]
            self.assertEqual(error["code"], code, error)
            for word in words:
                self.assertIn(word, error["message"])
        self.assertFalse((self.folder / "refused").exists())
        self.mxferry("inspect", "src", code=SOURCE)
        self.mxferry("verify", "src", "src", code=SOURCE)


class Names(FolderTest):
    def test_what_wrappers_leave_is_removed(self):
        def inside(component):
            return lambda name: re.sub(r"(layers\.\d+\.(mlp\.)?)", rf"\1{component}", name)

        wrappers = {
            "_orig_mod.": lambda name: "_orig_mod." + name,
            "module.": lambda name: "module." + name,
            "base_model.model.": lambda name: "base_model.model." + name,
            "_checkpoint_wrapped_module.": inside("_checkpoint_wrapped_module."),
            "_fsdp_wrapped_module.": inside("_fsdp_wrapped_module."),
            "'model.model.'": lambda name: "model." + name,
            "'language_model.model.'": lambda name: "language_model." + name,
            "'model.language_model.'": lambda name: name.replace("model.", "model.language_model."),
            "instead of": lambda name: name.removeprefix("model."),
            "'a.b.model.'": lambda name: "module._orig_mod.a.b." + name,
        }
        for words, change in wrappers.items():
            with self.subTest(words):
                self.rename(change)
                self.assert_same_model("note:", words)
                notes = [p for p in self.problems() if p["severity"] == "note"]
                self.assertGreaterEqual(len(notes), 1)
                self.assertEqual({p["code"] for p in notes}, {"wrapped_names"})

    def test_another_model_beside_it_is_carried(self):
        tower = {
            "vision_tower.layers.0.self_attn.q_proj.weight": Tensor("F32", [1], b"\0\0\0\0"),
            "vision_tower.norm.weight": Tensor("F32", [1], b"\0\0\0\0"),
        }
        wrapped = {"language_model." + name: tensor for name, tensor in self.tensors.items()}
        replace_weights(self.source, wrapped | tower)
        self.convert("src", "dst", "--to", "hf")
        self.sample("plain")
        self.convert("plain", "expected", "--to", "hf")
        self.assertEqual(read(self.folder / "dst"), read(self.folder / "expected") | tower)

    def test_a_draft_model_beside_it_is_carried(self):
        router = "mtp.layers.0.mlp.router.weight"
        draft = {router: self.tensors["model." + router.removeprefix("mtp.")]}
        replace_weights(self.source, self.tensors | draft)
        self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4")
        self.assertEqual(read(self.folder / "dst"), self.tensors | draft)
        self.assertIn(
            router, self.convert("src", "dst2", "--to", "hf", "--strict", code=SOURCE).text
        )

    def test_two_models_are_refused(self):
        second = {"module." + name: tensor for name, tensor in self.tensors.items()}
        replace_weights(self.source, self.tensors | second)
        self.assert_refused("name_collision", "two models")

    def test_doubled_endings(self):
        self.rename(lambda name: re.sub("_(blocks|scales)$", r"_blocks_\1", name))
        self.assert_same_model("note:", "twice")

    def test_experts_that_transformers_lost(self):
        tensors = {n: t for n, t in self.tensors.items() if not n.endswith(("blocks", "scales"))}
        lost = {f"{name}_proj$": Tensor("BF16", [1], b"\0\0") for name in ("down", "gate_up")}
        replace_weights(self.source, tensors | lost)
        self.assert_refused("missing_tensor", "5.5.2 to 5.20", "save_original_format=False")

    def test_an_adapter_that_is_not_merged(self):
        for old, new in (
            ("q_proj.weight", "q_proj.base_layer.weight"),
            ("q_proj.weight", "q_proj.lora_A.default.weight"),
            ("mlp.experts.gate_up_proj_bias", "mlp.experts.base_layer.gate_up_proj_bias"),
        ):
            with self.subTest(new):
                changed = {n.replace(old, new): t for n, t in self.tensors.items()}
                replace_weights(self.source, changed | self.tensors if "lora" in new else changed)
                self.assert_refused("lora_adapter", "merge_and_unload")

    def test_an_adapter_alone_under_the_models_name(self):
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
        replace_weights(self.source, {name: Tensor("F32", [1], b"\0\0\0\0")})
        self.assert_refused("lora_adapter", "merge_and_unload")

    def test_a_foreign_quantization(self):
        weight = "model.layers.0.self_attn.q_proj.weight"
        for ending, method, what in (
            (".absmax", "bitsandbytes", "bitsandbytes"),
            (".quant_state.bitsandbytes__nf4", None, "bitsandbytes"),
            ("_scale_inv", "fp8", "FP8"),
            ("_global_scale", "compressed-tensors", "NVFP4"),
        ):
            with self.subTest(ending):
                replace_weights(
                    self.source, self.tensors | {weight + ending: Tensor("U8", [1], b"\0")}
                )
                self.edit_config(quantization_config={"quant_method": method} if method else None)
                self.assert_refused("foreign_quantization", what, method or "")

    def test_weights_of_a_foreign_dtype(self):
        name = "model.layers.0.self_attn.q_proj.weight"
        old = self.tensors[name]
        eight_bits = Tensor("F8_E4M3", old.shape, old.data[::2])
        replace_weights(self.source, self.tensors | {name: eight_bits})
        self.edit_config(quantization_config={"quant_method": "fp8"})
        self.assert_refused("wrong_dtype", "F8_E4M3", "fp8")


class Completeness(FolderTest):
    def without(self, *endings: str, layers=range(LAYERS)):
        gone = tuple(f"layers.{layer}." for layer in layers)
        kept = {
            name: tensor
            for name, tensor in self.tensors.items()
            if not re.sub("_(blocks|scales)$", "", name).endswith(endings)
            or not any(layer in name for layer in gone)
        }
        self.assertLess(len(kept), len(self.tensors))
        replace_weights(self.source, kept)

    def test_weights_that_no_layer_has(self):
        for kind in (
            "mlp.experts.gate_up_proj",
            "mlp.experts.down_proj",
            "mlp.router.weight",
            "self_attn.q_proj.weight",
            "self_attn.o_proj.weight",
            "self_attn.sinks",
            "input_layernorm.weight",
        ):
            for layers in (range(LAYERS), [1]):
                with self.subTest(kind, layers=layers):
                    self.without(kind, layers=layers)
                    self.assert_refused("missing_tensor", "has")

    def test_biases_that_no_layer_has(self):
        for kind in ("self_attn.q_proj.bias", "mlp.experts.down_proj_bias", "mlp.router.bias"):
            with self.subTest(kind):
                self.without(kind)
                printed = self.convert("src", "dst", "--to", "hf", "--force")
                self.assertIn("warning: no layer has the", printed.text)
                self.convert("src", "strict", "--to", "hf", "--strict", code=SOURCE)
                self.assertFalse((self.folder / "strict").exists())

    def test_no_layers(self):
        top = {name: tensor for name, tensor in self.tensors.items() if "layers" not in name}
        replace_weights(self.source, top)
        self.convert("src", "dst", "--to", "hf", code=SOURCE)

    def test_a_head_is_there_or_tied(self):
        kept = {name: t for name, t in self.tensors.items() if name != "lm_head.weight"}
        replace_weights(self.source, kept)
        self.assert_refused("missing_tensor", "tie_word_embeddings")
        self.edit_config(tie_word_embeddings=True)
        self.convert("src", "tied", "--to", "hf", "--strict")
        self.assertNotIn("lm_head.weight", read(self.folder / "tied"))
        self.assertIs(self.config("tied")["tie_word_embeddings"], True)
        for layout, head in (("original", "unembedding.weight"), ("nemo", "lm_head.weight")):
            self.convert("src", layout, "--to", layout, "--verify")
            written = read(self.folder / layout)
            self.assertEqual(written[head], kept["model.embed_tokens.weight"])
            self.mxferry("verify", "src", layout)
        self.assertIs(self.config("nemo")["tie_word_embeddings"], False)

    def test_a_backbone_may_have_no_head(self):
        kept = {name: t for name, t in self.tensors.items() if name != "lm_head.weight"}
        replace_weights(self.source, {n.removeprefix("model."): t for n, t in kept.items()})
        self.edit_config(architectures=["GptOssModel"])
        printed = self.convert("src", "dst", "--to", "hf")
        self.assertIn("has no head", printed.text)
        self.assertEqual(self.config("dst")["architectures"], ["GptOssModel"])


class ByLayer(FolderTest):
    def prune(self, keep: dict[int, int]):
        """Keeps the first experts of some layers."""
        for name, tensor in list(self.tensors.items()):
            layer = re.search(r"layers\.(\d+)\.mlp\.", name)
            if layer is None or int(layer[1]) not in keep:
                continue
            count = keep[int(layer[1])]
            size = len(tensor.data) // tensor.shape[0]
            shape = [count, *tensor.shape[1:]]
            self.tensors[name] = Tensor(tensor.dtype, shape, tensor.data[: count * size])
        replace_weights(self.source, self.tensors)

    def test_layers_with_experts_of_their_own(self):
        self.prune({0: 2, 2: 1})
        scale = Tensor("F32", [1], b"\0\0\x80\x3f")
        extra = {"model.layers.0.self_attn.k_scale": scale}
        replace_weights(self.source, self.tensors | extra)
        experts = [2, self.config()["num_local_experts"], 1]
        for values in (
            {},
            {"block_configs": [{"num_local_experts": n} for n in experts]},
        ):
            self.edit_config(**values)
            printed = self.convert("src", "dense", "--to", "nemo", "--force", "--verify")
            self.assertIn("1 to", printed.text)
            back = ["--to", "hf", "--dtype", "mxfp4", "--reference", "src", "--force", "--verify"]
            self.convert("dense", "back", *back)
            self.assertEqual(read(self.folder / "back"), self.tensors | extra)

    def test_one_number_for_all_layers_is_config_jsons(self):
        self.prune({layer: 2 for layer in range(LAYERS)})
        self.assert_refused("wrong_shape")
        self.prune({1: 1})
        self.edit_config(block_configs=[{"num_local_experts": 2}] * LAYERS)
        self.assert_refused("wrong_shape", "layers.1")


class Config(FolderTest):
    def test_the_architecture_of_a_wrapper(self):
        for given in ("FSDPGptOssForCausalLM", "GptOssModel"):
            self.edit_config(architectures=[given])
            self.assert_same_model("note:", given)
            self.assertEqual(self.config("dst")["architectures"], ["GptOssForCausalLM"])

    def test_a_stale_quantization(self):
        published = self.config()["quantization_config"]
        experts = published | {"modules_to_not_convert": ["model.layers.0.mlp.experts"]}
        for stale in ({"dequantize": True, "quant_method": "mxfp4"}, experts):
            self.edit_config(quantization_config=stale)
            printed = self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4", "--force")
            self.assertIn("note: config.json", printed.text)
            self.assertEqual(self.config("dst")["quantization_config"], published)

    def test_dtype_and_torch_dtype(self):
        self.edit_config(dtype="float32", torch_dtype="float16")
        self.convert("src", "dst", "--to", "hf")
        config = self.config("dst")
        self.assertEqual((config["dtype"], config["torch_dtype"]), ("bfloat16", "bfloat16"))

    def test_sizes_that_it_lacks_or_cannot_have(self):
        expected = self.config()
        (self.source / "config.json").write_text(json.dumps({"model_type": "gpt_oss"}))
        self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4")
        for key in ("num_local_experts", "num_hidden_layers", "hidden_size", "vocab_size"):
            self.assertEqual(self.config("dst")[key], expected[key])
        self.convert("src", "original", "--to", "original", "--dtype", "mxfp4")
        self.assertEqual(self.config("original")["num_experts"], expected["num_local_experts"])
        (self.source / "config.json").write_text(
            json.dumps(expected | {"num_experts_per_tok": 99, "layer_types": ["full_attention"]})
        )
        printed = self.convert("src", "dst", "--to", "hf", "--force")
        self.assertIn("warning: config.json: num_experts_per_tok is 99", printed.text)
        self.assertEqual(self.config("dst")["num_experts_per_tok"], expected["num_local_experts"])
        self.assertEqual(len(self.config("dst")["layer_types"]), LAYERS)

    def test_the_config_of_a_larger_model(self):
        inner = self.config()
        outer = {"model_type": "vision", "architectures": ["Vision"], "text_config": inner}
        (self.source / "config.json").write_text(json.dumps(outer))
        self.rename(lambda name: "language_model." + name)
        self.assert_same_model("note:", "text_config")
        self.assertEqual(self.config("dst")["architectures"], ["GptOssForCausalLM"])

    def test_a_dtype_that_is_null(self):
        self.edit_config()
        config = self.config() | {"dtype": None, "torch_dtype": "float16"}
        (self.source / "config.json").write_text(json.dumps(config))
        self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4")
        self.assertNotIn("dtype", self.config("dst"))
        self.assertEqual(self.config("dst")["torch_dtype"], "float16")

    def original(self, code: int = DONE, **values):
        self.edit_config(**values)
        printed = self.convert("src", "original", "--to", "original", "--force", code=code)
        return printed.text, self.config("original") if code == DONE else {}

    def test_the_position_embedding_of_openai(self):
        yarn = {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "original_max_position_embeddings": 2048,
            "truncate": False,
        }
        old = {key: value for key, value in yarn.items() if key != "rope_theta"}
        for values in (
            {"rope_parameters": yarn, "rope_theta": None, "rope_scaling": None},
            {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": old},
        ):
            text, config = self.original(**values)
            self.assertNotIn("warning", text)
            keys = ("theta", "scaling_factor", "ntk_alpha", "ntk_beta")
            self.assertEqual([config["rope_" + key] for key in keys], [10000.0, 8.0, 2.0, 16.0])
            self.assertEqual(config["initial_context_length"], 2048)
        # As transformers: an old one that is not empty comes first; an empty one counts as none.
        text, config = self.original(rope_parameters=yarn | {"factor": 4.0}, rope_scaling=old)
        self.assertEqual(config["rope_scaling_factor"], 8.0)
        text, config = self.original(rope_parameters=None, rope_scaling={})
        self.assertEqual(config["rope_scaling_factor"], 32.0)
        del yarn["original_max_position_embeddings"]
        text, config = self.original(
            rope_parameters=yarn, rope_scaling=None, max_position_embeddings=512
        )
        self.assertEqual(config["initial_context_length"], 512)
        plain = {"rope_type": "default", "rope_theta": 10000.0}
        _, config = self.original(rope_parameters=plain, rope_scaling=None, rope_theta=None)
        self.assertEqual((config["rope_theta"], config["rope_scaling_factor"]), (10000.0, 1.0))

    def test_a_position_embedding_that_is_not_understood(self):
        for given in (
            {"rope_type": "llama3", "factor": 8.0},
            {"rope_type": "yarn"},
            {"rope_type": "yarn", "factor": "8"},
            {"rope_type": "yarn", "factor": 8.0, "attention_factor": 2.0},
            [],
        ):
            with self.subTest(given):
                text, _ = self.original(SOURCE, rope_parameters=given, rope_scaling=None)
                self.assertIn("position embedding", text)

    def test_what_openais_code_does_not_have(self):
        text, _ = self.original(rms_norm_eps=1e-6, layer_types=["full_attention"] * LAYERS)
        self.assertIn("warning: config.json: rms_norm_eps", text)
        self.assertIn("warning: config.json: layer 0 has another attention", text)


class Files(FolderTest):
    def test_a_tensor_that_the_index_lacks(self):
        index = json.loads((self.source / INDEX).read_text())
        by_file = list(index["weight_map"].values())
        for lost in list(index["weight_map"])[::9]:
            if by_file.count(index["weight_map"][lost]) == 1:
                continue  # then nothing lists its file
            rest = {n: f for n, f in index["weight_map"].items() if n != lost}
            (self.source / INDEX).write_text(json.dumps(index | {"weight_map": rest}))
            self.assert_same_model("note:", "does not list", lost)
            self.convert("src", "strict", "--to", "hf", "--force", "--strict")

    def test_an_index_of_files_that_are_gone(self):
        text = (self.source / INDEX).read_text()
        replace_weights(self.source, self.tensors)
        (self.source / INDEX).write_text(text)
        self.assert_same_model("warning:", "model.safetensors is read")

    def test_a_trainers_state_is_passed_over(self):
        state = {"exp_avg.0": Tensor("F32", [1], b"\0\0\0\0")}
        write_file(self.source / "optimizer.safetensors", state)
        (self.source / "model.safetensors.index.bf16.json").write_text("{}")
        (self.source / "optimizer.pt").write_bytes(b"x")
        for single in (False, True):
            if single:
                replace_weights(self.source, self.tensors)
                write_file(self.source / "optimizer.safetensors", state)
            self.assert_same_model("note: optimizer.safetensors")
            carried = names(self.folder / "dst")
            self.assertFalse(carried & {"model.safetensors.index.bf16.json", "optimizer.pt"})

    def test_further_chat_templates_are_carried(self):
        templates = self.source / "additional_chat_templates"
        templates.mkdir()
        for name, text in (("tools.jinja", "{{ tools }}"), ("plain.jinja", "{{ x }}")):
            (templates / name).write_text(text)
        carried = self.folder / "dst/additional_chat_templates"
        options = ["--to", "hf", "--checksum", "--verify"]
        self.convert("src", "dst", *options)
        self.mxferry("verify", "--manifest", "dst")
        self.convert("src", "dst", *options, "--resume")
        (templates / "tools.jinja").write_text("new")
        (carried / "mine.jinja").write_text("kept")
        self.convert("src", "dst", *options, "--force")
        self.assertEqual((carried / "tools.jinja").read_text(), "new")
        self.assertEqual(names(carried), {"tools.jinja", "plain.jinja", "mine.jinja"})
        for part in (0, 1):
            self.convert("src", "parts", "--to", "hf", "--rank", str(part), "--world", "2")
        self.mxferry("finish", "parts")
        self.assertEqual(
            (self.folder / "parts/additional_chat_templates/plain.jinja").read_text(), "{{ x }}"
        )

    def test_a_publication_behind_a_link_moves_nothing(self):
        self.sample("dst")
        (self.folder / "elsewhere").mkdir()
        (self.folder / "elsewhere/a.jinja").write_text("mine")
        (self.folder / "dst/additional_chat_templates").symlink_to("../elsewhere")
        name = "additional_chat_templates/a.jinja"
        publication = {"work": ["convert-0123456789abcdef"], "install": [name], "remove": [name]}
        (self.folder / "dst/.mxferry").mkdir()
        (self.folder / "dst/.mxferry/publication").write_text(json.dumps(publication))
        self.mxferry("finish", "dst", code=USAGE)
        self.assertEqual((self.folder / "elsewhere/a.jinja").read_text(), "mine")

    def test_a_link_in_the_place_of_the_templates_is_not_followed(self):
        (self.source / "additional_chat_templates").mkdir()
        (self.source / "additional_chat_templates/tools.jinja").write_text("new")
        (self.folder / "elsewhere").mkdir()
        (self.folder / "elsewhere/tools.jinja").write_text("mine")
        self.sample("dst")
        (self.folder / "dst/additional_chat_templates").symlink_to("../elsewhere")
        printed = self.convert("src", "dst", "--to", "hf", "--force", code=USAGE)
        self.assertIn("link", printed.text)
        self.assertEqual((self.folder / "elsewhere/tools.jinja").read_text(), "mine")
        self.assertEqual(read(self.folder / "dst"), self.tensors)

    def test_other_formats_are_named(self):
        for files, words in {
            ("__0_0.distcp", ".metadata"): "python -m mxferry",
            ("__0_0.distcp", "common.pt"): "Megatron-Bridge",
            ("pytorch_model.bin",): "save_pretrained",
            ("pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"): "save_pretrained",
            ("model.pt",): "torch.load",
            ("zero_to_fp32.py", "latest"): "--safe_serialization",
        }.items():
            with self.subTest(files):
                folder = self.folder / "other"
                folder.mkdir(exist_ok=True)
                for path in folder.iterdir():
                    path.unlink()
                for name in files:
                    (folder / name).write_bytes(b"x")
                printed = self.convert("other", "dst", "--to", "hf", code=SOURCE)
                self.assertIn(words, printed.text)


if __name__ == "__main__":
    unittest.main()
