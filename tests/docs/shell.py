"""Runs what documentation shows, as a reader would: with the command on PATH and a checkpoint.

MXFERRY names the command.
"""

import os
import subprocess
import tempfile
from pathlib import Path


class Shell:
    """A new home folder that holds a small checkpoint, gpt-oss-20b; every command starts there."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        command_folder = Path(os.environ["MXFERRY"]).parent
        self.environment = os.environ | {
            "HOME": self.folder.name,
            "PATH": f"{command_folder}:{os.environ['PATH']}",
        }
        # No user's cache may stand in for what a page leaves out.
        self.environment.pop("HF_HOME", None)

    def __enter__(self):
        self.run("mxferry sample gpt-oss-20b --preset tiny")
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
