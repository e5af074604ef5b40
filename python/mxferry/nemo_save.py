"""NeMo AutoModel's consolidated checkpoints of gpt-oss, written by save_checkpoint()."""

import functools
import inspect
import os
from types import ModuleType
from typing import Any

from .errors import Error

_DTYPES = ("mxfp4", "bf16", "f16", "f32")


def check_save_dtype(dtype: str) -> None:
    if dtype in _DTYPES:
        return
    expected = "mxfp4, bf16, f16 or f32"
    text = f"checkpoints are not saved in this dtype; expected {expected}, found {dtype}"
    raise Error(text, "invalid_argument", "usage", expected=expected, found=dtype)


def replacement(checkpointing: ModuleType, theirs: Any, dtype: str) -> Any:
    """A Checkpointer.save_model() that consolidates gpt-oss itself.

    checkpointing: NeMo's module of this name. theirs: NeMo's save_model().
    """
    signature = inspect.signature(theirs)

    @functools.wraps(theirs)
    def save_model(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = bound.arguments
        checkpointer = values["self"]
        config = checkpointer.config
        consolidates = checkpointing._should_write_consolidated_safetensors(
            config, values["is_final_checkpoint"]
        )
        if not consolidates or not _is_gpt_oss(values["model"]):
            return theirs(*args, **kwargs)
        # Have NeMo write only the shards: it is to consolidate the final checkpoint, which this is
        # not.
        mode = config.save_consolidated
        values["is_final_checkpoint"] = False
        config.save_consolidated = type(mode).FINAL
        try:
            theirs(*bound.args, **bound.kwargs)
        finally:
            config.save_consolidated = mode
        _consolidate(checkpointer, values["model"], str(values["weights_path"]), dtype)

    return save_model


def _is_gpt_oss(model: Any) -> bool:
    """Whether the model's adapter is NeMo's for gpt-oss, or its replacement."""
    part = _parts(model)[0]
    adapter = getattr(getattr(part, "module", part), "state_dict_adapter", None)
    return type(adapter).__name__ == "GPTOSSStateDictAdapter"


def _parts(model: Any) -> list[Any]:
    """The model, or its pipeline stages, which are passed as a list."""
    return list(model) if isinstance(model, list | tuple) else [model]


def _consolidate(checkpointer: Any, model: Any, weights_path: str, dtype: str) -> None:
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    from .ranks import Ranks
    from .save import save_checkpoint

    folder = os.path.join(weights_path, "model")
    consolidated = os.path.join(folder, "consolidated")
    group = checkpointer.process_group
    Ranks(group).on_first(lambda: os.makedirs(consolidated, exist_ok=True))
    # NeMo's own step that copies config, tokenizer and so on from beside the shards.
    for addon in checkpointer._addons:
        addon.post_save(
            consolidated_path=consolidated,
            hf_metadata_path=os.path.join(folder, ".hf_metadata"),
            process_group=group,
        )
    state_dict: dict[str, Any] = {}
    for part in _parts(model):
        state_dict |= get_model_state_dict(part)
    save_checkpoint(
        state_dict,
        consolidated,
        dtype=dtype,
        dense_dtype="bf16" if dtype == "mxfp4" else None,
        config=os.path.join(consolidated, "config.json"),
        force=True,
        group=group,
    )
