"""Writes a checkpoint from a live model: each rank converts and writes what it holds."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from . import _core
from .checkpoint import raw, safetensors_dtype
from .errors import Error
from .load import local_boxes, plain_names, share_of_threads
from .ownership import Box, Column, Held, Shared, columns_of, deal, share
from .ranks import Ranks, interrupts_deferred

# (tensor index, where a box begins, its memory)
Region = tuple[int, list[int], Any]

# The bytes copied at a time from memory that files cannot be written from directly.
_STAGED_BYTES = 64 << 20


def save_checkpoint(
    state_dict: Any,
    path: str | os.PathLike[str],
    layout: str = "hf",
    dtype: str | None = "mxfp4",
    *,
    config: Any = None,
    reference: str | os.PathLike[str] | None = None,
    side_files: str | os.PathLike[str] | None = None,
    dense_dtype: str | None = None,
    quant_mode: str = "gptoss",
    max_shard_size: int = 5_000_000_000,
    allow_nonfinite: bool = False,
    force: bool = False,
    sync: bool = True,
    threads: int = 0,
    group: Any = None,
) -> None:
    """Writes a model in memory as a Hugging Face folder, all ranks together.

    The files are byte for byte those that convert() makes of the same weights. Without
    torch.distributed, this process writes everything. With it, every rank of `group` calls this
    with the same arguments and its own tensors, and writes what it owns; `path` must be on a file
    system that all of them share.

    state_dict: a state dict, or a torch.nn.Module. Plain tensors are whole, DTensors may be cut in
        any way, and ranks may have different names: together they are the model. Names are Hugging
        Face's or NeMo AutoModel's, with what torch.compile, checkpoint wrappers and PEFT add.
    layout: "hf".
    dtype: "mxfp4" quantizes the expert weights. "bf16", "f16", "f32": for all weights. None: as
        they are. dense_dtype: for all but the expert weights.
    config: the model's config, which becomes config.json: a Transformers config, a dict, or the
        path of a file. By default the reference's, or that of `side_files`.
    reference: an MXFP4 checkpoint of the same model. Blocks that are exact under its scales keep
        them, so unchanged weights return byte for byte.
    side_files: a folder whose tokenizer and other files are copied; by default the reference.
    quant_mode, max_shard_size, allow_nonfinite, force, sync: as in convert().
    threads: 0 means all that the process may use, divided by LOCAL_WORLD_SIZE if that is set.
    group: by default all ranks.

    A rank needs memory for two or three experts besides what it holds. One rank puts the new
    checkpoint in place when all have succeeded; an old checkpoint at `path` stays until then. If a
    rank fails, all raise its Error, and nothing is left behind.

    Raises Error: what convert() raises, missing_tensor and missing_layer (the model is not whole),
    lora_adapter (its adapters are not merged), unsupported.
    """
    ranks = Ranks(group)
    held, described = ranks.together(lambda: _described(_named(state_dict, layout)))
    tensors = share(ranks.gather(described))
    options = {
        "destination": os.fspath(path),
        "dtype": dtype,
        "dense_dtype": dense_dtype,
        "quant_mode": quant_mode,
        "reference": None if reference is None else os.fspath(reference),
        "side_files": None if side_files is None else os.fspath(side_files),
        "max_shard_size": max_shard_size,
        "allow_nonfinite": allow_nonfinite,
        "force": force,
        "sync": sync,
    }

    ranks.agree(options)

    def plan() -> Any:
        whole = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
        return _core.CheckpointWriter(whole, config=_config_text(config), **options)

    writer = ranks.together(plan)
    ranks.agree({"the config, or what the reference holds": writer.digest()})
    part = _Part(writer, tensors, held, ranks, threads or share_of_threads())
    try:
        ranks.on_first(writer.create)
        ranks.together(part.write)
        ranks.on_first(writer.commit)
    finally:
        # An exception that propagates keeps the writer alive.
        if ranks.rank == 0:
            writer.discard()


class _Part:
    """One rank's part of a save."""

    def __init__(
        self, writer: Any, tensors: list[Shared], held: dict[str, Any], ranks: Ranks, threads: int
    ) -> None:
        self._writer = writer
        self._tensors = tensors
        self._held = held
        self._ranks = ranks
        self._threads = threads
        self._owners = deal(tensors, len(ranks.world))

    def write(self) -> None:
        """Converts and writes all that this rank owns, and waits for the disk."""
        with interrupts_deferred():
            self._write_columns()
        staged: list[Region] = []
        direct: list[Region] = []
        for region in self._own_boxes():
            on_cpu = region[2].device.type == "cpu" and _is_row_major(region[2])
            (direct if on_cpu else staged).append(region)
        self._write(direct)
        for index, begin, memory in staged:
            for place, piece in _pieces(begin, memory):
                self._write([(index, place, piece)])
        self._writer.sync()

    def _write(self, regions: list[Region]) -> None:
        boxes = [(index, begin, raw(memory)) for index, begin, memory in regions]
        self._writer.write(boxes, self._threads)

    def _write_columns(self) -> None:
        """Writes weights cut along their inputs. On error, still sends and receives to the end."""
        failure = None
        for column in self._columns():
            if self._ranks.rank not in column.shares():
                continue
            from .row_exchange import exchanged_rows

            parts = dict(self._boxes(self._tensors[column.tensor]))
            for begin, weights in exchanged_rows(column, parts, self._ranks):
                if failure is not None:
                    continue
                try:
                    self._write([(column.tensor, begin, weights)])
                except Exception as error:
                    failure = error
        if failure is not None:
            raise failure

    def _columns(self) -> Iterator[Column]:
        for index, tensor in enumerate(self._tensors):
            if self._writer.quantizes(index):
                yield from columns_of(index, tensor.shape, self._owners[index])

    def _own_boxes(self) -> Iterator[Region]:
        """The boxes that this rank writes as it holds them."""
        for index, tensor in enumerate(self._tensors):
            quantizes = self._writer.quantizes(index)
            for box, memory in self._boxes(tensor):
                in_column = quantizes and box[1] != (0, tensor.shape[1])
                if self._owners[index][box] == self._ranks.rank and not in_column:
                    yield index, [begin for begin, _ in box], memory

    def _boxes(self, tensor: Shared) -> Iterator[tuple[Box, Any]]:
        if tensor.name in self._held:
            yield from _boxes(self._held[tensor.name])


def _named(state_dict: Any, layout: str) -> dict[str, Any]:
    """The tensors by the parameters' own names."""
    if layout != "hf":
        text = f"a live model is saved in the hf layout; expected hf, found {layout}"
        advice = "Convert the saved folder"
        raise Error(
            f"{text}. {advice}", "unsupported", "usage", expected="hf", found=layout, advice=advice
        )
    if hasattr(state_dict, "state_dict"):
        state_dict = state_dict.state_dict()
    named: dict[str, Any] = {}
    for key in state_dict:
        if ".lora_" in key:
            raise _error("lora_adapter", key, "an adapter that is not merged. Merge it first")
    for key, name in plain_names(state_dict).items():
        tensor = state_dict[key]
        if name in named:
            raise _error("name_collision", key, f"another tensor is '{name}' too")
        if not hasattr(tensor, "detach"):
            raise _error("unsupported", key, f"not a tensor, but a {type(tensor).__name__}")
        named[name] = tensor
    return named


def _described(named: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Held]]:
    """The tensors, and their descriptions for the other ranks."""
    described = {}
    for name, tensor in named.items():
        boxes = [box for box, _ in _boxes(tensor)]
        described[name] = Held(safetensors_dtype(tensor.dtype), tuple(tensor.shape), boxes)
    return named, described


def _boxes(tensor: Any) -> Iterator[tuple[Box, Any]]:
    """(box, memory) for all that this rank holds of a tensor."""
    for begin, memory in local_boxes(tensor):
        if memory.numel() > 0:
            yield tuple((b, b + n) for b, n in zip(begin, memory.shape, strict=True)), memory


def _is_row_major(memory: Any) -> bool:
    """Whether the memory is row-major, with gaps at most between rows."""
    least = 1
    for size, stride in zip(reversed(memory.shape), reversed(memory.stride()), strict=True):
        if size > 1 and (stride < least or (least == 1 and stride != 1)):
            return False
        if size > 1:
            least = size * stride
    return True


def _pieces(begin: list[int], memory: Any) -> Iterator[tuple[list[int], Any]]:
    """(where a piece begins, its copy on the CPU), a few experts or rows at a time."""
    if memory.ndim == 0:
        yield begin, memory.cpu()
        return
    step = max(1, _STAGED_BYTES // (memory[0].numel() * memory.element_size()))
    for first in range(0, memory.shape[0], step):
        piece = memory[first : first + step].cpu().contiguous()
        yield [begin[0] + first, *begin[1:]], piece


def _config_text(config: Any) -> str | None:
    if config is None:
        return None
    if hasattr(config, "to_json_string"):
        return str(config.to_json_string())
    if isinstance(config, Mapping):
        return json.dumps(config)
    try:
        with open(config, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        text = f"{os.fspath(config)}: cannot read the config: {error.strerror}"
        raise Error(text, "io_error", "system", file=os.fspath(config)) from error


def _error(code: str, tensor: str, text: str) -> Error:
    return Error(f"tensor '{tensor}': {text}", code, "source", tensor=tensor)
