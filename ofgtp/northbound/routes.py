"""Which handler answers which method at which path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ofgtp.northbound.http.limits import Share
from ofgtp.northbound.http.response import Response


@dataclass(frozen=True, slots=True)
class Route:
    """A handler: it gets the request, and what stands in the path in place of `{…}`."""

    handler: Callable[..., Response]
    types: Collection[str] = ()
    """The content types that its body may have; none: it has no body."""
    limit: int = 0
    """The longest body, in octets."""
    share: Share | None = None
    """Where a body has its place while it comes."""


Methods = Mapping[str, Route]


class Routes:
    """Paths such as "/v1/sessions/{id}"; each `{…}` stands for one segment that is not empty."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self.table = table
        self._all = {method: route for each in table.values() for method, route in each.items()}
        self._patterns: dict[int, list[tuple[list[str], Methods]]] = {}
        for path, methods in table.items():
            parts = path.split("/")
            self._patterns.setdefault(len(parts), []).append((parts, methods))

    def find(self, path: str) -> tuple[Methods, list[str]] | None:
        """The methods at a path as it was sent, and what stands for its `{…}`, decoded; None if
        there is nothing."""
        methods = self.table.get(path)
        if methods is not None:
            return methods, []
        if path == "*":
            return self._all, []
        parts = path.split("/")
        if "%" in path:
            parts = [unquote(part) for part in parts]
        for pattern, methods in self._patterns.get(len(parts), ()):
            found = []
            for wanted, part in zip(pattern, parts, strict=True):
                if wanted[:1] == "{" and part:
                    found.append(part)
                elif wanted != part:
                    break
            else:
                return methods, found
        return None
