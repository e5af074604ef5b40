"""Sources with something wrong: found by inspect and by convert, in words that help."""

import json
import os
import shutil
import unittest
from pathlib import Path

from checkpoints import INDEX, Tensor, floats, names, read, read_file, replace_weights, write_file
from command import DONE, SOURCE, CommandTest

LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 4792272488\n"
)
SHARD = "model-00001-of-00001.safetensors"
FIRST_SHARD = "model-00000-of-00001.safetensors"


class SourceTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.source = self.sample("src")

    def assert_refused(self, code: str, *words: str, source: str = "src"):
        """Convert and inspect both name the problem, and nothing is written."""
        printed = self.convert(source, "dst", "--to", "hf", "--json", code=SOURCE)
        error = printed.json["error"]
        self.assertEqual(error["code"], code, error)
        self.assertEqual(printed.stderr, "")
        self.assertFalse((self.folder / "dst").exists())
        shown = self.mxferry("inspect", source, code=SOURCE)
        for word in words:
            self.assertIn(word, error["message"])
            self.assertIn(word, shown.text)

    def assert_warned(self, words: str):
        """It converts, and both commands say the words."""
        self.assertIn(words, self.convert("src", "dst", "--to", "hf", "--force").text)
        self.assertIn(words, self.mxferry("inspect", "src").text)
        report = self.mxferry("inspect", "src", "--strict", "--json", code=SOURCE).json
        self.assertEqual({p["severity"] for p in report["problems"]}, {"warning"})


class Accidents(SourceTest):
    def test_truncated_shard(self):
        path = self.source / SHARD
        os.truncate(path, path.stat().st_size - 1)
        self.assert_refused("incomplete_download", SHARD, "cut short", "again")

    def test_shard_cut_within_its_header(self):
        for length in (0, 7, 8, 100):
            os.truncate(self.source / SHARD, length)
            printed = self.convert("src", "dst", "--to", "hf", code=SOURCE)
            self.assertIn(SHARD, printed.stderr)

    def test_bytes_after_the_last_tensor(self):
        with (self.source / SHARD).open("ab") as file:
            file.write(b"x")
        self.assert_refused("file_size_mismatch", SHARD)

    def test_missing_shard(self):
        (self.source / SHARD).unlink()
        self.assert_refused("missing_shard", SHARD)

    def test_git_lfs_pointer(self):
        (self.source / SHARD).write_text(LFS_POINTER)
        self.assert_refused("git_lfs_pointer", SHARD, "git lfs pull")

    def test_unfinished_download(self):
        path = self.source / SHARD
        path.rename(path.with_name(SHARD + ".incomplete"))
        self.assert_refused("incomplete_download", "not finished", "download again")

    def test_lora_adapter(self):
        shutil.rmtree(self.source)
        self.source.mkdir()
        (self.source / "adapter_config.json").write_text("{}")
        (self.source / "adapter_model.safetensors").write_bytes(b"")
        self.assert_refused("lora_adapter", "LoRA", "base model")

    def test_not_gpt_oss(self):
        replace_weights(self.source, {"bert.weight": Tensor("F32", [1], b"\0\0\0\0")})
        self.assert_refused("unknown_layout")

    def test_no_such_source(self):
        for source in ("nowhere", "org/name", "src/config.json"):
            with self.subTest(source):
                self.assert_refused("not_a_checkpoint", source=source)

    def test_header_that_is_no_json(self):
        (self.source / SHARD).write_bytes((20).to_bytes(8, "little") + b"{" * 20)
        self.assert_refused("invalid_header_json", SHARD)

    def test_scales_without_blocks(self):
        tensors = read(self.source)
        name = "model.layers.1.mlp.experts.down_proj"
        del tensors[f"{name}_blocks"]
        replace_weights(self.source, tensors)
        self.assert_refused("missing_partner", f"{name}_scales")

    def test_missing_tensor(self):
        name = "model.layers.1.self_attn.sinks"
        index = json.loads((self.source / INDEX).read_text())["weight_map"]
        path = self.source / index[name]
        tensors = read_file(path)
        del tensors[name]
        write_file(path, tensors)
        self.assert_refused("missing_tensor", name, path.name)
        (self.source / INDEX).unlink()
        self.assert_refused("missing_tensor", "layer 1 has no attention sinks")

    def test_config_that_contradicts_the_tensors(self):
        path = self.source / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"hidden_size": 96}))
        self.convert("src", "dst", "--to", "hf", code=SOURCE)
        path.write_text("{not json")
        printed = self.convert("src", "dst", "--to", "hf", code=SOURCE)
        self.assertIn("config.json", printed.stderr)

    def test_no_config_is_no_obstacle(self):
        (self.source / "config.json").unlink()
        self.assert_warned("config.json")
        self.assertNotIn("config.json", names(self.folder / "dst"))
        shown = self.mxferry("inspect", "src", "--json").json
        self.assertIs(shown["has_config"], False)
        self.assertEqual(shown["config"]["hidden_size"], 64)

    def test_control_characters_of_names_do_not_reach_the_terminal(self):
        tensors = read(self.source) | {"evil\x1b[2J\n": Tensor("F32", [1], b"\0\0\0\0")}
        replace_weights(self.source, tensors)
        printed = self.convert("src", "dst", "--to", "hf")
        shown = self.mxferry("inspect", "src")
        text = printed.stdout + printed.stderr + shown.stdout + shown.stderr
        self.assertNotIn("\x1b", text)
        self.assertIn("evil\\x1b", text)
        self.assertIn("evil\x1b[2J\n", read(self.folder / "dst"))


class Nonfinite(SourceTest):
    """One block of layer 1's down_proj gets another scale."""

    EXPERT, ROW, GROUP = 2, 17, 1
    NAME = "model.layers.1.mlp.experts.down_proj"

    def set_scale(self, scale: int, block: bytes) -> int:
        tensors = read(self.source)
        scales = tensors[f"{self.NAME}_scales"]
        _, rows, groups = scales.shape
        index = (self.EXPERT * rows + self.ROW) * groups + self.GROUP
        for name, value, place in (
            ("scales", bytes([scale]), index),
            ("blocks", block, 16 * index),
        ):
            old = tensors[f"{self.NAME}_{name}"]
            data = old.data[:place] + value + old.data[place + len(value) :]
            tensors[f"{self.NAME}_{name}"] = old._replace(data=data)
        replace_weights(self.source, tensors)
        return index

    def test_is_refused_by_place(self):
        for scale, block in ((255, bytes(16)), (254, b"\x04" + bytes(15)), (253, b"\x60" * 16)):
            with self.subTest(scale):
                self.set_scale(scale, block)
                printed = self.convert("src", "dst", "--to", "hf", "--json", code=SOURCE)
                error = printed.json["error"]
                self.assertEqual(error["code"], "nonfinite_block")
                self.assertEqual(error["tensor"], f"{self.NAME}_blocks")
                place = f"expert {self.EXPERT}, row {self.ROW}, group {self.GROUP}"
                self.assertIn(place, error["message"])
                self.assertIn("--allow-nonfinite", error["message"])
                self.assertFalse((self.folder / "dst").exists())

    def test_small_codes_with_large_scales_are_fine(self):
        for scale, block in ((254, b"\x33" * 16), (253, b"\x55" * 16)):
            self.set_scale(scale, block)
            self.convert("src", "dst", "--to", "hf", "--force")

    def test_is_kept_where_allowed(self):
        self.set_scale(255, bytes(16))
        self.convert("src", "dst", "--to", "original", "--allow-nonfinite")
        weights = floats(read(self.folder / "dst")["block.1.mlp.mlp2_weight"])
        places = [index for index, weight in enumerate(weights) if weight != weight]
        first = ((self.EXPERT * 64 + self.ROW) * 3 + self.GROUP) * 32
        self.assertEqual(places, list(range(first, first + 32)))

    def test_blocks_that_move_untouched_are_not_judged(self):
        self.set_scale(255, bytes(16))
        self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4")
        self.assertEqual(read(self.folder / "dst"), read(self.source))


class Links(SourceTest):
    def test_within_the_folder_are_followed(self):
        (self.source / "blobs").mkdir()
        expected = read(self.source)
        readme = (self.source / "README.md").read_bytes()
        for name in (SHARD, "README.md"):
            (self.source / name).rename(self.source / "blobs" / name)
            (self.source / name).symlink_to(f"blobs/{name}")
        self.convert("src", "dst", "--to", "hf", "--dtype", "mxfp4")
        self.assertEqual(read(self.folder / "dst"), expected)
        self.assertFalse((self.folder / "dst/README.md").is_symlink())
        self.assertEqual((self.folder / "dst/README.md").read_bytes(), readme)

    def test_out_of_the_folder_are_not_followed(self):
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        (self.source / "LICENSE").symlink_to("../outside/secret")
        self.assertIn("LICENSE", self.convert("src", "dst", "--to", "hf").stderr)
        self.assertNotIn("LICENSE", names(self.folder / "dst"))
        shutil.rmtree(self.folder / "dst")
        (self.source / SHARD).rename(outside / SHARD)
        (self.source / SHARD).symlink_to(outside / SHARD)
        self.assert_refused("not_a_checkpoint", SHARD, "link")

    def test_config_out_of_the_folder_is_not_read(self):
        (self.source / "config.json").rename(self.folder / "config.json")
        (self.source / "config.json").symlink_to("../config.json")
        self.assert_refused("invalid_config", "link")

    def test_broken(self):
        (self.source / SHARD).unlink()
        (self.source / SHARD).symlink_to("gone")
        (self.source / "LICENSE").symlink_to("gone")
        self.convert("src", "dst", "--to", "hf", code=SOURCE)

    def test_loop(self):
        (self.source / SHARD).unlink()
        (self.source / SHARD).symlink_to(SHARD)
        self.convert("src", "dst", "--to", "hf", code=SOURCE)

    def test_index_may_not_name_files_elsewhere(self):
        outside = self.sample("other")
        for place in ("../other/", f"{outside}/"):
            index = json.loads((self.source / INDEX).read_text())
            index["weight_map"] = {k: place + v for k, v in index["weight_map"].items()}
            (self.source / INDEX).write_text(json.dumps(index))
            self.convert("src", "dst", "--to", "hf", code=SOURCE)


class Fifos(SourceTest):
    def test_in_place_of_a_file_do_not_hang(self):
        for name in (SHARD, INDEX, "config.json"):
            with self.subTest(name):
                (self.source / name).rename(self.folder / name)
                os.mkfifo(self.source / name)
                printed = self.convert("src", "dst", "--to", "hf", code=SOURCE)
                self.assertIn(name, printed.stderr)
                self.mxferry("inspect", "src", code=SOURCE)
                (self.source / name).unlink()
                (self.folder / name).rename(self.source / name)

    def test_beside_the_files_are_left_alone(self):
        os.mkfifo(self.source / "pipe")
        self.convert("src", "dst", "--to", "hf")
        self.assertNotIn("pipe", names(self.folder / "dst"))


class HubCache(SourceTest):
    """As huggingface_hub lays it out: snapshots of links into blobs, and refs."""

    COMMIT = "6cee5e81ee83917806bbde320786a8fb61efebee"

    def make_cache(self, cache: Path) -> Path:
        entry = cache / "models--openai--gpt-oss-tiny"
        snapshot = entry / "snapshots" / self.COMMIT
        snapshot.mkdir(parents=True)
        (entry / "blobs").mkdir()
        (entry / "refs").mkdir()
        (entry / "refs/main").write_text(self.COMMIT)
        for number, path in enumerate(sorted(self.source.iterdir())):
            shutil.copy(path, entry / "blobs" / f"{number:040x}")
            (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
        return entry

    def test_names_are_found_where_the_environment_says(self):
        cache = self.folder / "my cache"
        entry = self.make_cache(cache / "hub")
        self.assert_refused("not_a_checkpoint", "Download it", source="openai/gpt-oss-tiny")
        expected = read(self.source)
        for variable, value in [("HF_HOME", cache), ("HF_HUB_CACHE", cache / "hub")]:
            with self.subTest(variable):
                self.environment[variable] = str(value)
                for name in ("openai/gpt-oss-tiny", f"openai/gpt-oss-tiny@{self.COMMIT}"):
                    arguments = ["--to", "hf", "--dtype", "mxfp4", "--force"]
                    self.convert(name, "dst", *arguments)
                    self.assertEqual(read(self.folder / "dst"), expected)
                    self.assertIn("tokenizer.json", names(self.folder / "dst"))
                    self.assertFalse((self.folder / "dst/tokenizer.json").is_symlink())
                del self.environment[variable]
        self.environment["HF_HOME"] = str(cache)
        report = self.mxferry("inspect", "openai/gpt-oss-tiny", "--json", "--strict").json
        self.assertEqual(Path(report["path"]), entry / "snapshots" / self.COMMIT)

    def test_is_in_the_home_folder_by_default(self):
        self.make_cache(self.folder / ".cache/huggingface/hub")
        self.mxferry("inspect", "openai/gpt-oss-tiny", "--strict")

    def test_links_into_another_entry_are_not_followed(self):
        entry = self.make_cache(self.folder / ".cache/huggingface/hub")
        other = entry.with_name("models--x--y")
        other.mkdir()
        link = entry / "snapshots" / self.COMMIT / SHARD
        link.resolve().rename(other / SHARD)
        link.unlink()
        link.symlink_to(other / SHARD)
        self.assert_refused("not_a_checkpoint", SHARD, source="openai/gpt-oss-tiny")

    def test_a_blob_still_downloading(self):
        entry = self.make_cache(self.folder / ".cache/huggingface/hub")
        link = entry / "snapshots" / self.COMMIT / SHARD
        blob = link.resolve()
        blob.rename(blob.with_name(blob.name + ".incomplete"))
        link.unlink()
        self.assert_refused("incomplete_download", "again", source="openai/gpt-oss-tiny")


class Layout(SourceTest):
    def test_index_may_be_missing_where_the_files_agree(self):
        (self.source / INDEX).unlink()
        self.assert_warned(INDEX)

    def test_a_file_that_the_index_does_not_name(self):
        shutil.copy(self.source / SHARD, self.source / "old.safetensors")
        self.assert_warned("old.safetensors")

    def test_inspect_counts_what_is_there(self):
        report = self.mxferry("inspect", "src", "--json").json
        tensors = read(self.source)
        sizes = {name: len(tensor.data) for name, tensor in tensors.items()}
        self.assertEqual((report["tensors"], report["bytes"]), (len(sizes), sum(sizes.values())))
        packed = {k: v for k, v in sizes.items() if k.endswith(("_blocks", "_scales"))}
        expected = {"tensors": len(packed), "bytes": sum(packed.values())}
        self.assertEqual(report["by_dtype"]["U8"], expected)
        self.assertEqual(sum(p["tensors"] for p in report["by_part"].values()), len(sizes))
        self.assertEqual([shard["file"] for shard in report["shards"]], [FIRST_SHARD, SHARD])
        for shard in report["shards"]:
            self.assertEqual(shard["bytes"], (self.source / shard["file"]).stat().st_size)

    def test_inspect_changes_nothing_and_ends_well(self):
        before = {path.name: path.stat() for path in self.source.iterdir()}
        self.mxferry("inspect", "src", "--strict", code=DONE)
        after = {path.name: path.stat() for path in self.source.iterdir()}
        self.assertEqual(
            {name: (s.st_mtime_ns, s.st_size) for name, s in before.items()},
            {name: (s.st_mtime_ns, s.st_size) for name, s in after.items()},
        )


if __name__ == "__main__":
    unittest.main()
