"""A gateway's world in network namespaces: Open vSwitch of its own, base stations, a core host.

    with Lab() as lab:
        lab.start_controller()
        lab.http("POST", "/v1/sessions", {...})
        enb = lab.port("enb")
        enb.send(frame)
        frames = enb.receive()

      enb (10.1.0.2) eth0 ── eth1  gw  eth2 ── eth0 (10.2.0.2) pdn

With more than one base station they, and eth1, meet in a Linux bridge in a namespace `lan`.
Nothing outlives it: children die with this process, and the namespaces and directories that a
killed one leaves are swept away by the next.
"""

from __future__ import annotations

import ctypes
import errno
import http.client
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, Self

from ofgtp.core.model import Gateway

ROOT = Path(__file__).resolve().parents[2]
PORTS = os.environ.get("OFGTP_TEST_PORTS", "")
"""The `ports` of the labs' gateways; empty: the default."""
SCHEMA = Path(os.environ.get("OFGTP_TEST_SWITCH", "/"), "usr/share/openvswitch/vswitch.ovsschema")
NETNS = Path("/run/netns")
PREFIX = "ofgtp-t-"

CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_RCVBUFFORCE = 33
"""Not held to net.core.rmem_max: a test may be slow to read."""
ETH_P_ALL = 3

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


class LabError(Exception):
    """The lab itself did not do what a test relies on."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the REST API."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawPort:
    """Frames in and out of an interface, on an AF_PACKET socket opened in its namespace."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, *frames: Any) -> None:
        """Send frames: bytes, or scapy packets with their Ethernet header."""
        for frame in frames:
            self._sock.send(bytes(frame))

    def receive(
        self,
        count: int | None = None,
        *,
        want: Callable[[bytes], bool] = lambda frame: True,
        quiet: float = 0.3,
        timeout: float = 10.0,
    ) -> list[bytes]:
        """Frames that came in and that `want` accepts, those since the last call included.

        Ends when `count` of them are there, when nothing at all came for `quiet` s (without
        `count`), or after `timeout` s.
        """
        frames: list[bytes] = []
        deadline = time.monotonic() + timeout
        while count is None or len(frames) < count:
            left = deadline - time.monotonic()
            patience = left if count is not None else min(left, quiet)
            if patience <= 0 or not select.select([self._sock], [], [], patience)[0]:
                break
            with suppress(BlockingIOError):
                frame = self._take()
                if want(frame):
                    frames.append(frame)
        return frames

    def drain(self) -> None:
        """Forget what has come in so far."""
        with suppress(BlockingIOError):
            while True:
                self._take()

    def _take(self) -> bytes:
        """The next frame; that the link was down meanwhile is said once, and passed over."""
        try:
            return self._sock.recv(65536)
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
        return self._sock.recv(65536)

    def close(self) -> None:
        self._sock.close()


class Lab:
    """Namespaces `gw`, `enb` (`enb2` …) and `pdn`, with ovsdb-server and ovs-vswitchd in `gw`.

    Not for several threads: children die with the thread that starts them.
    """

    def __init__(self, *, enbs: int = 1, switch: bool = True, ipv6: bool = False) -> None:
        """`switch=False` leaves Open vSwitch to be started by start_switch()."""
        self.enbs = ["enb", *(f"enb{number}" for number in range(2, enbs + 1))]
        self._with_switch, self._ipv6 = switch, ipv6
        self._id = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self._namespaces: list[str] = []
        self._children: list[subprocess.Popen[Any]] = []
        self._ports: list[RawPort] = []
        self._daemons: dict[str, subprocess.Popen[Any]] = {}
        self.controller: subprocess.Popen[Any] | None = None
        self.environment: dict[str, str] = {}
        """What the controller finds in its environment besides."""
        self.ports = PORTS
        """The gateway's `ports` in its configuration; empty: the default."""

    # life

    def __enter__(self) -> Self:
        sweep()
        self.dir = Path(tempfile.mkdtemp(prefix=f"{self._id}-"))
        try:
            self._build()
            if self._with_switch:
                self.start_switch()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Take all down."""
        for port in self._ports:
            port.close()
        for child in reversed(self._children):
            _kill(child)
        for name in reversed(self._namespaces):
            _remove_namespace(self.namespace(name))
        self._namespaces.clear()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _build(self) -> None:
        self.add_namespace("gw")
        self.add_namespace("pdn")
        for enb in self.enbs:
            self.add_namespace(enb)
        if len(self.enbs) == 1:
            self.link("gw", "eth1", "enb", "eth0")
        else:
            self.add_namespace("lan")
            self.exec("lan", ["ip", "link", "add", "br0", "type", "bridge"])
            self.exec("lan", ["ip", "link", "set", "br0", "up"])
            self.link("gw", "eth1", "lan", "gw")
            self.exec("lan", ["ip", "link", "set", "gw", "master", "br0"])
            for enb in self.enbs:
                self.link(enb, "eth0", "lan", enb)
                self.exec("lan", ["ip", "link", "set", enb, "master", "br0"])
        for number, enb in enumerate(self.enbs, start=2):
            self.exec(enb, ["ip", "addr", "add", f"10.1.0.{number}/24", "dev", "eth0"])
        self.link("gw", "eth2", "pdn", "eth0")
        self.exec("pdn", ["ip", "addr", "add", "10.2.0.2/24", "dev", "eth0"])
        self.exec("pdn", ["ip", "route", "add", "10.45.0.0/16", "via", "10.2.0.1"])

    # namespaces

    def namespace(self, name: str) -> str:
        """The name that `ip netns` knows it by."""
        return f"{self._id}-{name}"

    def add_namespace(self, name: str) -> None:
        """Make a namespace, with its loopback up."""
        _run(["ip", "netns", "add", self.namespace(name)])
        self._namespaces.append(name)
        if not self._ipv6:
            for conf in ("all", "default"):
                self.exec(name, ["sysctl", "-qw", f"net.ipv6.conf.{conf}.disable_ipv6=1"])
        self.exec(name, ["ip", "link", "set", "lo", "up"])

    def link(
        self, a: str, dev_a: str, b: str, dev_b: str, macs: tuple[str, str] | None = None
    ) -> None:
        """Join two namespaces by a veth pair, up, with whole checksums (transmit offload off);
        perhaps with these MAC addresses from the beginning."""
        of_a, of_b = (["address", mac] for mac in macs) if macs else ([], [])
        end_a = [dev_a, "netns", self.namespace(a), *of_a]
        end_b = ["peer", "name", dev_b, "netns", self.namespace(b), *of_b]
        _run(["ip", "link", "add", *end_a, "type", "veth", *end_b])
        for name, dev in ((a, dev_a), (b, dev_b)):
            self.exec(name, ["ethtool", "-K", dev, "tx", "off"])
            self.exec(name, ["ip", "link", "set", dev, "up"])

    def mac(self, name: str, dev: str = "eth0") -> str:
        """The MAC address of an interface."""
        shown = json.loads(self.exec(name, ["ip", "-json", "link", "show", "dev", dev]).stdout)
        return str(shown[0]["address"])

    def mute(self, name: str, dev: str = "eth0") -> None:
        """Keep a host's own stack from answering anything but ARP and Neighbour Solicitations; raw
        ports see all the same."""
        rule = (
            f'table netdev mute {{ chain in {{ type filter hook ingress device "{dev}" '
            "priority 0; policy drop; ether type arp accept; "
            "meta protocol ip6 icmpv6 type nd-neighbor-solicit accept; }; }"
        )
        self.exec(name, ["nft", rule])

    def add_ipv6(self, name: str, address: str, dev: str = "eth0") -> None:
        """Give a host an IPv6 address with its prefix's length: its stack has IPv6 from now on."""
        for key, value in (("accept_ra", 0), ("disable_ipv6", 0)):
            self.exec(name, ["sysctl", "-qw", f"net.ipv6.conf.{dev}.{key}={value}"])
        self.exec(name, ["ip", "addr", "add", address, "dev", dev, "nodad"])

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60.0,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a namespace, to its end.

        Raises:
            LabError: with its output, if it fails and `check` is set.
        """
        return _run(self._in(name, argv), check=check, timeout=timeout, stdin=stdin, env=self.env)

    def spawn(self, name: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a namespace; it ends with the lab. `options` are Popen's."""
        options.setdefault("env", self.env)
        child = subprocess.Popen(self._in(name, argv), preexec_fn=_die_with(os.getpid()), **options)
        self._children.append(child)
        return child

    def _in(self, name: str, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace(name), *argv]

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Put the calling thread into a namespace: its sockets, commands and /proc/sys/net."""
        with Path("/proc/thread-self/ns/net").open() as here:
            with (NETNS / self.namespace(name)).open() as there:
                _setns(there.fileno())
            try:
                yield
            finally:
                _setns(here.fileno())

    def port(self, name: str, dev: str = "eth0") -> RawPort:
        """A raw port on an interface; it takes frames from now on, until the lab ends."""
        with self.inside(name):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.setblocking(False)
            sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            sock.bind((dev, ETH_P_ALL))
        port = RawPort(sock)
        self._ports.append(port)
        return port

    # Open vSwitch

    @property
    def env(self) -> dict[str, str]:
        """The environment in which the ovs-* tools find this lab's switch."""
        where = str(self.dir)
        return {**os.environ, "OVS_RUNDIR": where, "OVS_LOGDIR": where, "OVS_DBDIR": where}

    @property
    def ovsdb(self) -> str:
        """The OVSDB remote, as `ofgtp.toml` has it."""
        return f"unix:{self.dir}/db.sock"

    def start_switch(self) -> None:
        """Start ovsdb-server and ovs-vswitchd."""
        self.start_ovsdb()
        self.start_vswitchd()

    def start_ovsdb(self) -> None:
        """Start ovsdb-server, on the database it had before if it ran before."""
        database = self.dir / "conf.db"
        fresh = not database.exists()
        if fresh:
            _run(["ovsdb-tool", "create", str(database), str(SCHEMA)], env=self.env)
        self._daemon("ovsdb-server", [str(database), f"--remote=p{self.ovsdb}"])
        if fresh:
            self.vsctl("--no-wait", "init")

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd; returns when it has read its configuration."""
        self.vsctl("--no-wait", "clear", "Open_vSwitch", ".", "ovs_version")
        self._daemon("ovs-vswitchd", [self.ovsdb, "--disable-system"])
        self.vsctl("set", "Open_vSwitch", ".", f"ovs_version={self.switch_version}")

    @property
    def switch_version(self) -> str:
        """The version of the ovs-vswitchd that runs."""
        return self.appctl("version").split()[3]

    def stop_ovsdb(self) -> None:
        """Kill ovsdb-server."""
        _kill(self._daemons["ovsdb-server"])

    def stop_vswitchd(self) -> None:
        """Kill ovs-vswitchd."""
        _kill(self._daemons["ovs-vswitchd"])

    def switch_alive(self) -> bool:
        """Whether both daemons run, as started."""
        return all(daemon.poll() is None for daemon in self._daemons.values())

    def _daemon(self, name: str, arguments: Sequence[str]) -> None:
        control = self.dir / f"{name}.ctl"
        control.unlink(missing_ok=True)
        log = self.dir / f"{name}.log"
        with log.open("ab") as output:
            daemon = self.spawn(
                "gw",
                [name, *arguments, f"--pidfile={self.dir}/{name}.pid", f"--unixctl={control}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._daemons[name] = daemon
        argv = ["ovs-appctl", "-t", str(control), "version"]
        _until(
            lambda: _run(argv, check=False, env=self.env).returncode == 0,
            f"{name} to answer",
            alive=daemon,
            log=log,
        )

    def vsctl(self, *arguments: str) -> str:
        """`ovs-vsctl`, its output."""
        argv = ["ovs-vsctl", f"--db={self.ovsdb}", "--timeout=30", *arguments]
        return self.exec("gw", argv).stdout

    def ofctl(self, *arguments: str, version: str = "OpenFlow14") -> str:
        """`ovs-ofctl`, its output."""
        return self.exec("gw", ["ovs-ofctl", "-O", version, *arguments]).stdout

    def appctl(self, *arguments: str) -> str:
        """`ovs-appctl` to ovs-vswitchd, its output."""
        return self.exec(
            "gw", ["ovs-appctl", "-t", f"{self.dir}/ovs-vswitchd.ctl", *arguments]
        ).stdout

    def cache_follows(self) -> None:
        """Wait until what the switch has cached follows its flows: it may lag after a barrier
        (docs/ovs-faults.md).

        Twice: what it is looking through now it may have begun before the flows changed.
        """
        for _ in range(2):
            self.appctl("revalidator/wait")

    # the controller

    def end(self, device: str) -> str:
        """By which port the bridge has an interface of its namespace."""
        return replace(
            self.gateway(), port_type="afxdp" if self.ports == "afxdp" else "af_packet"
        ).ends_of(device)[0]

    def gateway(self, **changes: Any) -> Gateway:
        """This lab's gateway as the core knows it, with some of its fields changed."""
        return gateway(ovsdb=self.ovsdb, **changes)

    def config(
        self,
        *,
        controller: str = "",
        rest: str = "",
        core: str = 'core_port = "eth2"\ncore_ip = "10.2.0.1/24"\nnext_hop = "10.2.0.2"',
        gateway: str = "",
        decrement_ttl: bool = False,
    ) -> str:
        """An `ofgtp.toml` for this lab; each argument is more lines of TOML for its table.

        TTLs stay by default, unlike ofgtp's own: so what comes out is what went in.
        """
        return f"""\
[controller]
store = "{self.dir}/sessions.db"
{controller}

[rest]
listen = "127.0.0.1:8080"
{rest}

[[gateway]]
name = "gw1"
ovsdb = "{self.ovsdb}"
openflow = "tcp:127.0.0.1:6653"
bridge = "br-ofgtp"
access_port = "eth1"
access_ip = "10.1.0.1/24"
{core}
ue_pools = ["10.45.0.0/16"]
{"" if decrement_ttl else "decrement_ttl = false"}
{f'ports = "{self.ports}"' if self.ports else ""}
{gateway}
"""

    def start_controller(
        self,
        config_text: str | None = None,
        *,
        status: int | None = 200,
        timeout: float = 60.0,
        by: Sequence[str] = (),
        options: Sequence[str] = (),
        output: int | None = None,
    ) -> None:
        """Start the stock ryu-manager on `ofgtp.app`; returns when /v1/health answers `status`.

        With `status=None` any answer will do. `by` are the words of a program that starts it,
        `options` are ryu-manager's; `output` is a file descriptor for what it writes, instead of
        the log.
        """
        path = self.dir / "ofgtp.toml"
        path.write_text(self.config() if config_text is None else config_text)
        program = str(Path(sys.executable).parent / "ryu-manager")
        with self.controller_log.open("ab") as log:
            written = log.fileno() if output is None else output
            self.controller = self.spawn(
                "gw",
                [*by, program, *options, "ofgtp.app"],
                env={**self.env, **self.environment, "OFGTP_CONFIG": str(path)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
            )
        self.wait_health(status, timeout=timeout)

    def wait_health(self, status: int | None = 200, *, timeout: float = 60.0) -> None:
        """Wait until /v1/health answers with that status (None: any)."""
        last = "nothing"

        def answered() -> bool:
            nonlocal last
            try:
                health = self.http("GET", "/v1/health", timeout=5.0)
            except OSError:
                return False
            last = f"{health.status} {health.body.decode(errors='replace')}"
            return status is None or health.status == status

        _until(
            answered,
            lambda: f"/v1/health to answer {status or ''} (last: {last})",
            timeout=timeout,
            alive=self.controller,
            log=self.controller_log,
        )

    @property
    def controller_log(self) -> Path:
        """What ryu-manager has written, in all of its runs."""
        return self.dir / "controller.log"

    def stop_controller(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """End the controller, by SIGTERM (a clean stop) or SIGKILL (a crash); its exit code."""
        if self.controller is None:
            raise LabError("no controller was started")
        self.controller.send_signal(with_signal)
        try:
            code = self.controller.wait(30)
        except subprocess.TimeoutExpired as error:
            _kill(self.controller)
            raise LabError(
                f"the controller does not stop:\n{_tail(self.controller_log)}"
            ) from error
        self.controller = None
        return code

    def http(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
        address: tuple[str, int] = ("127.0.0.1", 8080),
        name: str = "gw",
    ) -> Response:
        """Call the REST API from within a namespace; what is not bytes is sent as JSON.

        Raises:
            OSError: nobody answers.
        """
        connection = http.client.HTTPConnection(*address, timeout=timeout)
        with self.inside(name):
            connection.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.sock.settimeout(timeout)
            connection.sock.connect(address)
            head = dict(headers or {})
            data = body if isinstance(body, bytes) else None
            if body is not None and data is None:
                data = json.dumps(body).encode()
                head.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, head)
            answer = connection.getresponse()
            fields = {key.lower(): value for key, value in answer.getheaders()}
            return Response(answer.status, fields, answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()


def gateway(**changes: Any) -> Gateway:
    """The gateway of this module's picture."""
    picture = Gateway(
        name="gw1",
        ovsdb="unix:/var/run/openvswitch/db.sock",
        openflow="tcp:127.0.0.1:6653",
        bridge="br-ofgtp",
        access_port="eth1",
        access_ip=IPv4Interface("10.1.0.1/24"),
        core_port="eth2",
        core_ip=IPv4Interface("10.2.0.1/24"),
        next_hop=IPv4Address("10.2.0.2"),
        ue_pools=(IPv4Network("10.45.0.0/16"),),
        decrement_ttl=False,
    )
    return replace(picture, **changes)


def sweep() -> None:
    """Remove what labs of processes that are gone have left."""
    for found in NETNS.glob(f"{PREFIX}*") if NETNS.exists() else ():
        if _owner_gone(found.name):
            _remove_namespace(found.name)
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _owner_gone(directory.name):
            shutil.rmtree(directory, ignore_errors=True)


def _owner_gone(name: str) -> bool:
    pid = name.removeprefix(PREFIX).split("-")[0]
    return pid.isdigit() and not Path("/proc", pid).exists()


def _remove_namespace(name: str) -> None:
    """Delete a namespace and end what still runs in it (a child of a child, say)."""
    for pid in _run(["ip", "netns", "pids", name], check=False).stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _run(["ip", "netns", "del", name], check=False)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _die_with(parent: int) -> Callable[[], None]:
    """For a child, before it becomes its program: die when the parent does, and heed Ctrl-C, which
    a shell's background job, as these tests may be, has its children ignore."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _kill(child: subprocess.Popen[Any]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def _run(
    argv: Sequence[str],
    *,
    check: bool = True,
    timeout: float = 60.0,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv,
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
        preexec_fn=_die_with(os.getpid()),
        check=False,
    )
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def _until(
    condition: Callable[[], bool],
    what: str | Callable[[], str],
    *,
    timeout: float = 30.0,
    alive: subprocess.Popen[Any] | None = None,
    log: Path,
) -> None:
    """Wait for a condition, while a process is alive."""
    deadline = time.monotonic() + timeout
    while not condition():
        ended = alive is not None and alive.poll() is not None
        if ended or time.monotonic() > deadline:
            reason = "it ended" if ended else f"not within {timeout} s"
            text = what if isinstance(what, str) else what()
            raise LabError(f"waiting for {text}: {reason}\n{_tail(log)}")
        time.sleep(0.05)


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
