"""The command: `mxferry` and `python -m mxferry` run the program that the package contains.

Under torchrun, `-m mxferry convert ...` is one conversion by all ranks together.
"""

import os
import subprocess
import sys
from pathlib import Path

from .dcp import as_safetensors, is_dcp
from .errors import Error

# The options that a value follows.
_VALUED = {
    f"--{name}"
    for name in (
        "to attn dtype dense-dtype exclude quant-mode reference orientation max-shard-size "
        "dcp-shards threads max-memory rank world"
    ).split()
}
PROGRAM = Path(__file__).with_name("bin") / "mxferry"


def main() -> None:
    """Execs the program, so signals and exit codes are its own. Under torchrun, spawns it."""
    arguments = ["mxferry", *sys.argv[1:]]
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if is_torchrun and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .torchrun import run_as_rank

        sys.exit(run_as_rank(PROGRAM, arguments))
    place = _source_place(arguments)
    if place is not None and is_dcp(Path(arguments[place])):
        sys.exit(_run_on_safetensors(arguments, place))
    os.execv(PROGRAM, arguments)


def _source_place(arguments: list[str]) -> int | None:
    """Where the source of a conversion or an inspection stands."""
    if arguments[1:2] not in (["convert"], ["inspect"]):
        return None
    for place in range(2, len(arguments)):
        if arguments[place][:1] != "-" and arguments[place - 1] not in _VALUED:
            return place
    return None


def _run_on_safetensors(arguments: list[str], place: int) -> int:
    """Runs the program on a safetensors copy of a checkpoint that it cannot read."""
    source = arguments[place]
    alone = [a for a in arguments if a.split("=")[0] in ("--rank", "--world", "--resume")]
    if alone:
        print(
            f"mxferry: {alone[0]}: a checkpoint of torch.distributed.checkpoint is converted by one"
            " process, and anew",
            file=sys.stderr,
        )
        return 2
    following = arguments[place + 1] if place + 1 < len(arguments) else ""
    beside = Path(following).absolute().parent if following[:1] not in ("", "-") else Path.cwd()
    try:
        with as_safetensors(Path(source), beside) as copy:
            arguments[place] = str(copy)
            return subprocess.run([PROGRAM, *arguments[1:]], check=False).returncode
    except Error as error:
        print(f"mxferry: {error}", file=sys.stderr)
        return {"usage": 2, "limit": 5}.get(error.category, 3)


if __name__ == "__main__":
    main()
