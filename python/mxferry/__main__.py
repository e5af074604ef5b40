"""The command: `mxferry` and `python -m mxferry` are the program that the package carries.

Under torchrun, `-m mxferry convert ...` is one conversion by all ranks.
"""

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("bin") / "mxferry"


def main() -> None:
    """Becomes the program, so that signals and exit codes are its own."""
    arguments = ["mxferry", *sys.argv[1:]]
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if is_torchrun and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .torchrun import run_as_rank

        sys.exit(run_as_rank(PROGRAM, arguments))
    os.execv(PROGRAM, arguments)


if __name__ == "__main__":
    main()
