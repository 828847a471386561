"""Lets the stock `ryu-manager` run with a current eventlet, and quietly (docs/ryu.md).

`ofgtp.pth` imports this module whenever the environment's Python starts, so it must stay cheap: it
imports nothing of eventlet or Ryu, it waits until somebody does.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and importlib.abc would cost every start 10 ms
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _Finder:
    """Never finds anything new: acts when one of three modules is about to be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "eventlet":
            # Addressed to those who start a project; Ryu has no other choice.
            import warnings

            warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated", Warning)
        elif fullname == "ryu.cmd.manager":
            # ryu-manager patches threads only after it has made its log handlers, whose locks
            # then stay as they are, and eventlet says so. Patched first, nothing is left over.
            import eventlet

            eventlet.monkey_patch()
        elif fullname == "eventlet.wsgi":
            spec = PathFinder.find_spec(fullname, path, target)
            return None if spec is None else _completed(spec)
        return None


def _completed(spec: ModuleSpec) -> ModuleSpec:
    """The spec of `eventlet.wsgi`, loading which also adds the name that Ryu 4.34 misses."""
    loader = spec.loader
    if loader is not None:
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            # Ryu returns it as the body of a response whose socket a websocket handler has taken
            # over: nothing is to be sent, and eventlet now marks such sockets itself.
            if not hasattr(module, "ALREADY_HANDLED"):
                module.ALREADY_HANDLED = ()  # type: ignore[attr-defined]

        loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def install() -> None:
    """Puts the finder before all others, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
