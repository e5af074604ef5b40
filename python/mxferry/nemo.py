"""Puts this package's GPTOSSStateDictAdapter in the place of NeMo AutoModel's.

    import mxferry.nemo

    mxferry.nemo.install()

Runs that are launched from a YAML file import nothing of their own: with MXFERRY_NEMO=1 in the
environment, installing happens when NeMo AutoModel's adapter is imported. Nothing here imports more
than the standard library before that.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_PACKAGE = "nemo_automodel"
_MODULE = "nemo_automodel.components.models.gpt_oss.state_dict_adapter"
_NAME = "GPTOSSStateDictAdapter"

# NeMo's own class where it was replaced, else None.
_replaced: Any = None


def install() -> Any:
    """Makes NeMo AutoModel use this package's adapter; returns the class that it uses from now on.

    The class is replaced where it is defined and in each module of NeMo AutoModel that has imported
    it, so models made from now on have an adapter of this package; adapters that are there stay.
    It is mxferry.GPTOSSStateDictAdapter and NeMo's StateDictAdapter at once, and so is an object of
    mxferry.GPTOSSStateDictAdapter to isinstance(). A second call changes nothing.

    Raises ModuleNotFoundError where NeMo AutoModel, or what it needs, is not installed.
    """
    return _install(import_module(_MODULE))


def uninstall() -> None:
    """Gives NeMo AutoModel its own class back; does nothing where it has it."""
    global _replaced
    if _replaced is not None:
        _rebind(getattr(sys.modules[_MODULE], _NAME), _replaced)
        _replaced = None


def install_on_import() -> None:
    """Has install() done as soon as NeMo AutoModel's adapter is imported, before anyone uses it."""
    if _MODULE in sys.modules:
        install()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _install(module: ModuleType) -> Any:
    global _replaced
    if _replaced is None:
        theirs = getattr(module, _NAME)
        ours = _adapter_class(theirs)
        _rebind(theirs, ours)
        _replaced = theirs
    return getattr(module, _NAME)


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
    """Finds the module of NeMo's adapter as the others do, and installs when it was executed."""

    _asking_others = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != _MODULE or self._asking_others:
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
                _install(module)

            # On this one loader, which otherwise stays what it is: inspect, for example, asks it.
            spec.loader.exec_module = execute_and_install  # type: ignore[method-assign]
        return spec
