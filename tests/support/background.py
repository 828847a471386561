"""The REST API in a thread, in front of gateways that are real but for their switches.

    with Background(path, patch) as api:
        httpx.get(f"{api.url}/v1/health")
        api.do(lambda net: net.detach())

For clients that block, as the `ofgtp` command does. What touches the gateways runs in the thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any, Self

import eventlet

from ofgtp.northbound.http.server import serve
from ofgtp.northbound.rest import RestApp
from ofgtp.store import SessionStore
from tests.support.agents import Net, quiet

Job = Callable[[Net], Any]

POOL6 = IPv6Network("2001:db8:a::/48")
"""Where UEs of gw1 have their IPv6 prefixes."""


class Background:
    """Gateway gw1, or gw1 and gw2, and the API; `options` are RestApp's."""

    def __init__(self, path: Path, patch: Any, gateways: int = 1, **options: Any) -> None:
        quiet(patch)
        self._path, self._gateways, self._options = path, gateways, options
        self._jobs: queue.SimpleQueue[tuple[Job | None, queue.SimpleQueue[Any]]]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(Net.attach_all)
        return self

    def __exit__(self, *error: object) -> None:
        self._jobs.put((None, queue.SimpleQueue()))
        self._thread.join(60)
        assert not self._thread.is_alive()

    def do(self, job: Job) -> Any:
        """Run something in the thread; its answer."""
        answer: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._jobs.put((job, answer))
        well, value = answer.get(timeout=60)
        if not well:
            raise value
        return value

    def _run(self) -> None:
        store = SessionStore(self._path / "sessions.db")
        net = Net(store, self._gateways, (POOL6,))
        server = serve(RestApp(net.service, **self._options), ("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.address[1]}"
        while True:
            try:
                job, answer = self._jobs.get_nowait()
            except queue.Empty:
                eventlet.sleep(0.002)
                continue
            if job is None:
                break
            try:
                answer.put((True, job(net)))
            except BaseException as error:
                answer.put((False, error))
        server.stop()
        net.end()
        store.close()
