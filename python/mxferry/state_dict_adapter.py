"""Converts gpt-oss state dicts between Hugging Face's names and NeMo AutoModel's, in PyTorch.

The classes, attributes, keyword arguments and return values are those of NeMo AutoModel's
`GPTOSSStateDictAdapter`; docs/nemo.md says where this one differs and why.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import Error
from .load_parts import load_parts
from .tensors import dequantize_tensors, packed_storage, quantize_tensor

# The E2M1 values by code; code 8 is negative zero.
FP4_VALUES = [+0.0, +0.5, +1.0, +1.5, +2.0, +3.0, +4.0, +6.0]
FP4_VALUES += [-0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]

# Expert weights, which Hugging Face's layout may hold packed.
_EXPERT_SUFFIXES = ("gate_up_proj", "down_proj")
_PACKED_ENDINGS = ("_blocks", "_scales")


class StateDictAdapter:
    """The interface that NeMo AutoModel's checkpointing expects of an adapter."""

    # Loaders cannot write into final storage: packed tensors have other shapes.
    supports_write_through_checkpoint_load = False
    supports_low_memory_dcp_load = False

    @property
    def checkpoint_key_aliases(self) -> dict[str, str]:
        """Names that a checkpoint may hold under older names: none."""
        return {}

    def iter_checkpoint_load_parts(
        self, model_state_dict: dict[str, Any], device_mesh: Any = None
    ) -> Iterator[Any] | None:
        """The parts to load a packed checkpoint in, or None if it must be loaded as a whole."""
        return None

    def map_peft_target_module_to_hf(self, name: str, *, v4_compatible: bool = False) -> str:
        """The name of a module in Hugging Face's layout, the same: gpt-oss renames only tensors."""
        return name

    def to_hf(self, state_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError

    def from_hf(
        self, hf_state_dict: dict[str, Any], device_mesh: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        raise NotImplementedError

    def convert_single_tensor_to_hf(
        self, fqn: str, tensor: Any, **kwargs: Any
    ) -> list[tuple[str, Any]]:
        raise NotImplementedError

    def get_hf_state_dict_keys(self, state_dict: dict[str, Any]) -> list[str]:
        """The names that to_hf() returns, without Transformer Engine's opaque values."""
        excluded = r".*_extra_state.*"
        return list(self.to_hf(state_dict, exclude_key_regex=excluded, quantization=False))


class GPTOSSStateDictAdapter(StateDictAdapter):
    """Renames a gpt-oss state dict, decodes MXFP4 and quantizes to it.

    Of `config`, `moe_config` and `backend` only `backend.attn` is read: with "te" the attention
    sinks have another native name. iter_checkpoint_load_parts() also reads
    `config.num_hidden_layers` and `backend.experts`. `dtype` is that of decoded weights.

    legacy_group_count: the number of groups that to_hf(quantization=True) gives regardless of the
        weights' size, 90 for NeMo's behavior; None means the true number.
    ep_shard_dim: the dimension of the decoded weights that the mesh dimension "ep_shard" cuts: 1
        as in the native parameters, or 2 as NeMo's adapter returns.
    """

    def __init__(self, config: Any, moe_config: Any, backend: Any, dtype: Any = "bfloat16") -> None:
        self.config = config
        self.moe_config = moe_config
        self.backend = backend
        self.dtype = _torch_dtype(dtype)
        self.legacy_group_count: int | None = None
        self.ep_shard_dim = 1
        self._uses_model_prefix = True
        self.hf_to_internal_map = {
            "mlp.router.weight": "mlp.gate.weight",
            "mlp.router.bias": "mlp.gate.bias",
            "mlp.experts.gate_up_proj": "mlp.experts.gate_and_up_projs",
            "mlp.experts.down_proj": "mlp.experts.down_projs",
        }
        if backend.attn == "te":
            sinks = "self_attn.attn_module.softmax_offset"
            self.hf_to_internal_map["self_attn.sinks"] = sinks
        self.internal_to_hf_map = {v: k for k, v in self.hf_to_internal_map.items()}

    def from_hf(
        self, hf_state_dict: dict[str, Any], device_mesh: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Decodes packed tensors and gives all native names, in place; returns the same dict.

        Releases each packed pair before decoding the next. DTensors stay DTensors on their own
        mesh; `device_mesh` is ignored.
        """
        self._dequantize_block_scale_tensors(hf_state_dict)
        self._apply_key_mapping(hf_state_dict, self.hf_to_internal_map)
        return hf_state_dict

    def iter_checkpoint_load_parts(
        self, model_state_dict: dict[str, Any], device_mesh: Any = None
    ) -> Iterator[Any] | None:
        """CheckpointLoadParts that fill the model's own tensors from an MXFP4 checkpoint.

        The first part is everything that is not packed, each other part one layer's experts. A
        part's packed tensors are only as large as what the rank holds requires, and are released
        before the next part's are allocated. finish() decodes into the model's memory, one weight
        at a time.

        model_state_dict: native names -> the model's tensors, not copies of them. The expert
            weights [experts, in, out] are bfloat16, float16 or float32, plain or DTensors cut in
            any way, on their own mesh; `device_mesh` is ignored.

        Returns None if the parts would not be the whole model: `config` must give the number of
        layers, and exactly these must be present with both expert weights, in memory, with `in` a
        multiple of 32. Also for Transformer Engine's experts, whose state dict holds copies.
        """
        if getattr(self.backend, "experts", None) == "te":
            return None
        layer_count = getattr(self.config, "num_hidden_layers", None)
        return load_parts(model_state_dict, layer_count, self._model_to_hf_key)

    def to_hf(
        self,
        state_dict: dict[str, Any],
        exclude_key_regex: str | None = None,
        quantization: bool | str = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """A new dict with Hugging Face's names; tensors that only change their name are not copied.

        exclude_key_regex drops names that re.match(exclude_key_regex, NEW_NAME) matches.
        `quantization` and the other keywords are those of convert_single_tensor_to_hf().
        """
        result: dict[str, Any] = {}
        for fqn, tensor in state_dict.items():
            for name, converted in self.convert_single_tensor_to_hf(
                fqn,
                tensor,
                exclude_key_regex=exclude_key_regex,
                quantization=quantization,
                **kwargs,
            ):
                result[name] = converted
        return result

    def convert_single_tensor_to_hf(
        self, fqn: str, tensor: Any, **kwargs: Any
    ) -> list[tuple[str, Any]]:
        """What to_hf() makes of one tensor: [(name, tensor), ...], empty if it is excluded.

        quantization: False keeps weights dense. True replaces expert weights with uint8 storage,
            filled with ones, for a loader to read packed weights into. "values" quantizes them,
            with mode=, as in quantize(), and reference=, a state dict with packed tensors of the
            same model: a block that is exact under its scale keeps it.
        """
        name = self._model_to_hf_key(fqn)
        exclude_key_regex = kwargs.get("exclude_key_regex")
        if exclude_key_regex and re.match(exclude_key_regex, name):
            return []
        quantization = kwargs.get("quantization", False)
        if not quantization or not name.endswith(_EXPERT_SUFFIXES):
            return [(name, tensor)]
        try:
            if quantization == "values":
                reference: Mapping[str, Any] = kwargs.get("reference") or {}
                scales = reference.get(f"{name}_scales")
                packed = quantize_tensor(tensor, kwargs.get("mode", "gptoss"), scales)
            else:
                packed = packed_storage(tensor, self.legacy_group_count)
        except Error as error:
            raise error.within(f"tensor '{fqn}'", tensor=fqn) from error
        return [
            (f"{name}{ending}", part) for ending, part in zip(_PACKED_ENDINGS, packed, strict=True)
        ]

    def _model_to_hf_key(self, model_key: str) -> str:
        return _mapped(model_key, self.internal_to_hf_map)

    def _apply_key_mapping(
        self, state_dict: dict[str, Any], mapping: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Replaces the first suffix that matches, in place; renamed tensors move to the end."""
        renamed = {old: new for old in state_dict if (new := _mapped(old, mapping)) != old}
        taken = state_dict.keys() - renamed.keys()
        for old, new in renamed.items():
            if new in taken:
                raise _source_error("name_collision", old, f"another tensor has the name '{new}'")
            taken.add(new)
        for old, new in renamed.items():
            state_dict[new] = state_dict.pop(old)
        return state_dict

    def _dequantize_block_scale_tensors(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Replaces each pair NAME_blocks, NAME_scales with the dense NAME, in place."""
        for name in _packed_names(state_dict):
            blocks, scales = (state_dict[name + ending] for ending in _PACKED_ENDINGS)
            try:
                dense = self._convert_moe_packed_tensors(blocks, scales)
            except Error as error:
                raise error.within(f"tensor '{name}'", tensor=name) from error
            # Nothing may refer to this pair when the next is decoded.
            del blocks, scales
            for ending in _PACKED_ENDINGS:
                del state_dict[name + ending]
            state_dict[name] = dense
        return state_dict

    def _convert_moe_packed_tensors(
        self, blocks: Any, scales: Any, dtype: Any = None, rows_per_chunk: int = 1 << 25
    ) -> Any:
        """[experts, in, out] of blocks [experts, out, groups, B] and scales [experts, out, groups].

        `dtype` defaults to the adapter's. Weights are decoded into their final place, so
        `rows_per_chunk`, which bounds temporary memory elsewhere, has no effect.
        """
        dtype = self.dtype if dtype is None else dtype
        return dequantize_tensors(blocks, scales, dtype, self.ep_shard_dim)


def _torch_dtype(dtype: Any) -> Any:
    """ "bfloat16" as torch.bfloat16; anything but a string is returned unchanged."""
    if not isinstance(dtype, str):
        return dtype
    import torch

    return getattr(torch, dtype)


def _mapped(name: str, mapping: Mapping[str, str | None]) -> str:
    for suffix, replacement in mapping.items():
        if replacement is not None and name.endswith(suffix):
            return name[: -len(suffix)] + replacement
    return name


def _packed_names(state_dict: Mapping[str, Any]) -> list[str]:
    """NAME of each pair, by the place of its first tensor. Raises Error if one is incomplete."""
    names = dict.fromkeys(
        key[: -len(_PACKED_ENDINGS[0])] for key in state_dict if key.endswith(_PACKED_ENDINGS)
    )
    for name in names:
        for ending in _PACKED_ENDINGS:
            if name + ending not in state_dict:
                text = f"packed weights are two tensors, and '{name}{ending}' is missing"
                raise _source_error("missing_partner", name, text)
        if name in state_dict:
            raise _source_error("name_collision", name, "the weights are here packed and dense")
    return list(names)


def _source_error(code: str, tensor: str, text: str) -> Error:
    return Error(f"tensor '{tensor}': {text}", code, "source", tensor=tensor)
