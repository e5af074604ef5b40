"""Rule: the library never prints and never ends the process.

Two looks at it, because each has a blind spot. The symbols that the objects of the library want
from elsewhere show what headers of other libraries bring in. But the standard library's own inline
code wants std::terminate (the destructor of std::thread) and, by compiler, __glibcxx_assert_fail,
so these two say nothing; the sources show who calls them by name.

MXFERRY_LIBRARY names the static library, CXX the compiler.
"""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import repository

SYMBOLS = re.compile(
    r"(__)?v?f?d?w?printf(_chk)?|f?puts|put(char|c|w)|fput[cs]|fwrite|perror|v?syslog|stdout|stderr"
    r"|std::w?(cout|cerr|clog)|std::ios_base::Init::.*|std::v?print.*"
    r"|(void )?fmt::.*::v?print(ln)?(<.*)?"
    r"|abort|exit|_exit|_Exit|quick_exit|raise|kill|__assert_fail|__assert_perror_fail|hwy::Abort"
)
CALLS = re.compile(
    r"#\s*include\s*<(iostream|cstdio|stdio\.h|print|cassert|assert\.h|syslog\.h)>"
    r"|\bstd::w?(cout|cerr|clog)\b|\bstd::terminate\b|\b__builtin_(trap|abort)\b"
    r"|\b(v?f?printf|f?puts|putchar|perror|abort|_?exit|_Exit|quick_exit|assert)\s*\("
    r"|\bHWY_(D?ASSERT\w*|ABORT)\b"
)
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def wanted_symbols(file: str) -> set[str]:
    """What the objects in the file use but do not define, demangled, without argument lists."""
    command = ["nm", "--demangle", "--undefined-only", "--format=just-symbols", file]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split("@")[0].split("(")[0].strip() for line in output.splitlines()}


# Highway's own assertions, which newer releases have in sanitizer builds alone.
ALLOWED = {"hwy::Abort"}


def forbidden_symbols(file: str) -> list[str]:
    found = wanted_symbols(file) - ALLOWED
    return sorted(symbol for symbol in found if SYMBOLS.fullmatch(symbol))


def forbidden_calls(source: str) -> list[str]:
    code = COMMENT_OR_STRING.sub(" ", source)
    return [match[0] for match in CALLS.finditer(code)]


class Library(unittest.TestCase):
    def test_wants_no_symbol_that_prints_or_ends_the_process(self):
        self.assertGreater(len(wanted_symbols(os.environ["MXFERRY_LIBRARY"])), 20)
        self.assertEqual(forbidden_symbols(os.environ["MXFERRY_LIBRARY"]), [])

    def test_sources_call_nothing_that_prints_or_ends_the_process(self):
        for path in repository.files(".h", ".cc"):
            if path.parts[0] in ("src", "include"):
                with self.subTest(path=str(path)):
                    self.assertEqual(forbidden_calls((repository.ROOT / path).read_text()), [])


class Rule(unittest.TestCase):
    def symbols_of(self, body: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "sample.cc"
            source.write_text(
                "#include <cstdio>\n#include <cstdlib>\n#include <iostream>\n#include <stdexcept>\n"
                f"void sample(const char* text) {{ {body} }}\n"
            )
            command = [os.environ.get("CXX", "c++"), "-std=c++20", "-c", source, "-o", source.stem]
            subprocess.run(command, cwd=folder, check=True)
            return forbidden_symbols(f"{folder}/{source.stem}")

    def test_finds_symbols(self):
        self.assertIn("puts", self.symbols_of("std::puts(text);"))
        self.assertIn("stderr", self.symbols_of("std::fputs(text, stderr);"))
        self.assertIn("abort", self.symbols_of("if (!text) std::abort();"))
        self.assertIn("exit", self.symbols_of("if (!text) std::exit(1);"))
        self.assertIn("std::cout", self.symbols_of("std::cout << text;"))

    def test_finds_calls(self):
        for line in (
            "#include <iostream>",
            "std::cerr << 1;",
            'std::printf("x");',
            "abort();",
            "std::exit(1);",
            "assert(x);",
            "std::terminate();",
            "HWY_ASSERT(x);",
        ):
            self.assertEqual(len(forbidden_calls(line)), 1, line)

    def test_takes_innocent_code(self):
        for line in (
            "static_assert(x);",
            'snprintf(buffer, 9, "%d", x);',
            "at_exit(x);  // or abort()",
            'fail("exit(1)"); /* puts(x) */',
        ):
            self.assertEqual(forbidden_calls(line), [])


if __name__ == "__main__":
    unittest.main()
