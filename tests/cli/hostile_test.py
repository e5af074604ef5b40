"""Checkpoints made to hurt: by memory, by time, by what their names do to a terminal or a page.

The first follow the attacks that the reference implementation of safetensors describes.
"""

import json
import os
import resource
import stat
import unittest
from html.parser import HTMLParser

from checkpoints import INDEX, Tensor, read, replace_weights
from command import DONE, IS_SANITIZED, SOURCE, USAGE, CommandTest

DIFFERS = 1  # of verify
MB = 1_000_000
FILE = "model.safetensors"
LARGEST_HEADER = 100 * MB
SCALES = "model.layers.{}.mlp.experts.down_proj_scales"
# Clears the screen, sets the title of the window, turns text round, ends lines; and markup.
HOSTILE = "evil\x1b[2J\x1b]0;title\x07\u009b31m\u202e\r\n\x7f<script>'\"&"


# Tensors and entries of an index: a sanitizer takes ten times as long.
MANY = 10_000 if IS_SANITIZED else 100_000
# As many tensors as a header may have.
MOST = 10_000 if IS_SANITIZED else 65_536


class HostileTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.source = self.folder / "src"
        self.source.mkdir()

    def write(self, header: bytes, data_size: int = 0, length: int | None = None):
        with (self.source / FILE).open("wb") as file:
            file.write((len(header) if length is None else length).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + data_size)

    def assert_refused(self, code: str, size: int):
        """By convert, and by inspect in memory that what is read bounds."""
        printed = self.convert("src", "dst", "--to", "hf", "--json", code=SOURCE)
        self.assertEqual(printed.json["error"]["code"], code)
        self.assertFalse((self.folder / "dst").exists())

        def bound_memory():
            most = 64 * MB + 3 * size
            if not IS_SANITIZED:  # a sanitizer reserves terabytes
                resource.setrlimit(resource.RLIMIT_AS, (most, most))

        self.mxferry("inspect", "src", code=SOURCE, preexec_fn=bound_memory)


class Attacks(HostileTest):
    def test_a_header_that_claims_more_than_there_is(self):
        for length in (3, LARGEST_HEADER):
            self.write(b"{}", length=length)
            self.assert_refused("invalid_header_length", 0)
        for length in (LARGEST_HEADER + 1, 2**63, 2**64 - 1):
            self.write(b"{}", length=length)
            self.assert_refused("header_too_large", 0)

    def test_a_header_of_a_hundred_megabytes_of_nothing(self):
        self.write(b"", LARGEST_HEADER, LARGEST_HEADER)
        self.assert_refused("invalid_header_json", LARGEST_HEADER)

    def test_tensors_that_all_lie_in_one_place(self):
        entry = '"{}":{{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
        for count in (10, MOST):
            header = "{" + ",".join(entry.format(i) for i in range(count)) + "}"
            self.write(header.encode(), 16)
            self.assert_refused("invalid_offset", len(header))

    def test_more_tensors_than_any_model_has(self):
        header = "{" + ",".join(f'"{i}":["U8",[],[0,1]]' for i in range(1_000_000)) + "}"
        self.write(header.encode(), 1)
        self.assert_refused("header_too_large", len(header))

    def test_a_tensor_of_all_elements_there_can_be(self):
        for shape in ("9223372036854775807", "4294967296,4294967296", "9223372036854775808"):
            self.write(f'{{"a":["F64",[{shape}],[0,0]]}}'.encode())
            self.assert_refused("size_overflow", 0)

    def test_nesting_without_end(self):
        for part in (b"[", b'{"a":'):
            header = b'{"a":{"x":' + part * (MB // len(part))
            self.write(header)
            self.assert_refused("invalid_header_json", len(header))

    def test_names_that_are_no_text(self):
        for name, code in ((b"\xff", "invalid_header_utf8"), (b"a\x00", "invalid_header_json")):
            self.write(b'{"' + name + b'":["U8",[],[0,1]]}', 1)
            self.assert_refused(code, 0)

    def test_the_same_name_twice(self):
        self.write(b'{"a":["U8",[0],[0,0]],"a":["U8",[0],[0,0]]}')
        self.assert_refused("duplicate_key", 0)

    def test_a_valid_header_with_a_problem_in_every_tensor(self):
        header = ",".join(f'"{SCALES.format(i)}":["U8",[1],[{i},{i + 1}]]' for i in range(MOST))
        self.write(f"{{{header}}}".encode(), MOST)
        self.assert_refused("invalid_config", len(header))
        shown = self.mxferry("inspect", "src", code=SOURCE)
        self.assertIn("more problems", shown.text)
        self.assertLess(len(shown.text), 50_000)

    def test_a_valid_header_of_as_much_as_there_may_be(self):
        ones = ",".join("1" * 32)
        zeros = ",".join("0" * 32)
        part = MOST // 2  # of what fits into one text
        info = ",".join(f'"{i}":{{"saved_offsets":[{zeros}]}}' for i in range(part))
        chunks = f'"__metadata__":{{"DCP_SHARDING_INFO":{json.dumps("{" + info + "}")}}},'
        for what, count, metadata, name, shape in (
            ("dimensions", MOST, "", "{}", ones),
            ("names", MOST, "", "x" * 1400 + "{}", ""),
            ("chunks", part, chunks, "{}", ones),
        ):
            with self.subTest(what):
                tensors = ",".join(
                    f'"{name.format(i)}":["U8",[{shape}],[{i},{i + 1}]]' for i in range(count)
                )
                header = f"{{{metadata}{tensors}}}"
                self.write(header.encode(), count)
                self.assert_refused("unknown_layout", len(header))

    def test_an_index_of_files_that_are_not_there(self):
        weights = {SCALES.format(i): f"model-{i}.safetensors" for i in range(MANY)}
        text = json.dumps({"weight_map": weights})
        (self.source / INDEX).write_text(text)
        self.assert_refused("missing_shard", len(text))

    def test_an_index_of_names_that_are_paths(self):
        for name in (
            "../a",
            "/etc/passwd",
            "a/../../b",
            "./a",
            "a//b",
            "a/",
            "",
            "a\x00",
            "\x1b[2J",
        ):
            with self.subTest(name):
                (self.source / INDEX).write_text(json.dumps({"weight_map": {"x": name}}))
                self.assert_refused("invalid_index", 0)

    def test_a_shard_that_is_a_device(self):
        for kind, device in ((stat.S_IFCHR, os.makedev(1, 5)), (stat.S_IFIFO, 0)):
            try:
                os.mknod(self.source / FILE, kind | 0o600, device)
            except PermissionError as error:
                self.skipTest(f"no device can be made: {error}")
            self.assert_refused("not_a_checkpoint", 0)
            (self.source / FILE).unlink()


class Configs(HostileTest):
    def test_are_refused_in_time_and_memory(self):
        self.write(b'{"model.layers.0.self_attn.sinks":["BF16",[1],[0,2]]}', 2)
        keys = ",".join(f'"{i}":{{}}' for i in range(300_000))
        for text in (
            f"{{{keys}}}",
            '{"a":[' + "{}," * 1_000_000 + "1]}",
            '{"a":"' + "x" * 3 * MB,
            '{"a":' + "[" * 3 * MB,
            " " * 5 * MB + "{}",
            "{}\0",
            '{"hidden_size":"\\u001b[2J"}',
            '{"\x1b[2J":1}',
        ):
            (self.source / "config.json").write_text(text)
            self.assert_refused("invalid_config", len(text))
            shown = self.mxferry("inspect", "src", code=SOURCE)
            self.assertLess(len(shown.text), 5_000)
            self.assertNotIn("\x1b", shown.text)

    def test_that_are_no_files_are_refused(self):
        self.write(b'{"model.layers.0.self_attn.sinks":["BF16",[1],[0,2]]}', 2)
        os.mkfifo(self.source / "config.json")
        self.assert_refused("invalid_config", 0)


class Terminal(CommandTest):
    """Names of folders, files and tensors, options, and what an index or a config says."""

    def setUp(self):
        super().setUp()
        self.source = self.folder / HOSTILE.replace("/", "")
        self.sample(self.source.name)
        self.tensors = read(self.source)
        self.hostile_name = f"model.layers.0.{HOSTILE}"

    def assert_clean(self, *arguments: str, code: int):
        printed = self.mxferry(*arguments, code=code)
        text = printed.stdout + printed.stderr
        self.assertTrue(text, arguments)
        for line in text.splitlines():
            self.assertTrue(line.isprintable(), (arguments, line))
        self.assertNotIn("\r", text)
        return text

    def test_sees_no_control_characters(self):
        name = self.source.name
        replace_weights(
            self.source, self.tensors | {self.hostile_name: Tensor("F32", [1], bytes(4))}
        )
        name_of_file = HOSTILE.replace("/", "")
        os.mkfifo(self.source / f"{name_of_file}.pipe")
        (self.source / f"{name_of_file}.txt").write_text("carried along")
        (self.source / f"{name_of_file}.link").symlink_to("/etc/hostname")
        convert = ("convert", name, f"dst{HOSTILE}", "--to", "nemo")
        for json_too in ((), ("--json",)):
            self.assert_clean(*convert, "--dry-run", *json_too, code=DONE)
            self.assert_clean(*convert, "--force", *json_too, code=DONE)
            self.assert_clean("inspect", name, *json_too, code=DONE)
            self.assert_clean("inspect", name, "--strict", *json_too, code=SOURCE)
            self.assert_clean("verify", name, f"dst{HOSTILE}", *json_too, code=DONE)
            self.assert_clean(*convert, *json_too, code=USAGE)
            self.assert_clean("sample", name, *json_too, code=USAGE)
            self.assert_clean("inspect", f"no{HOSTILE}", *json_too, code=SOURCE)
            for option in ("--to", "--exclude", "--max-memory", "--dtype", f"--{HOSTILE}"):
                self.assert_clean(*convert, option, f"({HOSTILE}", *json_too, code=USAGE)
            self.assert_clean(HOSTILE, *json_too, code=USAGE)

    def test_sees_no_control_characters_of_what_is_refused(self):
        name = self.source.name
        index = json.loads((self.source / INDEX).read_text())
        for weights in ({self.hostile_name: "gone"}, {"a": HOSTILE}, {self.hostile_name: 1}):
            (self.source / INDEX).write_text(
                json.dumps(index | {"weight_map": index["weight_map"] | weights})
            )
            self.assert_clean("inspect", name, code=SOURCE)
            self.assert_clean("convert", name, "dst", "--to", "hf", code=SOURCE)
        (self.source / INDEX).unlink()
        for dtype, shape, data in (("F64", [0], b""), ("U8", [1], b"x")):
            wrong = {f"{HOSTILE}.lora_A.{HOSTILE}": Tensor(dtype, shape, data)}
            replace_weights(self.source, self.tensors | wrong)
            self.assert_clean("inspect", name, code=SOURCE)
            self.assert_clean("convert", name, "dst", "--to", "hf", "--json", code=SOURCE)


class Page(HTMLParser):
    """What of a page could do something."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            assert name not in ("href", "src", "action", "formaction") or value.startswith("#")

    def handle_data(self, data):
        self.text += data


class Pages(CommandTest):
    def test_have_names_as_text(self):
        markup = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&javascript:x\x1b"
        folders = [f"{side}{markup}".replace("/", "") for side in "ab"]
        for folder, seed in zip(folders, "12", strict=True):
            self.sample(folder, "--seed", seed)
            tensors = read(self.folder / folder)
            name = f"model.layers.0.{folder[0]}{markup}"
            extra = {name: Tensor("F32", [1], bytes(4)), markup: Tensor("F32", [1], bytes(4))}
            replace_weights(self.folder / folder, tensors | extra)
        self.mxferry("verify", *folders, "--html", "page.html", "--quiet", code=DIFFERS)
        content = (self.folder / "page.html").read_text(encoding="ascii")
        page = Page()
        page.feed(content)
        self.assertLessEqual({"html", "head", "body", "table"}, page.tags)
        self.assertFalse(page.tags & {"script", "img", "iframe", "object", "embed", "link", "a"})
        self.assertFalse([name for name in page.attributes if name.startswith("on")])
        self.assertIn("<script>alert(1)", page.text)
        self.assertNotIn("\x1b", content)


if __name__ == "__main__":
    unittest.main()
