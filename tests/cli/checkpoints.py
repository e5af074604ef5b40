"""Reads and writes checkpoints by hand: safetensors are a length, a JSON header and bytes."""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import NamedTuple

STATE = ".mxferry"
INDEX = "model.safetensors.index.json"
FP4_VALUES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
FP4_VALUES += [-value for value in FP4_VALUES]


class Tensor(NamedTuple):
    dtype: str
    shape: list[int]
    data: bytes


def read_header(path: Path) -> tuple[dict, int]:
    """The JSON header, and where the data begins."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length


def read_file(path: Path) -> dict[str, Tensor]:
    header, begin = read_header(path)
    header.pop("__metadata__", None)
    content = path.read_bytes()
    tensors = {}
    for name, info in header.items():
        first, last = info["data_offsets"]
        data = content[begin + first : begin + last]
        tensors[name] = Tensor(info["dtype"], info["shape"], data)
    return tensors


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        part = read_file(path)
        assert not tensors.keys() & part.keys(), f"{path} repeats tensors"
        tensors |= part
    return tensors


def write_file(path: Path, tensors: dict[str, Tensor]):
    header = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + len(tensor.data)
        header[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    data = b"".join(tensor.data for tensor in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def replace_weights(folder: Path, tensors: dict[str, Tensor]):
    """The folder with these tensors in one file instead of its own."""
    for path in [*folder.glob("*.safetensors"), *folder.glob(INDEX)]:
        path.unlink()
    write_file(folder / "model.safetensors", tensors)


def is_whole(path: Path) -> bool:
    header, begin = read_header(path)
    header.pop("__metadata__", None)
    end = max((info["data_offsets"][1] for info in header.values()), default=0)
    return path.stat().st_size == begin + end


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file by name; "a folder" of what is one."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "a folder"
        for p in folder.iterdir()
    }


def made(folder: Path) -> Path:
    """Where the files of the one unfinished conversion to a folder are made."""
    (files,) = folder.glob(f"{STATE}/*-*/files")
    return files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def floats(tensor: Tensor) -> list[float]:
    if tensor.dtype == "F32":
        return [x for (x,) in struct.iter_unpack("<f", tensor.data)]
    if tensor.dtype == "F16":
        return [x for (x,) in struct.iter_unpack("<e", tensor.data)]
    assert tensor.dtype == "BF16"
    return [
        struct.unpack("<f", b"\0\0" + tensor.data[i : i + 2])[0]
        for i in range(0, len(tensor.data), 2)
    ]


def decode(blocks: Tensor, scales: Tensor) -> list[float]:
    """The weights [expert, out, in] of an MXFP4 pair, in a row."""
    weights = []
    for index, scale in enumerate(scales.data):
        for byte in blocks.data[16 * index : 16 * index + 16]:
            weights += [
                math.ldexp(FP4_VALUES[code], scale - 127) for code in (byte & 15, byte >> 4)
            ]
    return weights


def transposed(values: list[float], experts: int, rows: int, columns: int) -> list[float]:
    """[expert, row, column] as [expert, column, row]."""
    return [
        values[(expert * rows + row) * columns + column]
        for expert in range(experts)
        for column in range(columns)
        for row in range(rows)
    ]
