"""The pages for browsers: files of `static`, each sent whole, with a policy of what it may do.

A browser sends no bearer token for a page, a style or a script by itself. So everything that a page
needs is put into it, nothing but /v1/health is answered without the token, and its scripts ask for
the rest by `fetch`. The content security policy names the digest of each script and style: no other
one runs, wherever it comes from.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path

from ofgtp.core.flows.drops import MEANINGS
from ofgtp.northbound.http.response import Response

STATIC = Path(__file__).parent / "static"

_SCRIPT = re.compile(r'<script src="([\w.]+)"></script>')
_STYLE = re.compile(r'<link rel="stylesheet" href="([\w.]+)">')
_INLINE = {"script": re.compile(r"<script>(.*?)</script>", re.DOTALL)}
_INLINE["style"] = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def read(name: str) -> str:
    """A page with the files beside it that it names put into it."""
    path = STATIC / name

    def beside(found: re.Match[str]) -> str:
        return (path.parent / found[1]).read_text()

    html = path.read_text()
    html = _SCRIPT.sub(lambda found: f"<script>\n{beside(found)}</script>", html)
    return _STYLE.sub(lambda found: f"<style>\n{beside(found)}</style>", html)


def digests(html: str, element: str) -> str:
    """What lets the scripts, or the styles, of a page be used: sources of a policy."""
    found = _INLINE[element].findall(html)
    sums = (hashlib.sha256(each.encode()).digest() for each in found)
    return " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in sums)


def answer(
    html: str,
    policy: str,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response with a page; `policy` adds to what is true of all."""
    response = Response(html, status, "text/html; charset=utf-8", dict(headers or {}))
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; {policy}; img-src data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@cache
def _overview() -> tuple[str, str]:
    words = json.dumps(MEANINGS).replace("<", "\\u003c")
    html = read("overview/index.html").replace("{MEANINGS}", words)
    policy = (
        f"script-src {digests(html, 'script')}; style-src {digests(html, 'style')};"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return html, policy


def overview(
    status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """`/`: gateways, peers, sessions, rates, drops and events at a look.

    With 401 it is the same page, and asks for the token.
    """
    return answer(*_overview(), status, headers)
