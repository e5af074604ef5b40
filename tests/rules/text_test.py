"""Rules for every text file: ASCII, nothing left to do later, sources of bounded length."""

import re
import unittest

import repository

# Binary by their suffix: these may hold any byte.
BINARY = (".safetensors", ".bin", ".gz", ".png")
SOURCES = (".h", ".cc", ".py", ".sh", ".cmake", "CMakeLists.txt", "Makefile")
LONGEST_SOURCE = 500  # lines; beyond that a file has more than one subject
# Spelled so that this file does not break its own rule.
MARKS = [b"TO" + b"DO", b"FIX" + b"ME", b"X" * 3]
UNFINISHED = re.compile(rb"\b(" + b"|".join(MARKS) + rb")\b")


def violations(name: str, content: bytes) -> list[str]:
    found = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.isascii():
            found.append(f"{name}:{number}: not ASCII")
        if UNFINISHED.search(line):
            found.append(f"{name}:{number}: marks something unfinished")
        if line.endswith((b" ", b"\t", b"\r")):
            found.append(f"{name}:{number}: white space at the end")
    if content and not content.endswith(b"\n"):
        found.append(f"{name}: does not end with a line feed")
    lines = content.count(b"\n")
    if name.endswith(SOURCES) and lines > LONGEST_SOURCE:
        found.append(f"{name}: {lines} lines; at most {LONGEST_SOURCE}")
    return found


class Files(unittest.TestCase):
    def test_keep_the_rules(self):
        paths = [path for path in repository.files() if path.suffix not in BINARY]
        self.assertGreater(len(paths), 20)
        found = []
        for path in paths:
            found += violations(str(path), (repository.ROOT / path).read_bytes())
        self.assertEqual(found, [], "\n" + "\n".join(found))


class Rule(unittest.TestCase):
    def test_takes_plain_text(self):
        self.assertEqual(violations("a.cc", b"int todo = 0;  // mkdtemp XXXXXX\n"), [])
        self.assertEqual(violations("a.cc", b"\n" * LONGEST_SOURCE), [])
        self.assertEqual(violations("notes.md", b"\n" * (LONGEST_SOURCE + 1)), [])
        self.assertEqual(violations("empty", b""), [])

    def test_finds_each_violation(self):
        for content in (
            "caf\u00e9\n".encode(),
            *(b"// " + mark + b": later\n" for mark in MARKS),
            b"x \n",
            b"x\r\n",
            b"no end",
            b"\n" * (LONGEST_SOURCE + 1),
        ):
            self.assertEqual(len(violations("a.cc", content)), 1, content[:20])


if __name__ == "__main__":
    unittest.main()
