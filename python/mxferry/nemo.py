"""Puts this package's GPTOSSStateDictAdapter in the place of NeMo AutoModel's.

    import mxferry.nemo

    mxferry.nemo.install()

Runs that are launched from a YAML file import nothing of their own: with MXFERRY_NEMO=1 in the
environment, or MXFERRY_NEMO_SAVE_DTYPE, which is `save_dtype` of install(), installing happens when
NeMo AutoModel's modules are imported. Nothing here imports more than the standard library before
that.
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

# NeMo's own class, and its Checkpointer.save_model(), where they were replaced, else None.
_replaced: Any = None
_replaced_save: Any = None


def install(save_dtype: str | None = None) -> Any:
    """Makes NeMo AutoModel use this package's adapter; returns the class that it uses from now on.

    The class is replaced where it is defined and in each module of NeMo AutoModel that has imported
    it, so models made from now on have an adapter of this package; adapters that are there stay.
    It is mxferry.GPTOSSStateDictAdapter and NeMo's StateDictAdapter at once, and so is an object of
    mxferry.GPTOSSStateDictAdapter to isinstance(). A second call changes nothing.

    save_dtype: "mxfp4", "bf16", "f16" or "f32". Wherever its Checkpointer writes a consolidated
        checkpoint of gpt-oss, save_checkpoint() writes it, in this dtype, from the live model. The
        shards beside it, from which runs resume, stay as they are. None leaves saving as it is.

    Raises ModuleNotFoundError where NeMo AutoModel, or what it needs, is not installed, and Error.
    """
    if save_dtype is not None:
        _install_save(import_module(_CHECKPOINTING), save_dtype)
    return _install(import_module(_MODULE))


def uninstall() -> None:
    """Gives NeMo AutoModel its own class and way of saving back; does nothing where it has them."""
    global _replaced, _replaced_save
    if _replaced_save is not None:
        sys.modules[_CHECKPOINTING].Checkpointer.save_model = _replaced_save  # type: ignore[attr-defined]
        _replaced_save = None
    if _replaced is not None:
        _rebind(getattr(sys.modules[_MODULE], _NAME), _replaced)
        _replaced = None


def install_on_import() -> None:
    """Has install() done as the environment says, by what of NeMo AutoModel is imported, at once."""
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
    """Ours on top of what NeMo's class is based on, whose other members later versions may ask for.

    It has the name of NeMo's class, so pickles of adapters are read with or without this package.
    """
    from .state_dict_adapter import GPTOSSStateDictAdapter

    for base in theirs.__bases__:
        base.register(GPTOSSStateDictAdapter)
    names = {"__module__": _MODULE, "__doc__": GPTOSSStateDictAdapter.__doc__}
    return type(_NAME, (GPTOSSStateDictAdapter, *theirs.__bases__), names)


def _rebind(old: Any, new: Any) -> None:
    """Replaces an object wherever a module of NeMo AutoModel has a name for it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == _PACKAGE and isinstance(module, ModuleType):
            for key in [key for key, value in vars(module).items() if value is old]:
                setattr(module, key, new)


class _Finder(MetaPathFinder):
    """Finds modules of NeMo's as the others do, and calls their hooks when they were executed."""

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

            # On this one loader, which otherwise stays what it is: inspect, for example, asks it.
            spec.loader.exec_module = execute_and_install  # type: ignore[method-assign]
        return spec
