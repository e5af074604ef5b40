"""MXFP4 weights of gpt-oss checkpoints: decode, quantize, convert, compare.

Everything is imported on first use, so `import mxferry` is cheap. numpy is needed only for arrays,
PyTorch only for tensors.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core import active_target as active_target
    from ._core import version as __version__
    from .checkpoint import Checkpoint as Checkpoint
    from .checkpoint import open_checkpoint as open_checkpoint
    from .errors import Error as Error
    from .load import load_into as load_into
    from .load_parts import CheckpointLoadPart as CheckpointLoadPart
    from .save import save_checkpoint as save_checkpoint
    from .state_dict_adapter import FP4_VALUES as FP4_VALUES
    from .state_dict_adapter import GPTOSSStateDictAdapter as GPTOSSStateDictAdapter
    from .state_dict_adapter import StateDictAdapter as StateDictAdapter
    from .verbs import convert as convert
    from .verbs import finish as finish
    from .verbs import inspect as inspect
    from .verbs import plan_conversion as plan_conversion
    from .verbs import sample as sample
    from .verbs import verify as verify
    from .verbs import verify_manifest as verify_manifest
    from .weights import dequantize as dequantize
    from .weights import quantize as quantize

_MODULES = {
    "active_target": "_core",
    "Checkpoint": "checkpoint",
    "open_checkpoint": "checkpoint",
    "Error": "errors",
    "load_into": "load",
    "CheckpointLoadPart": "load_parts",
    "save_checkpoint": "save",
    "FP4_VALUES": "state_dict_adapter",
    "GPTOSSStateDictAdapter": "state_dict_adapter",
    "StateDictAdapter": "state_dict_adapter",
    "convert": "verbs",
    "finish": "verbs",
    "inspect": "verbs",
    "plan_conversion": "verbs",
    "sample": "verbs",
    "verify": "verbs",
    "verify_manifest": "verbs",
    "dequantize": "weights",
    "quantize": "weights",
}

__all__ = [
    "CheckpointLoadPart",
    "FP4_VALUES",
    "Checkpoint",
    "Error",
    "GPTOSSStateDictAdapter",
    "StateDictAdapter",
    "__version__",
    "active_target",
    "convert",
    "dequantize",
    "finish",
    "inspect",
    "load_into",
    "open_checkpoint",
    "plan_conversion",
    "quantize",
    "sample",
    "save_checkpoint",
    "verify",
    "verify_manifest",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module("._core", __name__).version
    elif name in _MODULES:
        value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'mxferry' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
