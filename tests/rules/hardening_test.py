"""Rule: the program is linked and compiled as cmake/hardening.cmake says."""

import os
import subprocess
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["MXFERRY"])


def readelf(option: str) -> str:
    command = ["readelf", "--wide", option, str(PROGRAM)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Program(unittest.TestCase):
    def test_may_be_loaded_anywhere(self):
        self.assertRegex(readelf("--file-header"), r"Type:\s+DYN")
        self.assertRegex(readelf("--dynamic"), r"FLAGS_1.*\bPIE\b")

    def test_resolves_its_functions_before_it_runs_and_closes_the_table(self):
        self.assertRegex(readelf("--dynamic"), r"FLAGS_1.*\bNOW\b")
        self.assertIn("GNU_RELRO", readelf("--program-headers"))

    def test_has_no_memory_that_is_written_and_run(self):
        segments = readelf("--program-headers")
        self.assertRegex(segments, r"GNU_STACK.*\sRW\s")
        self.assertNotRegex(segments, r"LOAD.*\sRWE\s")

    def test_looks_after_its_stack(self):
        self.assertIn("__stack_chk_fail", readelf("--dyn-syms"))

    def test_checks_the_calls_that_overflow_buffers(self):
        symbols = readelf("--dyn-syms")
        if "__asan_init" in symbols or "__tsan_init" in symbols or "__ubsan_" in symbols:
            self.skipTest("a sanitizer looks at these calls")
        self.assertRegex(symbols, r"__\w+_chk\b(?<!__stack_chk)")

    def test_checks_the_indices_of_the_standard_library(self):
        self.assertIn("__glibcxx_assert_fail", readelf("--dyn-syms"))


if __name__ == "__main__":
    unittest.main()
