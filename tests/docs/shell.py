"""Runs what documentation shows, as a reader would: with the command on PATH and a checkpoint.

MXFERRY names the command.
"""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

# The checkpoints that a reader may have: small ones under the names of the real ones, in folders
# and, for names such as openai/gpt-oss-20b, in the cache that the Hugging Face tools keep.
PREPARATION = """
mxferry sample gpt-oss-20b --preset tiny
mxferry sample gpt-oss-20b/original --preset tiny --to original
mxferry sample gpt-oss-120b --preset tiny --layers 3
mxferry convert gpt-oss-20b finetuned --to hf
mxferry convert finetuned finetuned-mxfp4 --to hf --dtype mxfp4
mxferry convert finetuned epoch_0_step_9/model --to hf --dcp-shards 3
cached=.cache/huggingface/hub/models--openai--gpt-oss-20b
commit=0123456789abcdef0123456789abcdef01234567
mkdir -p $cached/refs $cached/blobs $cached/snapshots/$commit
printf $commit > $cached/refs/main
for file in gpt-oss-20b/*.*; do
  blob=$(sha256sum < $file | cut -d ' ' -f 1)
  cp $file $cached/blobs/$blob
  ln -s ../../blobs/$blob $cached/snapshots/$commit/${file##*/}
done
"""


class Shell:
    """A home folder; every command starts there."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        command_folder = Path(os.environ["MXFERRY"]).parent
        # No cache of the user's may stand in for what is not here.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))}
        self.environment = kept | {
            "HOME": self.folder.name,
            "PATH": f"{command_folder}:{kept['PATH']}",
        }

    def __enter__(self):
        shutil.copytree(prepared().folder.name, self.folder.name, symlinks=True, dirs_exist_ok=True)
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def run(self, commands: str) -> str:
        """The output of the lines in bash; AssertionError with it when one of them fails."""
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder.name,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode != 0:
            raise AssertionError(f"exit status {result.returncode} of\n{commands}\n{result.stdout}")
        return result.stdout


@functools.cache
def prepared() -> Shell:
    shell = Shell()
    atexit.register(shell.folder.cleanup)
    shell.run(PREPARATION)
    return shell
