"""Lets the stock `ryu-manager` start with a current eventlet (docs/ryu.md).

Ryu 4.34 imports `eventlet.wsgi.ALREADY_HANDLED`, which eventlet removed in 0.30.3. `ofgtp.pth`
imports this module whenever the environment's Python starts, before anything of Ryu; eventlet
itself is not imported here, it is completed when and if somebody imports it.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_MODULE = "eventlet.wsgi"


class _Completed(Loader):
    """Runs the real loader, then adds the one name that Ryu misses."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # Ryu returns it as the body of a response whose socket a websocket handler has taken
        # over. An empty body it was, and is; ofgtp serves no websockets through Ryu.
        if not hasattr(module, "ALREADY_HANDLED"):
            module.ALREADY_HANDLED = ()  # type: ignore[attr-defined]


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Completed(spec.loader)
        return spec


def install() -> None:
    """Puts the finder first, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
