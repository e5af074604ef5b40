"""A checkpoint as a lazy mapping of names to tensors, decoded on access."""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from . import _core
from .errors import Error
from .weights import as_bfloat16

# safetensors' names of dtypes -> numpy's and PyTorch's. numpy has no BF16 or 8-bit floats, so it
# gets their bits.
_NUMPY = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "uint16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "uint8",
    "F8_E5M2": "uint8",
    "F8_E8M0": "uint8",
    "F8_E4M3FNUZ": "uint8",
    "F8_E5M2FNUZ": "uint8",
}
_TORCH = _NUMPY | {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}

# Endings of expert weights' names, native or Hugging Face's -> Hugging Face's.
_PACKED_NAMES = {
    "gate_and_up_projs": "gate_up_proj",
    "down_projs": "down_proj",
    "gate_up_proj": "gate_up_proj",
    "down_proj": "down_proj",
}


def open_checkpoint(
    path: str | os.PathLike[str],
    layout: str = "nemo",
    dtype: str | None = None,
    *,
    attn: str = "flex",
    dense_dtype: str | None = None,
    orientation: str | None = None,
    framework: str | None = None,
    threads: int = 0,
) -> "Checkpoint":
    """Presents a checkpoint in any form as the tensors of a layout, without converting it.

    path: a folder, or a Hub name in the local cache.
    layout: the names and axis orders to present: "nemo", "hf", "original",
        "torchtitan" or "unsloth".
    dtype, dense_dtype, attn, orientation: as in convert(). "mxfp4" keeps packed weights packed;
        with dense expert weights, which are not quantized here, it raises Error(unsupported).
    framework: safetensors' name, "pt" or "np"; by default "pt" if PyTorch is installed.
    threads: per access; 0 means all that the process may use.

    Reads headers only. Raises Error.
    """
    options = {
        "source": os.fspath(path),
        "layout": layout,
        "attn": attn,
        "dtype": dtype,
        "dense_dtype": dense_dtype,
        "orientation": orientation,
    }
    return Checkpoint(options, _framework(framework), threads)


class Checkpoint(Mapping[str, Any]):
    """Names to tensors, each read and decoded on every access; see open_checkpoint().

    bytes_read: bytes of tensor data read from the files so far.
    """

    def __init__(self, options: dict[str, Any], framework: str, threads: int) -> None:
        self.bytes_read = 0
        self._options = options
        self._reader = _core.CheckpointReader(**options)
        self._torch = framework == "pt"
        self._threads = threads
        self._slices = {
            name: TensorSlice(self, name, index, dtype, shape)
            for index, (name, dtype, shape) in enumerate(self._reader.tensors())
        }

    def __getitem__(self, name: str) -> Any:
        return self._slices[name][...]

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, name: object) -> bool:
        return name in self._slices

    def get_tensor(self, name: str) -> Any:
        """The whole tensor, as `checkpoint[name]`; this is safetensors' name for it."""
        return self[name]

    def get_slice(self, name: str) -> "TensorSlice":
        """The tensor without its data; indexing it reads only the indexed part."""
        return self._slices[name]

    def read(self, regions: list[tuple[int, list[int], str, Any]], progress: Any = None) -> None:
        """Fills memory. A region is (TensorSlice.index, where its box begins, dtype, array).

        The array has the box's shape and elements of the dtype's size, in CPU memory; its last
        dimension has no gaps.
        """
        self.bytes_read += self._reader.read(
            [(i, begin, dtype, raw(array)) for i, begin, dtype, array in regions],
            self._threads,
            progress,
        )

    def packed_parts(self, name: str) -> tuple["Checkpoint", tuple[str, str]] | None:
        """(checkpoint, (blocks, scales)) if the files hold the weights `name` packed, else None."""
        for ending, packed in _PACKED_NAMES.items():
            if name.endswith(ending) and self._packed_view is not None:
                whole = name.removesuffix(ending) + packed
                parts = whole + "_blocks", whole + "_scales"
                return (self._packed_view, parts) if parts[0] in self._packed_view else None
        return None

    @cached_property
    def _packed_view(self) -> "Checkpoint | None":
        """The same files with packed weights as stored; None if expert weights are dense."""
        options = self._options | {"layout": "hf", "attn": "flex", "dtype": "mxfp4"}
        try:
            return Checkpoint(options, "pt", self._threads)
        except Error as error:
            if error.code != "unsupported":
                raise
            return None

    def _empty(self, dtype: str, shape: list[int]) -> Any:
        count = 1
        for size in shape:
            count *= size
        if self._torch:
            element = torch_dtype(dtype)
            return _core.empty(count * element.itemsize, True).view(element).view(shape)
        import numpy as np

        element = np.dtype(_known(dtype, _NUMPY))
        return _core.empty(count * element.itemsize, False).view(element).reshape(shape)


class TensorSlice:
    """One tensor of a checkpoint. `slice[1:3, :, 7]` reads only column 7 of experts 1 and 2.

    Indices are integers, slices of step 1 and an ellipsis.
    """

    def __init__(
        self, checkpoint: Checkpoint, name: str, index: int, dtype: str, shape: tuple[int, ...]
    ) -> None:
        self.name = name
        self.index = index
        self._checkpoint = checkpoint
        self._dtype = dtype
        self._shape = shape

    def get_shape(self) -> list[int]:
        return list(self._shape)

    def get_dtype(self) -> str:
        """The safetensors name of the dtype, for example "BF16"."""
        return self._dtype

    def __getitem__(self, index: Any) -> Any:
        parts = self._parts(index)
        ranges = [range(p, p + 1) if isinstance(p, int) else p for p in parts]
        memory = self._checkpoint._empty(self._dtype, [len(r) for r in ranges])
        begin = [r.start for r in ranges]
        self._checkpoint.read([(self.index, begin, self._dtype, memory)])
        if self._dtype == "BF16" and not self._checkpoint._torch:
            memory = as_bfloat16(memory)
        return memory[tuple(0 if isinstance(p, int) else slice(None) for p in parts)]

    def _parts(self, index: Any) -> list[int | range]:
        """The index or range wanted of each dimension."""
        items = list(index) if isinstance(index, tuple) else [index]
        if not any(item is Ellipsis for item in items):
            items.append(Ellipsis)
        place = next(i for i, item in enumerate(items) if item is Ellipsis)
        missing = len(self._shape) - (len(items) - 1)
        items[place : place + 1] = [slice(None)] * missing
        if missing < 0 or len(items) != len(self._shape):
            raise IndexError(f"{self.name}: too many indices for {list(self._shape)}")
        return [self._part(item, size) for item, size in zip(items, self._shape, strict=True)]

    def _part(self, item: Any, size: int) -> int | range:
        if isinstance(item, slice):
            wanted = range(*item.indices(size))
            if wanted.step != 1:
                raise Error(
                    f"tensor '{self.name}': parts are read without gaps; expected a step of 1, "
                    f"found {wanted.step}",
                    "unsupported",
                    "usage",
                    tensor=self.name,
                    expected="a step of 1",
                    found=str(wanted.step),
                )
            return range(wanted.start, max(wanted.start, wanted.stop))
        number = item.__index__()
        if not -size <= number < size:
            raise IndexError(f"{self.name}: index {number} is out of range for size {size}")
        return int(number % size)


def torch_dtype(name: str) -> Any:
    """The PyTorch dtype with this safetensors name. Raises Error(unsupported)."""
    import torch

    return getattr(torch, _known(name, _TORCH))


def safetensors_dtype(dtype: Any) -> str:
    """The safetensors name of a PyTorch dtype. Raises Error(unsupported)."""
    text = str(dtype).removeprefix("torch.")
    name = next((name for name, element in _TORCH.items() if element == text), None)
    if name is None:
        problem = f"tensors of {dtype} are not written"
        raise Error(problem, "unsupported", "source", found=str(dtype))
    return name


def _known(dtype: str, names: dict[str, str]) -> str:
    if dtype in names:
        return names[dtype]
    text = f"neither numpy nor PyTorch has a dtype for {dtype}"
    raise Error(text, "unsupported", "source", found=dtype)


def _framework(name: str | None) -> str:
    if name is None:
        return "np" if importlib.util.find_spec("torch") is None else "pt"
    if name in ("pt", "np"):
        return name
    raise Error(
        f"there is no such framework; expected pt or np, found {name}",
        "invalid_argument",
        "usage",
        expected="pt or np",
        found=name,
    )


def raw(array: Any) -> Any:
    """The same memory with integer elements, which every DLPack supports."""
    size = array.dtype.itemsize
    if hasattr(array, "detach"):
        import torch

        element = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size]
        return array.detach().view(element)
    return array.view(f"u{size}")
