"""Replaces NeMo AutoModel's GPTOSSStateDictAdapter with this package's.

    import mxferry.nemo

    mxferry.nemo.install()

Runs that are launched from a YAML file have no code of their own to call install(). With
MXFERRY_NEMO=1 in the environment, or MXFERRY_NEMO_SAVE_DTYPE, which is the `save_dtype` of
install(), its work is done when NeMo AutoModel's modules are imported. Until then, nothing here
imports more than the standard library.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_PACKAGE = "nemo_automodel"
_MODULE = "nemo_automodel.components.models.gpt_oss.state_dict_adapter"
_NAME = "GPTOSSStateDictAdapter"
_CHECKPOINTING = "nemo_automodel.components.checkpoint.checkpointing"

# NeMo's own class and its Checkpointer.save_model(), if they were replaced, else None.
_replaced: Any = None
_replaced_save: Any = None


def install(save_dtype: str | None = None) -> Any:
    """Makes NeMo AutoModel use this package's adapter; returns the class that it uses from now on.

    Replaces the class where it is defined and in each module of NeMo AutoModel that has imported
    it, so models made from now on have an adapter of this package; existing adapters are unchanged.
    The class derives from mxferry.GPTOSSStateDictAdapter and NeMo's StateDictAdapter, and to
    isinstance() every mxferry.GPTOSSStateDictAdapter is one of NeMo's, too. A second call changes
    at most the dtype of saving.

    save_dtype: "mxfp4", "bf16", "f16" or "f32". When NeMo's Checkpointer writes a consolidated
        checkpoint of gpt-oss, save_checkpoint() writes it instead, in this dtype, from the live
        model. The shards beside it, from which runs resume, are unchanged. None leaves saving as it
        is.

    Raises ModuleNotFoundError if NeMo AutoModel or one of its dependencies is missing, and Error.
    """
    if save_dtype is not None:
        _install_save(import_module(_CHECKPOINTING), save_dtype)
    return _install(import_module(_MODULE))


def uninstall() -> None:
    """Restores NeMo AutoModel's own class and way of saving, if they were replaced."""
    global _replaced, _replaced_save
    if _replaced_save is not None:
        sys.modules[_CHECKPOINTING].Checkpointer.save_model = _replaced_save  # type: ignore[attr-defined]
        _replaced_save = None
    if _replaced is not None:
        _rebind(getattr(sys.modules[_MODULE], _NAME), _replaced)
        _replaced = None


def install_on_import() -> None:
    """Does what install() does as the environment says, as soon as NeMo's modules are imported."""
    hooks: dict[str, Callable[[ModuleType], Any]] = {_MODULE: _install}
    save_dtype = os.environ.get("MXFERRY_NEMO_SAVE_DTYPE")
    if save_dtype:
        hooks[_CHECKPOINTING] = lambda module: _install_save(module, save_dtype)
    for name in list(hooks):
        if name in sys.modules:
            hooks.pop(name)(sys.modules[name])
    if hooks and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(hooks))


def _install(module: ModuleType) -> Any:
    global _replaced
    if _replaced is None:
        theirs = getattr(module, _NAME)
        ours = _adapter_class(theirs)
        _rebind(theirs, ours)
        _replaced = theirs
    return getattr(module, _NAME)


def _install_save(module: ModuleType, dtype: str) -> None:
    global _replaced_save
    from .nemo_save import check_save_dtype, replacement

    check_save_dtype(dtype)
    if _replaced_save is None:
        _replaced_save = module.Checkpointer.save_model
    module.Checkpointer.save_model = replacement(module, _replaced_save, dtype)


def _adapter_class(theirs: Any) -> Any:
    """Our adapter on top of the bases of NeMo's class, whose members later versions may use.

    It has the name of NeMo's class, so pickled adapters load with or without this package.
    """
    from .state_dict_adapter import GPTOSSStateDictAdapter

    for base in theirs.__bases__:
        base.register(GPTOSSStateDictAdapter)
    names = {"__module__": _MODULE, "__doc__": GPTOSSStateDictAdapter.__doc__}
    return type(_NAME, (GPTOSSStateDictAdapter, *theirs.__bases__), names)


def _rebind(old: Any, new: Any) -> None:
    """Replaces an object in every module of NeMo AutoModel that has a name for it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == _PACKAGE and isinstance(module, ModuleType):
            for key in [key for key, value in vars(module).items() if value is old]:
                setattr(module, key, new)


class _Finder(MetaPathFinder):
    """Finds NeMo's modules through the other finders, and calls a hook after each is executed."""

    def __init__(self, hooks: dict[str, Callable[[ModuleType], Any]]) -> None:
        self._hooks = hooks
        self._asking_others = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname not in self._hooks or self._asking_others:
            return None
        self._asking_others = True
        try:
            spec = find_spec(fullname)
        finally:
            self._asking_others = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_install(module: ModuleType) -> None:
                execute(module)
                self._hooks[fullname](module)

            # Patches this loader instead of wrapping it, because inspect, for example, uses it.
            spec.loader.exec_module = execute_and_install  # type: ignore[method-assign]
        return spec
