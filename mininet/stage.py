"""What every demo stands on: a namespace of its own with Open vSwitch, Mininet and ofgtp in it.

A demo is a script that calls `perform(topology, play)`; `play` gets the Stage, set up and running.
Everything is a child of one process in a PID namespace, with its files on a tmpfs in a mount
namespace: the end of that process, even by SIGKILL, is the end of all of it. The host's own
switch, addresses and files are out of reach.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "topologies"))

import mobile  # noqa: E402
from mininet.net import Mininet  # noqa: E402

RUN = Path("/run")  # a tmpfs of our own once we are inside
INSIDE = "OFGTP_DEMO_INSIDE"
API = "http://127.0.0.1:8080"
CONFIG = ROOT / "topologies" / "mobile.toml"
OURS = "cookie=0x0f67000000000000/0xffff000000000000"  # the mark of ofgtp's flows
SECONDS = 240  # that a whole demo may take on a busy machine; alone it is a fraction of that
PATIENCE = 60  # seconds that anything in it may take
IPERF_S = 40  # seconds that an iperf3 of two seconds may take
TIMED_OUT = 124  # what timeout(1) ends with then
WIDTH = 100
BOOLEANS = {"True": "1", "False": "0"}  # as tshark 4.4 prints them, and as earlier ones do
INTERVAL = 0.02  # seconds between two pings of a PingStream
END_MARKER = "0xfe"
UNDER_WAY = 0.5  # seconds that an answer may take on a busy machine


class Failed(Exception):
    """A step did not show what it should; the text says what was seen instead."""


class Script:
    """What the audience reads: numbered steps, prose, and quoted output; colour on a terminal."""

    def __init__(self) -> None:
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.number = 0
        self.title = "setting the stage"

    def paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def step(self, title: str, *prose: str) -> None:
        self.number, self.title = self.number + 1, title
        print(f"\n{self.paint('1;36', f'{self.number}. {title}')}")
        for text in prose:
            self.say(text)

    def say(self, text: str) -> None:
        print(textwrap.fill(" ".join(text.split()), WIDTH - 3, initial_indent="   ",
                            subsequent_indent="   "), flush=True)  # fmt: skip

    def quote(self, text: str) -> None:
        """Show what a program printed, or what was typed, folded to the width."""
        for line in text.rstrip().splitlines():
            for folded in textwrap.wrap(line, WIDTH - 8, drop_whitespace=False) or [""]:
                print(self.paint("2", f"     {folded}".rstrip()))
        sys.stdout.flush()

    def ok(self, text: str) -> None:
        print(f"   {self.paint('1;32', 'ok')} {text}", flush=True)


def run(*command: str | Path) -> str:
    """Run a command on the stage itself and return what it prints; Failed if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(map(str, command))
        raise Failed(f"`{words}` ended with {done.returncode}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def wait_for(what: str, ready: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Ask until `ready` answers with something true, and return that."""
    until = time.monotonic() + seconds
    while not (answer := ready()):
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return answer


def is_ready(gateways: dict[str, Any]) -> bool:
    """Whether the only gateway of an answer is in sync and knows its next hop's MAC address."""
    gateway = gateways["items"][0]
    return bool(gateway["connected"] and gateway["in_sync"] and gateway["next_hop"]["mac"])


class Stage:
    """Open vSwitch, the topology, the controller and the base stations, while a demo runs."""

    def __init__(self, topology: str, script: Script) -> None:
        self.script = script
        self.topology = topology
        self.files = RUN / "ofgtp"
        self.log = self.files / "controller.log"
        self.controller: subprocess.Popen[bytes] | None = None
        self.ending = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        run("mount", "-t", "tmpfs", "tmpfs", RUN)
        run("ip", "link", "set", "lo", "up")
        self.files.mkdir()
        self.start_switch()
        self.start_network()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ending.close()

    def child(self, process: subprocess.Popen[Any]) -> subprocess.Popen[Any]:
        """See to it that a process has ended when the stage is gone."""

        def end() -> None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self.ending.callback(end)
        return process

    def start_switch(self, rundir: Path = RUN / "openvswitch", node: str | None = None) -> None:
        """An Open vSwitch of the stage's own, or of a node's: the tmpfs that it is in is ours."""
        rundir.mkdir()
        database, socket = rundir / "conf.db", f"unix:{rundir}/db.sock"
        run("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
        for daemon, *arguments in (
            ("ovsdb-server", database, f"--remote=p{socket}"),
            ("ovs-vswitchd", socket, "--disable-system"),
        ):
            self.start(
                [daemon, *map(str, arguments), "--pidfile"],
                rundir / f"{daemon}.log",
                node,
                OVS_RUNDIR=str(rundir),
            )
            wait_for(daemon, (rundir / f"{daemon}.pid").exists)
        vsctl = "ovs-vsctl", f"--db={socket}"
        run(*vsctl, "--no-wait", "init")
        run(*vsctl, f"--timeout={PATIENCE}", "get", "Open_vSwitch", ".", "external_ids")

    def start(
        self, command: list[str], log: Path, node: str | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a program on the stage, or in a node's namespace, that ends with the stage."""
        popen = self.net[node].popen if node else subprocess.Popen
        with log.open("ab") as file:
            return self.child(
                popen(command, stdout=file, stderr=file, env=os.environ | environment, cwd=ROOT)
            )

    def start_network(self) -> None:
        Mininet.inited = True  # else it raises kernel limits of the whole host
        self.net = Mininet(topo=mobile.topos[self.topology](), controller=None)
        self.ending.callback(self.net.stop)
        self.net.start()

    def start_controller(
        self, ownership: str = "controller", lease_seconds: int = 10, gateway: str = ""
    ) -> None:
        """Start the stock ryu-manager with ofgtp, and wait until it says that it works.

        `gateway` is TOML, and goes on where the configuration's [[gateway]] ends.
        """
        self.ownership = ownership
        config = self.files / "ofgtp.toml"
        text = CONFIG.read_text().replace('"controller"', f'"{ownership}"')
        text = text.replace("sessions.db", f"{ownership}.db")
        text = text.replace("lease_seconds = 10", f"lease_seconds = {lease_seconds}")
        config.write_text(text + gateway)
        self.controller = self.start_manager(config, self.log)

        def answers(path: str) -> Any:
            self.check_controller()
            try:
                return self.get(path)
            except Failed:
                return None

        wait_for("/v1/health", lambda: answers("/v1/health"))
        wait_for("/v1/gateways: in sync, next hop known", self.gateway_ready)

    def start_manager(
        self, config: Path, log: Path, node: str | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start the stock ryu-manager with ofgtp."""
        manager = Path(sys.executable).with_name("ryu-manager")
        if not manager.exists():
            raise Failed(f"there is no {manager}: `make setup` makes it")
        environment |= {"OFGTP_CONFIG": str(config)}
        return self.start([str(manager), "ofgtp.app"], log, node, **environment)

    def gateway_ready(self) -> bool:
        self.check_controller()
        return is_ready(self.get("/v1/gateways"))

    def check_controller(self) -> None:
        if self.controller and self.controller.poll() is not None:
            raise Failed(f"the controller has ended ({self.controller.returncode})")

    def stop_controller(self) -> None:
        """Stop it as an operator would, with SIGTERM, and check that it ends cleanly.

        If the controller owns the tunnels, that means: without a flow left in the switch.
        """
        assert self.controller is not None
        self.controller.terminate()
        try:
            code = self.controller.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"the controller did not end within {PATIENCE} s of SIGTERM") from None
        if code not in (0, -signal.SIGTERM):
            raise Failed(f"the controller ended with {code} on SIGTERM")
        if self.ownership == "controller" and (left := self.flows()):
            raise Failed(f"the controller has left {len(left)} flows: {left[0]}")

    def crash_controller(self) -> float:
        """kill -9; returns when."""
        assert self.controller is not None
        self.controller.kill()
        at = time.time()
        self.controller.wait()
        return at

    def flows(self) -> list[str]:
        """The flows of ofgtp that the switch has."""
        text = run("ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "br-ofgtp", OURS)
        return [line.strip() for line in text.splitlines() if "actions=" in line]

    def versions(self) -> list[tuple[str, str]]:
        switch = run("ovs-vswitchd", "--version").split("\n")[0].split()[-1]
        return [
            ("Open vSwitch", f"{switch}, as Debian ships it, userspace datapath"),
            ("Ryu", f"{version('ryu')}, started by the stock ryu-manager"),
            ("Python", platform.python_version()),
            ("Linux", platform.release()),
        ]

    # -- REST --------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One REST request; Failed unless the answer is a 2xx."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            API + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={} if body is None else {"Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise Failed(f"{method} {path}: {error.code}: {text}") from None
        except (OSError, ValueError) as error:
            raise Failed(f"{method} {path}: {error}") from None

    def create(self, session: dict[str, Any]) -> Any:
        """Post a session; Failed unless the switch has confirmed it."""
        status, answer = self.call("POST", "/v1/sessions", session)
        if status != 201 or answer["state"] != "active":
            raise Failed(f"the session is not active: {status} {answer}")
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path)[1]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The events until now, oldest first: kind and facts."""
        request = urllib.request.Request(API + "/v1/events", headers={"Last-Event-ID": "0"})
        found = []
        kind = ""
        with (
            contextlib.suppress(TimeoutError),
            urllib.request.urlopen(request, timeout=0.3) as stream,
        ):
            for line in stream:  # it never ends: 0.3 s without one is the end
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    found.append((kind, json.loads(value)))
        return found

    # -- what moves packets ------------------------------------------------------------------

    def start_enb(self, name: str, *bearers: str) -> Enb:
        node = self.net[name]
        words = [str(ROOT / "topologies" / "enb.py"), f"--{node.interface}", node.address]
        for bearer in bearers:
            words += ["--bearer", bearer]
        return Enb("the base station", self.start_program(name, *words), self.radios(name))

    def radios(self, station: str) -> dict[str, str]:
        """A base station's interfaces to the UEs, by their IPv4 addresses."""
        found = {}
        for intf in self.net[station].intfList()[1:]:
            ends = (intf.link.intf1, intf.link.intf2)
            ue = next(end.node for end in ends if end.node is not intf.node)
            found[ue.address] = str(intf)
        return found

    def start_program(self, name: str, *words: str) -> subprocess.Popen[str]:
        """Start a Python program in a node's namespace that says when it is ready, and then takes
        lines."""
        process = self.net[name].popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.child(process)
        line = process.stdout.readline()
        if "ready" not in line:
            raise Failed(f"{name} did not start: {line}{process.stdout.read()}")
        return process

    def ping(self, node: str, address: str, count: int = 5, *options: str) -> tuple[int, str]:
        """Ping, and return (answers, what ping printed)."""
        words = ["ping", "-n", "-c", str(count), "-i", "0.1", "-W", "1", *options, address]
        out, err, _ = self.net[node].pexec(words)
        if "packets transmitted" not in out:
            raise Failed(f"{node}: {' '.join(words)}: {out}{err}")
        return int(out.split("packets transmitted, ")[1].split()[0]), out

    def answered(self, node: str, address: str, count: int = 5, *options: str) -> str:
        """Ping; Failed unless the first `count` are answered. Returns what ping printed.

        Ping itself would not wait for the last answer on a busy machine: with -w it goes on until
        it has `count`, or for ten seconds.
        """
        _, text = self.ping(node, address, count, "-w", "10", *options)
        numbers = set(map(int, re.findall(r"icmp_seq=(\d+) ttl", text)))
        if not numbers.issuperset(range(1, count + 1)):
            raise Failed(f"{node} → {address}: pings without an answer: {text}")
        return text

    def unanswered(self, node: str, address: str) -> None:
        """Wait until pings are not answered any more: the switch may go by what it has cached for
        some milliseconds yet."""
        none = f"no answer to {node}'s pings to {address}"
        wait_for(none, lambda: not self.ping(node, address, 2)[0], 5)

    @contextlib.contextmanager
    def pinging(self, node: str, address: str, count: int, interval: float) -> Iterator[Pings]:
        """Ping in the background, and wait for the last answers at the end."""
        words = ["ping", "-n", "-q", "-c", str(count), "-i", str(interval), "-W", "1", address]
        process = self.net[node].popen(words, stdout=subprocess.PIPE, text=True)
        self.child(process)
        pings = Pings(sent=count)
        yield pings
        text, _ = process.communicate(timeout=PATIENCE)
        pings.summary = "\n".join(text.strip().splitlines()[-2:])
        pings.answers = int(text.split("transmitted, ")[1].split()[0])

    def iperf3(
        self, client: str, server: str, address: str, *options: str, port: int = 5201
    ) -> float:
        """TCP for two seconds; Mbit/s as the receiving side counts them."""
        listener = self.net[server].popen(["iperf3", "-s", "-1", "-p", str(port)])
        self.child(listener)
        wait_for("iperf3 -s", lambda: f":{port} " in self.net[server].pexec(["ss", "-Htln"])[0])
        words = ["iperf3", "-c", address, "-p", str(port), "-t", "2", "-J"]
        words += ["--connect-timeout", "20000", *options]
        # It may wait for minutes for a server that it does not reach any more.
        out, err, code = self.net[client].pexec(["timeout", str(IPERF_S), *words])
        if code == TIMED_OUT:
            raise Failed(f"{client}: {' '.join(words)}: not done within {IPERF_S} s")
        try:
            result = json.loads(out)
            if code or "error" in result:
                raise Failed(f"{client}: {' '.join(words)}: {result.get('error', err)}")
            rate = result["end"]["sum_received"]["bits_per_second"] / 1e6
        except (KeyError, ValueError):
            raise Failed(f"{client}: {' '.join(words)}: {out}{err}") from None
        with contextlib.suppress(subprocess.TimeoutExpired):
            listener.wait(PATIENCE)  # the next one wants its port
        return rate

    @contextlib.contextmanager
    def capture(self, node: str, intf: str, *filters: str) -> Iterator[Path]:
        """Record packets of an interface with tcpdump; the file is whole afterwards."""
        path = self.files / f"{intf}.pcap"
        words = [
            "tcpdump",
            "-Z",
            "root",
            "-U",
            "--immediate-mode",
            "-n",
            "-i",
            intf,
            "-w",
            str(path),
            *filters,
        ]
        process = self.net[node].popen(words)
        self.child(process)
        process.stderr.readline()  # "tcpdump: listening on …"
        yield path
        time.sleep(0.5)  # packets on their way through the kernel's buffer
        process.terminate()
        process.wait(PATIENCE)


@dataclass
class Pings:
    """What has come of pings in the background."""

    sent: int
    answers: int = 0
    summary: str = ""


@dataclass
class Outage:
    """Pings in a row without an answer."""

    lost: int
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class PingStream:
    """Pings, fifty a second, until they are ended: which were answered, and when the others were.

    Each answer needs both tunnels. `calm`: seconds at the beginning, and at the end, in which
    nothing is done to them.
    """

    def __init__(self, stage: Stage, node: str, address: str, calm: float = 2) -> None:
        words = ["ping", "-n", "-D", "-i", str(INTERVAL), address]
        self.process = stage.net[node].popen(words, stdout=subprocess.PIPE, text=True)
        stage.child(self.process)
        self.calm = calm
        time.sleep(calm)

    def end(self) -> None:
        """Stop pinging, and find what was lost."""
        time.sleep(self.calm)
        self.process.send_signal(signal.SIGINT)
        text, _ = self.process.communicate(timeout=PATIENCE)
        answers = {int(n): float(at) for at, n in re.findall(r"\[([\d.]+)\].*icmp_seq=(\d+)", text)}
        summary = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        if summary is None or not answers:
            raise Failed(f"ping said: {text[-300:]}")
        places = sorted(answers)
        self.times = sorted(answers.values())
        self.last = answers[places[-1]]
        self.sent = int(summary[1])
        if time.time() - self.last < UNDER_WAY:
            self.sent = places[-1]  # an answer to one after it was under way when ping ended
        self.lost = self.sent - len(places)
        self.outages = []
        for before, after in itertools.pairwise(places):
            if after - before > 1:
                self.outages.append(
                    Outage(after - before - 1, answers[before], answers[after] - INTERVAL)
                )

    def told(self) -> str:
        longest = max((outage.seconds for outage in self.outages), default=0.0)
        return f"{self.lost} of {self.sent} pings lost, {longest:.1f} s in a row"


class Program:
    """A running program that is told by lines what to do."""

    def __init__(self, title: str, process: subprocess.Popen[str]) -> None:
        self.title, self.process = title, process

    def ask(self, line: str) -> str:
        """Give it a line of input, and return its answer; Failed if that is an error."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise Failed(f"{self.title}: {line}: {answer or 'it has ended'}")
        return answer


class Enb(Program):
    """A running topologies/enb.py, and its interfaces to the UEs."""

    def __init__(self, title: str, process: subprocess.Popen[str], radios: dict[str, str]) -> None:
        super().__init__(title, process)
        self.radios = radios

    def add(self, session: dict[str, Any], **further: object) -> None:
        """Give it a session's tunnels, and further fields of a bearer."""
        if "ue_ipv6" in session:
            further = {"radio": self.radios[session["ue_ip"]], **further}
        self.ask(f"add {bearer(session, **further)}")

    def stats(self) -> dict[str, int]:
        pairs = (word.partition("=") for word in self.ask("stats").split() if "=" in word)
        return {key: int(value) for key, _, value in pairs}


def bearer(session: dict[str, Any], **further: object) -> str:
    """A session's tunnels, as the base station is told them, and further fields of a bearer."""
    fields = {
        "ue_ip": session["ue_ip"],
        "uplink_teid": session["uplink"]["teid"],
        "downlink_teid": session["downlink"]["teid"],
        "gateway": mobile.GATEWAY,
    }
    if session.get("qfi"):
        fields["qfi"] = session["qfi"]
    return ",".join(f"{name}={value}" for name, value in (fields | further).items())


def tshark(capture: Path, fields: tuple[str, ...], filters: str) -> list[list[str]]:
    """Decode a capture: a row a packet, a column a field; nested headers' values by commas.

    Booleans are 1 and 0, as tshark before 4.4 prints them; later ones say True and False.
    """
    words = ["tshark", "-n", "-r", str(capture), "-o", "udp.check_checksum:TRUE", "-Y", filters]
    words += ["-T", "fields", *(word for field in fields for word in ("-e", field))]
    rows = (line.split("\t") for line in run(*words).splitlines())
    return [[_as_number(field) for field in row] for row in rows]


def ended_by_marker(capture: Path, node: str, teid: int) -> str:
    """Failed unless a base station's tunnel ended with one End Marker. What is to be said of that.

    The gateway sends it a tenth of a second after the switch has confirmed the change. The switch
    of a busy machine may need longer until it goes by that: what comes so late is told.
    """
    old = f"gtp.teid == {teid} && ip.dst == {node}"
    rows = tshark(capture, ("gtp.message", "frame.time_relative"), old)
    kinds = [kind for kind, _ in rows]
    before = kinds.index(END_MARKER) if END_MARKER in kinds else 0
    late = rows[before + 1 :]
    at = [float(time) for _, time in rows]
    if before < 10 or kinds.count(END_MARKER) != 1 or at[-1] - at[before] > UNDER_WAY:
        raise Failed(f"the End Marker is not the last in the old tunnel: {rows}")
    then = f"{len(late)} that the switch had on its way" if late else "nothing"
    return f"{before} packets in the old tunnel, then one End Marker, then {then}"


def _as_number(field: str) -> str:
    values = field.split(",")
    return ",".join(map(BOOLEANS.__getitem__, values)) if BOOLEANS.keys() >= set(values) else field


def perform(topology: str, play: Callable[[Stage, Script], None]) -> None:
    """Run a demo in namespaces of its own, and end the program with its exit code."""
    if INSIDE not in os.environ:
        sys.exit(perform_inside())
    script = Script()

    def too_long(signum: int, frame: object) -> None:
        raise Failed(f"the demo took longer than {SECONDS} s")

    def ended(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, ended)
    signal.alarm(SECONDS)
    stage = Stage(topology, script)
    started = time.monotonic()
    try:
        with stage:
            try:
                play(stage, script)
            except Exception:
                show_log(stage.log, script)
                raise
    except Exception as failure:
        sys.stdout.flush()
        if not isinstance(failure, Failed):
            traceback.print_exc()
        print(f"\nFAILED at {script.title!r}: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    print(f"\nAll is taken down. {script.number} steps in {time.monotonic() - started:.0f} s.")


def perform_inside() -> int:
    """Start this program again in new namespaces; its exit code. Root is needed for that."""
    program = Path(sys.argv[0]).name
    if os.geteuid() != 0:
        print(f"{program}: only root can make network namespaces: use sudo", file=sys.stderr)
        return 1
    for command in (
        "mnexec",
        "ovs-vswitchd",
        "tshark",
        "tcpdump",
        "iperf3",
        "traceroute",
        "nft",
        "ethtool",
    ):
        if not shutil.which(command):
            print(f"{program}: {command} is missing: `make setup` installs it", file=sys.stderr)
            return 1
    unshare = "unshare --net --mount --pid --fork --kill-child --mount-proc"
    inside = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *unshare.split(), sys.executable, *sys.argv],
        env=os.environ | {INSIDE: "1"},
    )
    # `unshare` itself ignores SIGTERM; to kill it is to end everything inside.
    signal.signal(signal.SIGTERM, lambda signum, frame: inside.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the inner one as well
    code = inside.wait()
    return code if code >= 0 else 128 - code


def show_log(log: Path, script: Script) -> None:
    """Show the end of the controller's log, where there is one."""
    if log.exists():
        print("\nThe last lines of the controller's log:")
        script.quote("\n".join(log.read_text(errors="replace").splitlines()[-25:]))
