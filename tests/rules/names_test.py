"""Rule: namespace mxferry holds what include/mxferry/ declares, and nothing else.

Everything else is in mxferry::internal, so that a program that writes `using namespace mxferry` may
have a Plan or a Tile of its own, and links whatever it calls them.

MXFERRY_LIBRARY names the static library, CXX the compiler.
"""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import repository

COMMENT = re.compile(r"//[^\n]*")
TYPE = re.compile(
    r"^\s*(?:template <[^>]*>\s*)?(?:(?:class|struct|enum class) (\w+)|using (\w+) =)", re.M
)
# A function at the level of the namespace: its line begins with its type.
FUNCTION = re.compile(r"^(?:inline |constexpr |\[\[\w+\]\] )*[\w:<>&*, ]+?[ &*](\w+)\(", re.M)
CONSTANT = re.compile(r"^inline constexpr [\w:<>, ]+ (\w+)\b", re.M)
# A demangled name in namespace mxferry: the first word behind it.
IN_NAMESPACE = re.compile(r"(?:[\w ]+ for )?mxferry::(\w+)")


def headers(folder: str) -> list[Path]:
    return [path for path in repository.files(".h") if path.parts[0] == folder]


def code_of(path: Path) -> str:
    return COMMENT.sub("", (repository.ROOT / path).read_text())


def types_of(folder: str) -> set[str]:
    found = [match for path in headers(folder) for match in TYPE.finditer(code_of(path))]
    return {match[1] or match[2] for match in found}


def public_names() -> set[str]:
    found = types_of("include")
    for path in headers("include"):
        found.update(FUNCTION.findall(code_of(path)), CONSTANT.findall(code_of(path)))
    return found


def defined_names(library: str) -> set[str]:
    """The first names in namespace mxferry of all that the library defines for others."""
    command = ["nm", "--demangle", "--defined-only", "--extern-only", "--format=just-symbols"]
    output = subprocess.run([*command, library], capture_output=True, text=True, check=True).stdout
    return {match[1] for match in map(IN_NAMESPACE.match, output.splitlines()) if match}


def compile_text(text: str) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "user.cc"
        source.write_text(text)
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-fsyntax-only", str(source)]
        command += ["-I", str(repository.ROOT / "include")]
        return subprocess.run(command, capture_output=True, text=True)


def user_program(types: set[str]) -> str:
    """Includes every public header, and uses types of its own beside the library's."""
    lines = [f"#include <{path.relative_to('include')}>" for path in headers("include")]
    lines += ["using namespace mxferry;"]
    for name in sorted(types):
        lines += [f"struct {name} {{}};", f"{name} make_{name}();"]
    return "\n".join(lines) + "\n"


class Names(unittest.TestCase):
    def test_the_library_defines_public_names_and_internal_ones(self):
        found = defined_names(os.environ["MXFERRY_LIBRARY"])
        self.assertGreater(len(found), 20)
        self.assertEqual(found - public_names() - {"internal"}, set())

    def test_users_may_have_types_of_all_internal_names(self):
        internal = types_of("src") - types_of("include")
        self.assertGreater(len(internal), 100)
        compiled = compile_text(user_program(internal))
        self.assertEqual(compiled.returncode, 0, compiled.stderr)

    def test_no_internal_type_has_the_name_of_a_public_one(self):
        self.assertEqual(types_of("src") & types_of("include"), set())


class Rule(unittest.TestCase):
    def test_finds_a_name_that_the_library_has_taken(self):
        self.assertNotEqual(compile_text(user_program({"ConvertOptions"})).returncode, 0)

    def test_knows_what_is_public(self):
        names = public_names()
        for name in ("Tensor", "convert", "parse_dtype", "DeviceMesh", "FP4_VALUES"):
            self.assertIn(name, names)
        self.assertNotIn("Recipe", names)


if __name__ == "__main__":
    unittest.main()
