"""What the command prints: for people at 80 columns, for programs as JSON, and not at all."""

import json
import os
import pty
import re
import select
import subprocess
import unittest

from checkpoints import Tensor, read, replace_weights
from command import (
    DONE,
    LIMIT,
    MANY_FILES,
    MANY_LAYERS,
    MXFERRY,
    SOURCE,
    SYSTEM,
    USAGE,
    CommandTest,
)

COMMANDS = ("convert", "inspect", "sample")
WIDTH = 80


class Width(CommandTest):
    def assert_narrow(self, text: str):
        for line in text.splitlines():
            self.assertLessEqual(len(line), WIDTH, line)

    def test_help(self):
        for arguments in (["--help"], *([command, "--help"] for command in COMMANDS)):
            with self.subTest(arguments):
                shown = self.mxferry(*arguments)
                self.assertIn("Usage: ", shown.stdout)
                self.assert_narrow(shown.stdout)

    def test_reports_and_errors(self):
        source = self.sample("src")
        tensors = read(source)
        long_name = "model.layers.0." + "a_very_long_name." * 3
        replace_weights(source, tensors | {long_name: Tensor("F32", [1], b"\0\0\0\0")})
        (source / ("a" * 60 + ".txt")).write_text("a long name")
        for arguments, code in [
            (["sample", "other"], DONE),
            (["inspect", "src"], DONE),
            (["inspect", "."], SOURCE),
            (["convert", "src", "dst", "--to", "nemo", "--dry-run"], DONE),
            (["convert", "src", "dst", "--to", "nemo", "--max-shard-size", "50KB"], DONE),
            (["convert", "src", "dst", "--to", "nemo"], USAGE),
            (["convert", "src", "dst", "--to", "hf", "--dry-run", "--exclude", ".*bias"], DONE),
            (["convert", "src", "new", "--to", "nemo", "--max-memory", "1KB"], LIMIT),
            (["convert", "src", "new", "--to", "nemo", "--max-shard-size", "5 parsecs"], USAGE),
            (["convert", "src", "new", "--to", "nemo", "--threads", "0"], USAGE),
            (["convert", "src", "new", "--to", "nemo", "--attn", "sdpa"], USAGE),
            (["convert", "src", "new", "--to", "megatron"], USAGE),
            (["convert", "src", "new", "--to", "nemo", "--dtype", "mxfp4"], USAGE),
            (["convert", "src/config.json", "new", "--to", "nemo"], SOURCE),
            (["convert", "openai/gpt-oss-20b", "new", "--to", "nemo"], SOURCE),
            (["convert"], USAGE),
            ([], USAGE),
        ]:
            with self.subTest(arguments):
                printed = self.mxferry(*arguments, code=code)
                self.assertTrue(printed.stdout + printed.stderr)
                self.assert_narrow(printed.stdout + printed.stderr)


class Json(CommandTest):
    def read_error(self, code: int, *arguments: str) -> dict:
        printed = self.mxferry(*arguments, code=code)
        self.assertEqual(printed.stderr, "")
        value = printed.json
        self.assertEqual(value["schema_version"], 1)
        self.assertIs(value["ok"], False)
        self.assertEqual(value["error"]["exit_code"], code)
        self.assertTrue(value["error"]["code"] and value["error"]["message"])
        return value

    def test_success_is_one_object(self):
        for arguments, keys in [
            (["sample", "src"], {"path", "tensors", "files", "bytes"}),
            (["inspect", "src"], {"layout", "layout_reason", "config", "by_dtype", "by_part"}),
            (["convert", "src", "dst", "--to", "hf", "--dry-run"], {"dry_run", "plan"}),
            (["convert", "src", "dst", "--to", "hf"], {"dry_run", "plan", "seconds"}),
        ]:
            with self.subTest(arguments):
                printed = self.mxferry(*arguments, "--json")
                self.assertEqual(printed.stderr, "")
                value = printed.json
                self.assertEqual(value["schema_version"], 1)
                self.assertEqual(value["command"], arguments[0])
                self.assertIs(value["ok"], True)
                self.assertLessEqual(keys, value.keys())

    def test_a_plan_foretells_the_conversion(self):
        self.sample("src")
        arguments = ["convert", "src", "dst", "--to", "nemo", "--max-shard-size", "100KB", "--json"]
        plan = self.mxferry(*arguments, "--dry-run").json["plan"]
        self.assertFalse((self.folder / "dst").exists())
        done = self.mxferry(*arguments).json
        self.assertLessEqual(done["peak_memory"], 2**30)
        tensors = read(self.folder / "dst")
        self.assertEqual(plan["tensors_out"], len(tensors))
        self.assertEqual(plan["bytes_out"], sum(len(t.data) for t in tensors.values()))
        planned = [t for shard in plan["shards"] for t in shard["tensors"]]
        shapes = {t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in planned}
        written = {name: (t.dtype, t.shape, len(t.data)) for name, t in tensors.items()}
        self.assertEqual(shapes, written)
        for shard in plan["shards"]:
            size = (self.folder / "dst" / shard["file"]).stat().st_size
            self.assertEqual(size, shard["bytes"])
        self.assertGreater(plan["peak_memory_estimate"], 0)
        self.assertGreater(plan["disk_needed"], plan["bytes_out"])

    def test_errors_are_one_object(self):
        self.sample("src")
        convert = ["convert", "src", "src/config.json/dst", "--to", "hf", "--json"]
        self.assertEqual(self.read_error(SYSTEM, *convert)["error"]["code"], "io_error")
        self.read_error(SOURCE, "convert", "nowhere", "dst", "--to", "hf", "--json")
        self.read_error(SOURCE, "inspect", "nowhere", "--json")
        self.read_error(USAGE, "sample", "src", "--json")
        self.read_error(LIMIT, "convert", "src", "d", "--to", "hf", "--max-memory=9", "--json")

    def test_usage_errors_are_one_object_and_name_the_command(self):
        for arguments, command in [
            (["convert", "src", "--json"], "convert"),
            (["convert", "--json", "src", "dst", "--to", "x"], "convert"),
            (["convert", "src", "dst", "--to", "hf", "--no-such-option", "--json"], "convert"),
            (["inspect", "--json"], "inspect"),
            (["--json"], ""),
            (["convrt", "--json"], ""),
        ]:
            with self.subTest(arguments):
                value = self.read_error(USAGE, *arguments)
                self.assertEqual(value["command"], command)
                self.assertEqual(value["error"]["code"], "invalid_argument")

    def test_problems_of_a_source_are_in_the_object(self):
        source = self.sample("src")
        (source / "config.json").unlink()
        problems = self.mxferry("inspect", "src", "--json").json["problems"]
        self.assertEqual([p["severity"] for p in problems], ["warning"])
        printed = self.mxferry("convert", "src", "dst", "--to", "hf", "--json")
        self.assertEqual(printed.json["plan"]["warnings"], problems)

    def test_a_full_disk_under_stdout_is_an_error(self):
        self.sample("src")
        for arguments in (["inspect", "src"], ["inspect", "src", "--json"], ["--help"]):
            with self.subTest(arguments), open("/dev/full", "w") as full:
                command = [MXFERRY, *arguments]
                ended = subprocess.run(
                    command, cwd=self.folder, stdout=full, stderr=subprocess.PIPE, text=True
                )
                self.assertEqual(ended.returncode, SYSTEM)
                self.assertIn("stdout", ended.stderr)


class Quiet(CommandTest):
    def test_success_prints_nothing(self):
        for option in ("--quiet", "-q"):
            name = f"src{option}"
            for arguments in (
                ["sample", name],
                ["inspect", name],
                ["convert", name, f"dst{option}", "--to", "nemo"],
            ):
                printed = self.mxferry(*arguments, option)
                self.assertEqual(printed, ("", ""), arguments)

    def test_warnings_and_errors_remain(self):
        source = self.sample("src")
        (source / "config.json").unlink()
        printed = self.mxferry("convert", "src", "dst", "--to", "nemo", "--quiet")
        self.assertEqual(printed.stdout, "")
        self.assertIn("config.json: the file is missing", printed.text)
        printed = self.mxferry("inspect", "src", "--quiet")
        self.assertIn("config.json: the file is missing", printed.text)
        printed = self.mxferry("convert", "src", "dst", "--to", "nemo", "--quiet", code=USAGE)
        self.assertIn("--force", printed.stderr)


class Version(CommandTest):
    def test_is_one_line(self):
        shown = self.mxferry("--version").stdout
        self.assertRegex(shown, r"\Amxferry \d+\.\d+\.\d+ \(\w+\)\n\Z")

    def test_verbose_lists_the_libraries(self):
        for arguments in (("--version", "--verbose"), ("--verbose", "--version")):
            first, *lines = self.mxferry(*arguments).stdout.splitlines()
            self.assertEqual(first + "\n", self.mxferry("--version").stdout)
            versions = dict(line.split(maxsplit=1) for line in lines)
            names = ["Highway", "PCRE2", "Nettle", "fmt", "nlohmann-json", "libstdc++", "glibc"]
            self.assertEqual(list(versions), [*names, "CLI11"])
            for version in versions.values():
                self.assertRegex(version, r"^\d+")
            system = os.confstr("CS_GNU_LIBC_VERSION")
            self.assertEqual(f"glibc {versions['glibc']}", system)


class Terminal(CommandTest):
    def run_on_terminal(self, *arguments: str) -> str:
        """Everything that arrives at a terminal that is stdout and stderr of the command."""
        master, slave = pty.openpty()
        process = self.start(*arguments, stdout=slave, stderr=slave)
        os.close(slave)
        received = b""
        while True:
            self.assertTrue(select.select([master], [], [], 60)[0], "it hangs")
            try:
                part = os.read(master, 65536)
            except OSError:  # what a terminal without a process gives
                break
            if not part:
                break
            received += part
        os.close(master)
        self.assertEqual(process.wait(timeout=60), DONE)
        return received.decode()

    def test_progress_is_a_bar_that_redraws_itself(self):
        self.sample("src", *MANY_LAYERS)
        arguments = ["convert", "src", "dst", "--to", "hf", "--no-sync", *MANY_FILES]
        text = self.run_on_terminal(*arguments)
        bars = re.findall(r"\r\x1b\[K([^\r\n]+)", text)
        bars = [bar for bar in bars if bar.startswith("[")]
        self.assertTrue(bars, text)
        shape = r"\[#*\.*\] +\d+ %  \S+ k?M?B of \S+ MB  \d+\.\d\d GB/s  \S+ left"
        for bar in bars:
            self.assertRegex(bar, rf"^{shape}$")
            self.assertLess(len(bar), WIDTH)
        self.assertIn("100 %", bars[-1])
        # The last bar is wiped away before the summary.
        self.assertRegex(text, r"left\r\x1b\[Ksrc \(hf\)")
        for line in re.sub(r"\x1b\[K", "", text).replace("\r", "\n").splitlines():
            self.assertLessEqual(len(line), WIDTH)
        self.assertNotIn("\x1b", self.run_on_terminal(*arguments, "--force", "--quiet"))

    def test_json_on_a_terminal_is_still_one_object(self):
        self.sample("src")
        text = self.run_on_terminal("convert", "src", "dst", "--to", "hf", "--json", "--quiet")
        self.assertIs(json.loads(text)["ok"], True)


if __name__ == "__main__":
    unittest.main()
