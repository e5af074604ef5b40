"""The command: `mxferry` and `python -m mxferry` are the program that the package carries."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Becomes the program, so that signals and exit codes are its own."""
    program = Path(__file__).with_name("bin") / "mxferry"
    os.execv(program, ["mxferry", *sys.argv[1:]])


if __name__ == "__main__":
    main()
