"""The command: `mxferry` and `python -m mxferry` run the program that the package contains.

Under torchrun, `-m mxferry convert ...` is one conversion by all ranks together.
"""

import os
import subprocess
import sys
from pathlib import Path

from .dcp import as_safetensors, is_dcp
from .errors import Error

PROGRAM = Path(__file__).with_name("bin") / "mxferry"


def main() -> None:
    """Execs the program, so signals and exit codes are its own. Under torchrun, spawns it."""
    arguments = ["mxferry", *sys.argv[1:]]
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if is_torchrun and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .torchrun import run_as_rank

        sys.exit(run_as_rank(PROGRAM, arguments))
    source = next((a for a in arguments[2:] if a[:1] != "-" and is_dcp(Path(a))), None)
    if source is not None:
        sys.exit(_run_on_safetensors(arguments, source))
    os.execv(PROGRAM, arguments)


def _run_on_safetensors(arguments: list[str], source: str) -> int:
    """Runs the program on a safetensors copy of a checkpoint that it cannot read."""
    place = arguments.index(source)
    following = arguments[place + 1] if place + 1 < len(arguments) else ""
    beside = Path(following).absolute().parent if following[:1] not in ("", "-") else Path.cwd()
    try:
        with as_safetensors(Path(source), beside) as copy:
            arguments[place] = str(copy)
            return subprocess.run([PROGRAM, *arguments[1:]], check=False).returncode
    except Error as error:
        print(f"mxferry: {error}", file=sys.stderr)
        return 2 if error.category == "usage" else 3


if __name__ == "__main__":
    main()
