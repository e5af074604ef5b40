"""Every ```sh block of README.md and docs/ runs, in order, in one new home folder a page.

A block opened with ```sh no-run is shown but not run; the line before it says why:

    <!-- no-run: needs a network -->
"""

import re
import sys
import unittest
from pathlib import Path
from typing import NamedTuple

from shell import Shell

ROOT = Path(__file__).resolve().parents[2]
OPENING = re.compile(r"```(\w+)( no-run)?\s*")
REASON = re.compile(r"<!-- no-run: (.+) -->")


class Block(NamedTuple):
    place: str  # file and line
    commands: str
    not_run_because: str | None


def blocks(page: str, text: str) -> list[Block]:
    """The shell blocks of a page. AssertionError for one that gives no reason not to run."""
    found = []
    previous = ""  # the last line before the block that is not empty
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        opening = OPENING.fullmatch(line.strip())
        if opening:
            content = []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                content.append(inner)
            if opening[1] in ("sh", "bash", "shell", "console"):
                found.append(shell_block(f"{page}:{number}", opening, previous, content))
        if line.strip():
            previous = line.strip()
    return found


def shell_block(place: str, opening: re.Match, previous: str, content: list[str]) -> Block:
    if opening[1] != "sh":
        raise AssertionError(f"{place}: shell blocks are opened with ```sh")
    reason = REASON.fullmatch(previous) if opening[2] else None
    if opening[2] and not reason:
        raise AssertionError(f"{place}: <!-- no-run: REASON --> must stand before the block")
    return Block(place, "\n".join(content), reason[1] if reason else None)


class Pages(unittest.TestCase):
    def test_run(self):
        for path in [*ROOT.glob("README.md"), *sorted((ROOT / "docs").glob("*.md"))]:
            page = str(path.relative_to(ROOT))
            shown = blocks(page, path.read_text())
            for block in shown:
                if block.not_run_because:
                    print(f"{block.place}: not run: {block.not_run_because}", file=sys.stderr)
            to_run = [block for block in shown if not block.not_run_because]
            print(f"{page}: {len(to_run)} of {len(shown)} blocks run", file=sys.stderr)
            if to_run:
                self.run_in_order(to_run)

    def run_in_order(self, to_run: list[Block]):
        with Shell() as shell:
            for block in to_run:
                with self.subTest(block.place):
                    shell.run(block.commands)


class Rule(unittest.TestCase):
    def test_finds_blocks(self):
        page = "a\n```sh\nx\ny\n```\n```cpp\nz\n```\n\n"
        page += "<!-- no-run: costs -->\n\n```sh no-run\nw\n```\n"
        self.assertEqual(
            blocks("p.md", page), [Block("p.md:2", "x\ny", None), Block("p.md:12", "w", "costs")]
        )

    def test_finds_a_missing_reason(self):
        with self.assertRaises(AssertionError):
            blocks("p.md", "text\n```sh no-run\nx\n```\n")
        with self.assertRaises(AssertionError):
            blocks("p.md", "<!-- no-run: for another block -->\n\ntext\n\n```sh no-run\nx\n```\n")

    def test_finds_a_shell_block_under_another_name(self):
        with self.assertRaises(AssertionError):
            blocks("p.md", "```bash\nx\n```\n")

    def test_finds_a_command_that_fails(self):
        shell = Shell()
        self.assertEqual(shell.run("pwd").strip(), shell.folder.name)
        with self.assertRaises(AssertionError):
            shell.run("false\ntrue")
        with self.assertRaises(AssertionError):
            shell.run("false | true")
        shell.folder.cleanup()


if __name__ == "__main__":
    unittest.main()
