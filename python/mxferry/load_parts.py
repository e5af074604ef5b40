"""Loads MXFP4 weights into a model one layer at a time, for loaders that fill tensors in place.

Expert weights have another shape in the checkpoint than in the model, so a loader needs other
memory to read them into: here for one layer, not for all.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .tensors import BLOCK_SIZE, can_be_filled, dequantize_into, packed_scratch

# Endings of native names, in the order in which a layer's weights are read.
_EXPERTS = ("mlp.experts.gate_and_up_projs", "mlp.experts.down_projs")
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


@dataclass
class CheckpointLoadPart:
    """Tensors that are read together, and the parameters that they complete.

    checkpoint_tensors: name in the checkpoint -> tensor to read it into.
    model_keys: the native names that hold their final values after finish().
    temporary_checkpoint_keys: the checkpoint's names whose tensors are not the model's own.
    finish: decodes what was read into the model's own tensors.
    """

    checkpoint_tensors: dict[str, Any]
    model_keys: frozenset[str]
    temporary_checkpoint_keys: frozenset[str]
    finish: Callable[[], None]


def load_parts(
    model_state_dict: Mapping[str, Any],
    layer_count: Any,
    hf_name: Callable[[str], str],
) -> Iterator[Any] | None:
    """The parts of a whole model, or None if it cannot be loaded in parts.

    It can if it has layers 0 to layer_count - 1 and no others, each with both expert weights
    [experts, in, out] in bfloat16, float16 or float32, `in` a multiple of 32, in memory, and at
    least one other parameter. They may be DTensors on any mesh. The decision depends only on names,
    dtypes, global shapes and placements, so every rank gets the same sequence.
    """
    layers = _layers(model_state_dict)
    if not isinstance(layer_count, int) or set(layers) != set(range(layer_count)) or not layers:
        return None
    experts = [_experts_of(layers[number]) for number in range(layer_count)]
    fits = all(len(names) == len(_EXPERTS) for names in experts) and all(
        _can_be_filled(model_state_dict[name]) for names in experts for name in names
    )
    known = {name for names in experts for name in names}
    others = [name for name in model_state_dict if name not in known]
    unplaced = any(name.endswith(_EXPERTS) for name in others)
    if not fits or unplaced or all(_is_opaque(name) for name in others):
        return None
    return _parts(model_state_dict, others, experts, hf_name)


def _layers(names: Mapping[str, Any]) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = {}
    for name in names:
        if match := _LAYER.match(name):
            layers.setdefault(int(match[1]), []).append(name)
    return layers


def _experts_of(names: list[str]) -> list[str]:
    return [name for suffix in _EXPERTS for name in names if name.endswith(suffix)]


def _is_opaque(name: str) -> bool:
    """Whether it is an opaque value of Transformer Engine: in no checkpoint, and left unchanged."""
    return name.endswith("_extra_state")


def _can_be_filled(weight: Any) -> bool:
    import torch

    return (
        isinstance(weight, torch.Tensor)
        and weight.dtype in (torch.bfloat16, torch.float16, torch.float32)
        and weight.ndim == 3
        and weight.shape[1] % BLOCK_SIZE == 0
        and not weight.is_meta
        and can_be_filled(weight)
    )


def _parts(
    model: Mapping[str, Any],
    others: list[str],
    experts: list[list[str]],
    hf_name: Callable[[str], str],
) -> Iterator[Any]:
    """First everything that is read directly into the model, then the expert weights by layer.

    Nothing here refers to the tensors of a part when the next part is requested.
    """
    direct = {hf_name(name): model[name] for name in others if not _is_opaque(name)}
    yield _part_class()(direct, frozenset(others), frozenset(), _nothing)
    for names in experts:
        yield _layer_part({name: model[name] for name in names}, hf_name)


def _layer_part(weights: dict[str, Any], hf_name: Callable[[str], str]) -> Any:
    scratch: dict[str, Any] = {}
    to_do = []
    for name, weight in weights.items():
        blocks, scales = packed_scratch(weight)
        scratch |= {f"{hf_name(name)}_blocks": blocks, f"{hf_name(name)}_scales": scales}
        to_do.append((weight, blocks, scales))

    def finish() -> None:
        import torch

        with torch.no_grad():
            while to_do:
                dequantize_into(*to_do.pop(0))

    return _part_class()(scratch, frozenset(weights), frozenset(scratch), finish)


def _nothing() -> None:
    """The finish() of tensors that were read into their final place."""


def _part_class() -> Any:
    """NeMo AutoModel's class if that is imported, because its loader accepts no other."""
    nemo = sys.modules.get("nemo_automodel.components.checkpoint.state_dict_adapter")
    return getattr(nemo, "CheckpointLoadPart", CheckpointLoadPart)
