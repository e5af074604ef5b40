"""The command: `mxferry` and `python -m mxferry` run the program that the package contains.

Under torchrun, `-m mxferry convert ...` is one conversion by all ranks together.
"""

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("bin") / "mxferry"


def main() -> None:
    """Execs the program, so signals and exit codes are its own. Under torchrun, spawns it."""
    arguments = ["mxferry", *sys.argv[1:]]
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if is_torchrun and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .torchrun import run_as_rank

        sys.exit(run_as_rank(PROGRAM, arguments))
    os.execv(PROGRAM, arguments)


if __name__ == "__main__":
    main()
