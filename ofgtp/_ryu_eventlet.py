"""Lets the stock `ryu-manager` run with a current eventlet, quietly, and start fast (docs/ryu.md).

`ofgtp.pth` imports this module whenever the environment's Python starts, so it must stay cheap: it
imports nothing of eventlet or Ryu, it waits until somebody does.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and importlib.abc would cost every start 10 ms
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _Finder:
    """Never finds anything new: acts when one of a few modules is about to be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "eventlet":
            # Addressed to those who start a project; Ryu has no other choice.
            import warnings

            warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated", Warning)
            # Its own resolver takes 80 ms to load, and nothing here looks names up.
            os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
        elif fullname == "ryu.cmd.manager":
            # ryu-manager patches threads only after it has made its log handlers, whose locks
            # then stay as they are, and eventlet says so. Patched first, nothing is left over.
            import eventlet

            from ofgtp import logs

            # And its log handlers are to write to streams that never wait.
            logs.take_over_streams()
            eventlet.monkey_patch()
            return _loaded(fullname, path, target, _uncollected)
        elif fullname == "ofgtp.app":
            return _loaded(fullname, path, target, _uncollected)
        elif fullname == "distutils" and "ryu.cmd.manager" in sys.modules:
            # Ryu needs its version numbers, for which setuptools would load itself. None where
            # Python has no distutils: then it may.
            return PathFinder.find_spec(fullname, path, target)
        elif fullname == "eventlet.wsgi":
            return _loaded(fullname, path, target, _completed)
        return None


def _loaded(
    fullname: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
    load: Callable[[ModuleType, Callable[[ModuleType], None]], None],
) -> ModuleSpec | None:
    """The module's spec, loading which is done by `load`."""
    spec = PathFinder.find_spec(fullname, path, target)
    if spec is not None and spec.loader is not None:
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module, run)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def _completed(module: ModuleType, run: Callable[[ModuleType], None]) -> None:
    """Load `eventlet.wsgi`, and add the name that Ryu 4.34 misses."""
    run(module)
    # Ryu returns it as the body of a response whose socket a websocket handler has taken over:
    # nothing is to be sent, and eventlet now marks such sockets itself.
    if not hasattr(module, "ALREADY_HANDLED"):
        module.ALREADY_HANDLED = ()  # type: ignore[attr-defined]


def _uncollected(module: ModuleType, run: Callable[[ModuleType], None]) -> None:
    """Load a module with all that it imports, none of which is garbage."""
    gc.disable()
    try:
        run(module)
    finally:
        gc.enable()
        gc.freeze()


def install() -> None:
    """Puts the finder before all others, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
