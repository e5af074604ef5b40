"""Fills a model's tensors directly from the files, each rank its own part."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from . import _core
from .checkpoint import Checkpoint, open_checkpoint, torch_dtype
from .errors import Error
from .placements import held_ranges

_DTYPES = {
    "torch.bfloat16": "BF16",
    "torch.float16": "F16",
    "torch.float32": "F32",
}


class IncompatibleKeys(NamedTuple):
    """Names that load_into() could not match, as torch.nn.Module.load_state_dict() returns them."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_into(
    target: Any,
    checkpoint: Any,
    strict: bool = True,
    *,
    layout: str = "nemo",
    module: Any = None,
    orientation: str | None = None,
    threads: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> IncompatibleKeys:
    """Reads a checkpoint of any form into tensors that are already allocated.

    target: a state dict, or a torch.nn.Module. Plain tensors are whole; of a DTensor, each rank
        reads and decodes only its own part: the experts, rows and blocks that cover it. BF16, F16
        and F32 tensors accept weights of any dtype, rounded to nearest even.
    checkpoint: a folder, a Hub name in the local cache, or the result of open_checkpoint().
    strict: raise Error if the names of the two differ, before anything is filled.
    layout: the layout of the names in `target`, "nemo" or "hf"; an open checkpoint has its own.
    module: where the state dict comes from. If given, a tensor that is a copy of the module's
        instead of its storage is an error: filling it would have no effect.
    threads: 0 means all that the process may use, divided by LOCAL_WORLD_SIZE if that is set.
    progress: called with the bytes done and in total, on the calling thread.

    Names may contain what torch.compile, DDP, FSDP, checkpoint wrappers and PEFT add, and have
    another prefix than "model."; PEFT's adapters and `_extra_state` are not filled. Returns the
    names that only one side has.

    Raises Error: missing_tensor (strict), wrong_shape, wrong_dtype, unsupported, and the errors of
    reading, after which the tensors may be partly filled.
    """
    if hasattr(target, "state_dict"):
        module = target if module is None else module
        target = target.state_dict()
    wanted = plain_names(target)
    if not isinstance(checkpoint, Checkpoint):
        te = any(name.endswith("softmax_offset") for name in wanted.values())
        checkpoint = open_checkpoint(
            checkpoint,
            layout,
            attn="te" if te else "flex",
            orientation=orientation,
            framework="pt",
            threads=threads or share_of_threads(),
        )
    names = set(wanted.values())
    keys = IncompatibleKeys(
        [key for key, name in wanted.items() if name not in checkpoint],
        [name for name in checkpoint if name not in names],
    )
    if strict and (keys.missing_keys or keys.unexpected_keys):
        raise _names_differ(keys)
    found = {key: name for key, name in wanted.items() if name in checkpoint}
    if module is not None:
        _check_storage(target, found, module)
    _fill(checkpoint, {key: (name, target[key]) for key, name in found.items()}, progress)
    return keys


def _fill(
    checkpoint: Checkpoint,
    tensors: Mapping[str, tuple[str, Any]],
    progress: Callable[[int, int], Any] | None,
) -> None:
    """Fills memory that can be read into directly in one call, then stages the rest box by box."""
    direct = []
    detours = []
    for key, (name, tensor) in tensors.items():
        part = checkpoint.get_slice(name)
        if list(tensor.shape) != part.get_shape():
            raise _mismatch("wrong_shape", key, part.get_shape(), list(tensor.shape))
        dtype = _memory_dtype(key, tensor, part.get_dtype())
        for begin, memory in local_boxes(tensor):
            if memory.device.type == "cpu" and (memory.ndim == 0 or memory.stride(-1) == 1):
                direct.append((part.index, begin, dtype, memory))
            else:
                detours.append((name, begin, memory))
    checkpoint.read(direct, progress)
    if detours:
        from .staged_fill import fill_staged

        for name, begin, memory in detours:
            fill_staged(checkpoint, name, begin, memory)


def local_boxes(tensor: Any) -> Iterator[tuple[list[int], Any]]:
    """(where a box begins in the whole tensor, its memory), for each box that this rank holds."""
    if tensor.device.type == "meta":
        raise Error(
            "a tensor on the meta device has no memory. Call to_empty() and fill it first",
            "invalid_argument",
            "usage",
        )
    tensor = tensor.detach()
    if not hasattr(tensor, "placements"):
        yield [0] * tensor.ndim, tensor
        return
    ranges = held_ranges(tensor)
    local = tensor.to_local()
    # By dimension: (range in the whole tensor, slice of the local tensor).
    places = []
    for dim in ranges:
        starts = itertools.accumulate((len(r) for r in dim), initial=0)
        places.append([(r, slice(s, s + len(r))) for r, s in zip(dim, starts, strict=False)])
    for box in itertools.product(*places):
        yield [r.start for r, _ in box], local[tuple(s for _, s in box)]


def plain_names(keys: Iterable[str]) -> dict[str, str]:
    """The parameters' own names by key, without what no checkpoint of the base model holds.

    Raises Error: name_collision (two keys have one name, as those of two models do).
    """
    own = [key for key in keys if "_extra_state" not in key and ".lora_" not in key]
    names = _core.restored_names([key.replace(".base_layer.", ".") for key in own])
    return dict(zip(own, names, strict=True))


def _memory_dtype(key: str, tensor: Any, stored: str) -> str:
    dtype = _DTYPES.get(str(tensor.dtype))
    weights = ("BF16", "F16", "F32")
    if dtype in weights and stored in weights:
        return dtype
    if tensor.dtype == torch_dtype(stored):
        return stored
    expected = "bfloat16, float16 or float32" if stored in weights else stored
    raise _mismatch("wrong_dtype", key, expected, tensor.dtype)


def _check_storage(state_dict: Mapping[str, Any], keys: Any, module: Any) -> None:
    own = {_address(t) for t in (*module.parameters(), *module.buffers())}
    for key in keys:
        tensor = state_dict[key]
        if tensor.numel() and _address(tensor) not in own:
            raise Error(
                f"tensor '{key}': the module's state_dict() gives a copy of it, so that filling it "
                "would change nothing. Call module.load_state_dict() with what open_checkpoint() "
                "reads, or with the result of GPTOSSStateDictAdapter.from_hf()",
                "unsupported",
                "usage",
                tensor=key,
            )


def _address(tensor: Any) -> int:
    local = tensor.to_local() if hasattr(tensor, "placements") else tensor
    return int(local.untyped_storage().data_ptr())


def share_of_threads() -> int:
    """This process's share of the CPUs if torchrun started several; else 0, which means all."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // ranks) if ranks > 1 else 0


def _names_differ(keys: IncompatibleKeys) -> Error:
    def some(names: list[str]) -> str:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(f"'{name}'" for name in names[:3]) + more

    parts = []
    if keys.missing_keys:
        parts.append(f"the checkpoint has no {some(keys.missing_keys)}")
    if keys.unexpected_keys:
        parts.append(f"the model has no {some(keys.unexpected_keys)}")
    text = "; ".join(parts) + ". Give strict=False to fill what both have"
    return Error(
        text, "missing_tensor", "source", advice="Give strict=False to fill what both have"
    )


def _mismatch(code: str, tensor: str, expected: object, found: object) -> Error:
    text = f"tensor '{tensor}': the checkpoint's cannot be read into it"
    return Error(
        f"{text}; expected {expected}, found {found}",
        code,
        "source",
        tensor=tensor,
        expected=str(expected),
        found=str(found),
    )
