"""Every example that the command's help shows runs, and every subcommand shows one.

The examples of one subcommand are alternatives: each begins in a home folder of its own. There,
`out` is free for `mxferry convert` to make, and has been made by it for the other subcommands. The
examples of `mxferry --help` itself follow one another.
"""

import os
import re
import subprocess
import unittest

from shell import Shell

# A line of help: two spaces, the name, two spaces or more, what it does.
SUBCOMMAND = re.compile(r"  ([a-z][a-z-]*)\s{2,}\S.*")


def section(help_text: str, title: str) -> list[str]:
    """The lines below "Title:" up to the next empty line."""
    lines = help_text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip().lower() == f"{title}:"]
    if not starts:
        return []
    body = lines[starts[0] + 1 :]
    ends = [i for i, line in enumerate(body) if not line.strip()]
    return body[: ends[0]] if ends else body


def subcommands(help_text: str) -> list[str]:
    matches = (SUBCOMMAND.fullmatch(line) for line in section(help_text, "subcommands"))
    return [match[1] for match in matches if match]


def examples(help_text: str) -> list[str]:
    lines = (line.strip() for line in section(help_text, "examples"))
    return [line for line in lines if line.startswith("mxferry ")]


def help_of(*arguments: str) -> str:
    command = [os.environ["MXFERRY"], *arguments, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Help(unittest.TestCase):
    def test_examples_of_the_command_run(self):
        with Shell() as shell:
            for example in examples(help_of()):
                with self.subTest(example):
                    shell.run(example)

    def test_examples_of_each_subcommand_run(self):
        names = subcommands(help_of())
        self.assertIn("convert", names)
        for name in names:
            shown = examples(help_of(name))
            with self.subTest(name):
                self.assertTrue(shown, f"mxferry {name} --help shows no example")
            for example in shown:
                with self.subTest(example), Shell() as shell:
                    if name != "convert":
                        shell.run("mxferry convert gpt-oss-20b out --to nemo --checksum")
                    shell.run(example)


class Rule(unittest.TestCase):
    TEXT = """Usage: mxferry [OPTIONS] SUBCOMMAND

Subcommands:
  convert                     Convert a checkpoint
                              to another layout
  verify                      Compare two checkpoints

Examples:
  mxferry convert gpt-oss-20b out --to nemo
      for NeMo AutoModel

Options:
  -h,--help
"""

    def test_reads_subcommands(self):
        self.assertEqual(subcommands(self.TEXT), ["convert", "verify"])

    def test_reads_examples(self):
        self.assertEqual(examples(self.TEXT), ["mxferry convert gpt-oss-20b out --to nemo"])
        self.assertEqual(examples("Examples:\nOptions:\n"), [])


if __name__ == "__main__":
    unittest.main()
