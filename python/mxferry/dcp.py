"""Checkpoints of torch.distributed.checkpoint (`.distcp` files) as a source.

PyTorch's own reader reads them, into the mapped pages of a temporary safetensors file: memory holds
one saved piece at a time. Their metadata is a pickle, which can run code: only trusted checkpoints
of this kind may be read.
"""

import contextlib
import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import Error

_DTYPES = {
    "torch.float32": ("F32", 4),
    "torch.bfloat16": ("BF16", 2),
    "torch.float16": ("F16", 2),
    "torch.uint8": ("U8", 1),
}
# What trainers save beside a model's weights.
_TRAINING_STATE = re.compile(
    r"(^|\.)(optim|lr_scheduler|scheduler|rng|dataloader|train_state)[^.]*\.|exp_avg|momentum_buffer"
)


def is_dcp(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of torch.distributed.checkpoint."""
    return (folder / ".metadata").is_file() and any(folder.glob("*.distcp"))


@contextlib.contextmanager
def as_safetensors(source: Path, beside: Path) -> Iterator[Path]:
    """A folder of safetensors with a checkpoint's weights, until the context ends.

    It is made in `beside` and needs as much disk as the weights. config.json and the other small
    files are those of `source` or, if it has no config.json, of the folder above, if that has one.
    Raises Error: not_a_checkpoint (there are no weights, or they are not what the metadata says),
    unsupported (a dtype).
    """
    with tempfile.TemporaryDirectory(prefix=".mxferry-dcp-", dir=beside) as made:
        target = Path(made) / source.resolve().name
        target.mkdir()
        for folder in (source, source.resolve().parent):
            if (folder / "config.json").is_file():
                _carry(folder, target)
                break
        _write(source, target / "model.safetensors")
        yield target


def _carry(source: Path, target: Path) -> None:
    weights = (".distcp", ".safetensors", ".bin", ".pt", ".pth", ".index.json")
    for file in source.iterdir():
        if file.is_file() and file.name != ".metadata" and not file.name.endswith(weights):
            shutil.copy(file, target / file.name)


def _weights(source: Path) -> dict[str, Any]:
    """The metadata of the model's tensors by name, the widest elements first."""
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    try:
        entries = FileSystemReader(source).read_metadata().state_dict_metadata
    except Exception as error:
        reason = f"its .metadata cannot be read: {error}"
        raise _error("not_a_checkpoint", source, reason) from error
    tensors = {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata) and not _TRAINING_STATE.search(name)
    }
    for name, entry in list(tensors.items()):
        dtype = str(entry.properties.dtype)
        if dtype in _DTYPES:
            continue
        if "layers." in name:
            raise _error("unsupported", source, f"tensor '{name}': its dtype, {dtype}, is not read")
        del tensors[name]  # a count of steps or the like
    if not tensors:
        raise _error("not_a_checkpoint", source, "it has no weights of a model")
    return dict(sorted(tensors.items(), key=lambda item: -_size_of(item[1])))


def _size_of(entry: Any) -> int:
    return _DTYPES[str(entry.properties.dtype)][1]


def _write(source: Path, path: Path) -> None:
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    tensors = _weights(source)
    header: dict[str, Any] = {}
    end = 0
    for name, entry in tensors.items():
        begin, end = end, end + entry.size.numel() * _size_of(entry)
        dtype = _DTYPES[str(entry.properties.dtype)][0]
        header[name] = {"dtype": dtype, "shape": list(entry.size), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.flush()
        # A write to mapped pages that the disk has no room for would end the process.
        try:
            os.posix_fallocate(file.fileno(), 0, start + end)
        except OSError as error:
            raise _error("not_enough_disk", path, f"{error.strerror}: {end} bytes") from error
    mapped = torch.from_file(str(path), shared=True, size=start + end, dtype=torch.uint8)
    memory = {}
    for name, entry in tensors.items():
        begin, last = header[name]["data_offsets"]
        raw = mapped[start + begin : start + last]
        memory[name] = raw.view(entry.properties.dtype).view(entry.size)
    try:
        dcp.load(memory, storage_reader=dcp.FileSystemReader(source), no_dist=True)
    except (CheckpointException, Exception) as error:
        reason = f"PyTorch cannot read it: {error}"
        raise _error("not_a_checkpoint", source, reason) from error


def _error(code: str, source: Path, text: str) -> Error:
    category = {"unsupported": "usage", "not_enough_disk": "limit"}.get(code, "source")
    return Error(f"{os.fspath(source)}: {text}", code, category, file=os.fspath(source))
