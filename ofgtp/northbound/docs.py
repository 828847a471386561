"""`/docs`: a page to read and try the API, Swagger UI with nothing from the internet.

The page itself holds no data. It loads the rest by `fetch`, so that it can send a bearer token,
which a browser does not do for a page, a style or a script by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

from ofgtp.northbound import pages
from ofgtp.northbound.http.response import Response

_PACKAGE = "mkdocs_swagger_ui_tag"
"""Only its copy of Swagger UI's distribution is used; the package itself is not imported."""
_ASSETS = {
    "swagger-ui.css": ("stylesheets", "text/css"),
    "swagger-ui-bundle.js": ("javascripts", "text/javascript"),
}


@cache
def _page() -> tuple[str, str]:
    html = pages.read("docs.html")
    # Swagger UI makes styles of its own, and is attached as a blob.
    return (
        html,
        f"script-src {pages.digests(html, 'script')} blob:; style-src 'unsafe-inline' blob:",
    )


def page(status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """The page; with 401 it is the same, and asks for the token."""
    return pages.answer(*_page(), status, headers)


@cache
def _read(name: str) -> bytes | None:
    spec = find_spec(_PACKAGE)
    if name not in _ASSETS or spec is None or spec.origin is None:
        return None
    return (Path(spec.origin).parent / "swagger-ui" / _ASSETS[name][0] / name).read_bytes()


def asset(name: str) -> Response | None:
    """A file of Swagger UI's, or None if there is none of this name."""
    content = _read(name) if name in _ASSETS else None
    if content is None:
        return None
    kept = {"Cache-Control": "private, max-age=3600"}
    return Response(content, content_type=f"{_ASSETS[name][1]}; charset=utf-8", headers=kept)
