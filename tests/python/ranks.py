"""What torchrun starts on each rank: ranks.py FOLDER MODULE..., each module's check() in turn.

FOLDER holds the checkpoints `packed`, in MXFP4, and `native`, the same for NeMo AutoModel; some
modules need others beside them.
"""

import importlib
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def main(folder, *modules):
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    for name in modules:
        importlib.import_module(name).check(Path(folder))
    dist.destroy_process_group()
    # Without taking the interpreter down, during which gloo's threads may still let go of tensors:
    # PyTorch 2.13 then ends in std::terminate().
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
