"""Rule: a source file includes only what the table of docs/design.md allows its folder."""

import re
import unittest
from pathlib import Path
from typing import NamedTuple

import repository

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
# The beginning of a library's header names -> its name in the table.
LIBRARIES = {
    "hwy/": "Highway",
    "mpi.h": "MPI",
    "nettle/": "Nettle",
    "nlohmann/": "nlohmann-json",
    "pcre2.h": "PCRE2",
    "fmt/": "{fmt}",
    "CLI/": "CLI11",
    "nanobind/": "nanobind",
}
# Folders beside src/ whose sources include their neighbours by name alone -> where those lie.
OWN = {"cli": "cli", "python": "python/bindings"}
POSIX = re.compile(r"(sys|linux|gnu)/[\w-]+\.h|(fcntl|unistd|sched|signal|pthread|dirent|poll)\.h")
# Headers of the C++ standard library have no dot; those of C have one and are not used.
STANDARD = re.compile(r"[a-z_]+")


class Layer(NamedTuple):
    includes: set[str]  # names of src/ folders, the own one and base among them
    libraries: set[str]


def parse_table(markdown: str) -> dict[str, Layer]:
    """The rows by folder: "include/mxferry", "src/base", ..., "examples"."""
    layers: dict[str, Layer] = {}
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        folder = re.fullmatch(r"`([\w/]+)/`", cells[0])
        if len(cells) != 4 or not folder:
            continue
        includes, libraries = ({x.strip() for x in cell.split(",")} - {"-"} for cell in cells[2:])
        if folder[1].startswith("src/"):
            includes |= {"base", folder[1].removeprefix("src/")}
        layers[folder[1]] = Layer(includes, libraries)
    return layers


def violation(header: str, folder: str, layers: dict[str, Layer]) -> str | None:
    """What is wrong with a file of the folder including the header; None where nothing is."""
    layer = layers[folder]
    first = header.split("/")[0]
    if first == "mxferry" or STANDARD.fullmatch(header):
        return None
    if f"src/{first}" in layers:
        return None if first in layer.includes else f"the layer {first}"
    if POSIX.fullmatch(header):
        return None if "POSIX" in layer.libraries else "POSIX"
    for beginning, library in LIBRARIES.items():
        if header.startswith(beginning):
            return None if library in layer.libraries else f"the library {library}"
    if folder in OWN and (repository.ROOT / OWN[folder] / header).is_file():
        return None
    return "a header that this rule does not know"


def folder_of(path: Path) -> str | None:
    """The folder whose row in the table the file is under; None for files under no rule."""
    if path.parts[0] in ("src", "include") and len(path.parts) > 2:
        return "/".join(path.parts[:2])
    return path.parts[0] if path.parts[0] in ("cli", "examples", "python") else None


def violations(path: Path, text: str, layers: dict[str, Layer]) -> list[str]:
    folder = folder_of(path)
    if folder is None:
        return []
    if folder not in layers:
        return [f"{path}: docs/design.md has no row for {folder}/"]
    found = [(header, violation(header, folder, layers)) for header in INCLUDE.findall(text)]
    return [f"{path}: includes {header}: {what}" for header, what in found if what]


LAYERS = parse_table((repository.ROOT / "docs/design.md").read_text())


class Sources(unittest.TestCase):
    def test_include_only_what_the_table_allows(self):
        paths = [path for path in repository.files(".h", ".cc") if folder_of(path)]
        self.assertGreater(len(paths), 10)
        found = []
        for path in paths:
            found += violations(path, (repository.ROOT / path).read_text(), LAYERS)
        self.assertEqual(found, [], "\n" + "\n".join(found))


class Rule(unittest.TestCase):
    def check(self, path: str, include: str, allowed: bool):
        found = violations(Path(path), f"#include {include}\n", LAYERS)
        self.assertEqual(len(found), 0 if allowed else 1, found)

    def test_reads_the_table(self):
        self.assertEqual(LAYERS["src/base"], Layer({"base"}, {"POSIX", "Nettle", "PCRE2"}))
        self.assertEqual(LAYERS["src/recipe"], Layer({"base", "recipe", "tensor"}, set()))
        self.assertIn("adapter", LAYERS["src/verbs"].includes)
        self.assertEqual(LAYERS["include/mxferry"].includes, set())

    def test_allows_what_the_table_names(self):
        self.check("src/mxfp4/a.cc", '"hwy/highway.h"', True)
        self.check("src/flow/a.cc", '"mxfp4/decode.h"', True)
        self.check("src/flow/a.cc", '"flow/tile.h"', True)
        self.check("src/tensor/a.h", '"mxferry/tensor.h"', True)
        self.check("include/mxferry/a.h", "<string_view>", True)
        self.check("tests/mxfp4/a.cc", '"verbs/convert.h"', True)
        self.check("python/bindings/a.cc", "<nanobind/nanobind.h>", True)
        self.check("python/bindings/a.cc", '"arrays.h"', True)

    def test_finds_a_layer_that_the_row_does_not_name(self):
        self.check("src/mxfp4/a.cc", '"checkpoint/folder.h"', False)
        self.check("src/base/a.cc", '"tensor/ranges.h"', False)
        self.check("include/mxferry/a.h", '"base/file.h"', False)
        self.check("cli/a.cc", '"base/file.h"', False)
        self.check("examples/a.cc", '"tensor/ranges.h"', False)
        self.check("python/bindings/a.cc", '"base/file.h"', False)

    def test_finds_a_library_that_the_row_does_not_name(self):
        self.check("src/base/a.cc", "<nlohmann/json.hpp>", False)
        self.check("include/mxferry/a.h", '"hwy/base.h"', False)
        self.check("src/flow/a.cc", "<sys/mman.h>", False)
        self.check("src/flow/a.cc", "<fmt/core.h>", False)
        self.check("cli/a.cc", "<nanobind/nanobind.h>", False)

    def test_finds_unknown_headers_and_folders(self):
        self.check("src/flow/a.cc", "<boost/any.hpp>", False)
        self.check("src/flow/a.cc", '"neighbour.h"', False)
        self.check("src/misc/a.cc", "<string>", False)


if __name__ == "__main__":
    unittest.main()
