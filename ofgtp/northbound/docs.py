"""`/docs`: a page to read and try the API, Swagger UI with nothing from the internet.

The page itself holds no data. It loads the rest by `fetch`, so that it can send a bearer token,
which a browser does not do for a page, a style or a script by itself.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

from werkzeug.wrappers import Response

_PACKAGE = "mkdocs_swagger_ui_tag"
"""Only its copy of Swagger UI's distribution is used; the package itself is not imported."""
_ASSETS = {
    "swagger-ui.css": ("stylesheets", "text/css"),
    "swagger-ui-bundle.js": ("javascripts", "text/javascript"),
}


@cache
def _page() -> tuple[bytes, str]:
    """The page, and a content security policy that lets its one script run and no other."""
    html = (Path(__file__).parent / "static" / "docs.html").read_bytes()
    script = re.search(rb"<script>(.*?)</script>", html, re.DOTALL)
    digest = hashlib.sha256(script[1] if script else b"").digest()
    policy = (
        f"default-src 'none'; script-src 'sha256-{base64.b64encode(digest).decode()}' blob:;"
        " style-src 'unsafe-inline' blob:; img-src data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def page(status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """The page; with 401 it is the same, and asks for the token."""
    html, policy = _page()
    response = Response(html, status=status, mimetype="text/html", headers=headers)
    response.headers["Content-Security-Policy"] = policy
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


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
    response = Response(content, mimetype=_ASSETS[name][1])
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response
