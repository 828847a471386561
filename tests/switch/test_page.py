"""The page at `/`, in a real browser, in front of a real controller and switch."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from ofgtp.core.troubles import shown, troubles
from tests.support import gtpu
from tests.support.browser import NARROW, WIDE, Watched, chromium, rewritten, shot, watched
from tests.support.lab import Lab
from tests.support.site import PDN_IP, Site, until

pytestmark = pytest.mark.switch

BASE = "http://127.0.0.1:8080"
SESSIONS = 10_000
REFUSED = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET")
"""What a browser itself says of a server that ends."""
HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
LINE = re.compile(r"M[\d.]+ [\d.]+L[\d.]+ [\d.]+")
TOKEN = "secret-of-the-page"


@pytest.fixture(scope="module")
def bare() -> Iterator[Site]:
    """A gateway without sessions."""
    with Lab(enbs=2) as lab:
        yield Site(lab)


@pytest.fixture(scope="module")
def site(bare: Site) -> Site:
    """The same with a session by which packets pass, and one of a peer that is not there."""
    bare.ready()
    bare.session("10.45.0.9", teid=0x1009, downlink=0x2009, peer="10.1.0.77")
    return bare


@pytest.fixture(scope="module")
def browser(bare: Site) -> Iterator[Browser]:
    with chromium(bare.lab) as browser:
        yield browser


@pytest.fixture
def view(browser: Browser) -> Iterator[Watched]:
    with watched(browser, BASE) as view:
        yield view


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def rows(page: Page) -> Locator:
    return page.locator("#listed tbody tr")


def again(page: Page) -> None:
    """Have it ask now, and not within two seconds."""
    page.evaluate("turn()")


def told(page: Page, words: str) -> None:
    """The first line says so."""
    expect(page.locator("#verdict")).to_contain_text(words)


def search(page: Page, words: str) -> None:
    page.fill("#query", words)


# --- what it shows


def test_empty(bare: Site, view: Watched, pictures: Path) -> None:
    """It says that there is nothing, and two ways to make a session; done so, it appears."""
    page = view.open()
    told(page, "All is well")
    expect(page.locator("#listed")).to_contain_text("There are no sessions yet")
    expect(page.locator(".picture")).to_contain_text("no session names a peer yet")
    expect(page.locator(".drops")).to_contain_text("Dropped packets")
    expect(page.locator("#log")).to_contain_text("The switch connected")
    shot(page, pictures, "empty")
    ofgtp, curl = page.locator("#listed pre").all_inner_texts()
    commands = Path(sys.executable).parent
    for command in (ofgtp, curl.replace("curl ", "curl -sS --fail ")):
        bare.lab.exec("gw", ["bash", "-c", f"PATH={commands}:$PATH; {command}"])
        expect(page.locator("#log")).to_contain_text("session created phone-1")
        again(page)
        expect(rows(page)).to_have_count(1)
        expect(rows(page)).to_contain_text("active")
        expect(page.locator(".picture g.peer")).to_contain_text("10.1.0.2")
        bare.delete("phone-1")
        expect(page.locator("#log")).to_contain_text("session deleted phone-1")
        again(page)
        expect(page.locator("#listed")).to_contain_text("There are no sessions yet")
    view.clean()


def test_full(site: Site, view: Watched, pictures: Path) -> None:
    """Ports, peers, rates, drops, a session and its flows, as the switch has them."""
    page = view.open()
    ue = "10.45.254.254"
    up = [site.t_pdu(0xFEED_0001, gtpu.ipv4(ue, PDN_IP)) for _ in range(30)]
    down = [site.to_ue(gtpu.ipv4(PDN_IP, ue)) for _ in range(20)]
    stray = site.to_ue(gtpu.ipv4(PDN_IP, "10.45.77.7"))

    def flowing() -> bool:
        site.enb.send(*up)
        site.pdn.send(*down, stray)
        again(page)
        rates = page.locator(".picture .rate")
        seen = rates.all_text_contents()
        dropped = "/s" in " ".join(drops.all_text_contents())
        return dropped and all(text and " 0/s" not in text for text in seen)

    drops = page.locator(".drops tr", has_text="unknown_ue")
    until(flowing, "the page shows packets a second both ways, and drops", timeout=60)
    expect(page.locator(".wire.uplink.flows")).to_have_count(2)
    expect(drops).to_contain_text("downlink packet to a UE address without a session")
    expect(page.locator(".graph .line.up").first).to_have_attribute("d", LINE)
    picture = page.locator(".picture")
    shown = site.gateway()
    macs = (shown["access"]["mac"], shown["core"]["mac"], site.enb_mac["enb"], site.pdn_mac)
    for text in (
        "eth1",
        "10.1.0.1/24",
        "eth2",
        "10.2.0.1/24",
        PDN_IP,
        f"Open vSwitch {shown['ovs_version']}",
        *macs,
    ):
        expect(picture).to_contain_text(text)
    expect(picture.locator("g.peer.lost")).to_contain_text("10.1.0.77")
    told(page, "1 of 2 next hops does not answer ARP on eth1 (no downlink goes there): 10.1.0.77.")
    shot(page, pictures, "full")

    page.click(f"#listed >> text=ue-{ue}")
    dialog = page.locator("#details")
    expect(dialog).to_contain_text("TEID 0xfeed0001 (4276944897) at 10.1.0.1")
    flows = site.lab.http("GET", f"/v1/sessions/ue-{ue}/flows").json()["items"]
    assert dialog.locator(".flow pre").all_inner_texts() == [each["flow"] for each in flows]
    again(page)
    expect(dialog.locator("dl")).to_contain_text("now ")  # a rate, when it is asked again
    dialog.locator("summary").click()
    assert json.loads(dialog.locator("details pre").inner_text())["ue_ip"] == ue
    shot(page, pictures, "session", whole=False)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    view.clean()


def test_what_a_session_may_use(site: Site, view: Watched) -> None:
    """A quota that is used up, of the session or a bearer, and how many packets are held."""
    voice = {"id": "voice", "precedence": 10, "filters": ["permit out udp from any 5004 to any"]}
    limits = {"quota_bytes": 50, "inactivity_seconds": 60}
    bearers = [{**voice, "usage": {"threshold_bytes": 1000}}]
    name = site.session("10.45.0.8", teid=0x1008, buffer=8, usage=limits, bearers=bearers)
    page = view.open()
    page.click(f"#listed >> text={name}")
    shown = page.locator("#details dl")
    expect(shown).to_contain_text("quota 50 B, inactive after 60 s")
    expect(shown).to_contain_text("an event each 1")
    expect(shown).to_contain_text("up to 8 packets held")
    expect(shown).not_to_contain_text("nothing passes")
    site.uplink(site.t_pdu(0x1008, gtpu.ipv4("10.45.0.8", PDN_IP)))
    expect(shown).to_contain_text("nothing passes: the quota is used up")
    site.delete(name)
    view.clean("404")


def test_control_planes(browser: Browser, site: Site, pictures: Path) -> None:
    """As the API tells of them: this gateway speaks no PFCP, and shows none until it does."""
    at = "2026-11-28T12:00:00Z"
    why = f"Session Modification Request: FAR 9: {HOSTILE} (cause 73)"
    smf = {
        "node_id": "smf.example.org",
        "ip": "10.3.0.5",
        "state": "up",
        "recovery_time": at,
        "sessions": 12,
        "heard_at": at,
        "answers": [{"message": "Session Modification Request", "cause": 73, "count": 4}],
        "errors": [],
    }
    node = {
        "gateway": "gw1",
        "node_id": "10.3.0.1",
        "listen": "10.3.0.1",
        "recovery_time": at,
        "problem": None,
        "associations": [smf, {**smf, "node_id": "sgwc", "state": "down", "heard_at": None}],
        "received": [],
        "dropped": [],
        "refused": [{"at": at, "ip": "10.3.0.5", "reason": why}],
        "strangers": [{"ip": "10.9.0.7", "messages": 3, "heard_at": at}],
        "network_instances": [],
    }
    nodes: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        route.fulfill(json={"items": nodes, "next": None})

    def gateways(route: Route) -> None:
        gateway = site.gateway()
        judged = shown(troubles(gateway, nodes[0] if nodes else None))
        route.fulfill(json={"items": [{**gateway, "troubles": judged}]})

    with watched(browser, BASE) as view:
        view.page.route("**/v1/pfcp", answer)
        view.page.route("**/v1/gateways", gateways)
        page = view.open()
        expect(page.locator(".picture")).to_contain_text("eth1")
        expect(page.locator(".planes")).to_be_hidden()
        nodes.append(node)
        page.reload()
        planes = page.locator(".planes")
        expect(planes.locator("tbody tr")).to_have_count(2)
        expect(planes.locator("tbody tr").first).to_contain_text("smf.example.org")
        expect(planes).to_contain_text("10.9.0.7 is none of peers, and is not answered: 3 messages")
        expect(planes).to_contain_text(why)
        told(page, "answers no heartbeats")
        shot(page, pictures, "control-planes")
        nodes[0] = {**node, "associations": [], "strangers": [], "problem": "cannot listen at x"}
        page.evaluate("page.hurry('nodes')")
        again(page)
        expect(planes).to_contain_text("Nothing has come yet")
        told(page, "PFCP: cannot listen at x")
        assert page.evaluate("window.hacked") is None
        view.clean()


def test_verdict(site: Site, view: Watched) -> None:
    """What is wrong is said in words, the worst first, with what to do."""
    page = view.open()
    told(page, "Working, with 1 warning")
    gateway = page.evaluate("page.gateways[0]")
    peers = page.evaluate("page.peers")
    well = {**gateway, "neighbours": {"resolved": 2, "unresolved": 0, "stale": 0}}
    health = {"store": "ok"}

    def said(health: Any = health, rising: str = "", **changes: Any) -> list[str]:
        script = (
            "([h, g, p, r]) => verdict(h, g, p, (_, what) => what === r).map((each) => each.text)"
        )
        now = {**well, **changes}
        judged = {**now, "troubles": shown(troubles(now))}
        found: list[str] = page.evaluate(script, [health, [judged], peers, rising])
        return found

    def one(words: str, *arguments: Any, **changes: Any) -> None:
        (line,) = said(*arguments, **changes)
        assert words in line

    assert said() == []
    one("cannot be written: disk I/O error", {"store": "disk I/O error"})
    one("gw1 is not connected: no ovsdb-server. With", connected=False, problem="no ovsdb-server")
    one("are being compared", in_sync=False)
    one("packets are dropped because the lease had run out", rising="lease_expired")
    one("somebody else changed", rising="repairs")
    one("lease has run out", lease={"seconds": 10, "seconds_left": 0})
    one("gw1: eth1 has no carrier", access={**gateway["access"], "link": "no carrier"})
    one("the host has no interface eth2", core={**gateway["core"], "link": "missing"})
    hop = gateway["next_hop"]
    one("10.2.0.2 has not answered ARP on eth2: no up", next_hop={**hop, "state": "unresolved"})
    one("10.2.0.2 does not answer ARP on eth2 any more", next_hop={**hop, "state": "stale"})
    one("3 of 203 peers do not answer Echo", paths={"up": 200, "unknown": 0, "down": 3})
    states = gateway["sessions"]
    one("gw1: 1234 sessions failed", sessions={**states, "failed": 1234})
    one("1 session stopped by Error Indications", sessions={**states, "error_indicated": 1})
    one("2 sessions pending", sessions={**states, "pending": 2})
    worst = said(in_sync=False, paths={"up": 0, "unknown": 0, "down": 1})
    assert ["Echo" in line for line in worst] == [True, False]
    view.clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits(
    site: Site, browser: Browser, pictures: Path, size: dict[str, int], scheme: str
) -> None:
    with watched(browser, BASE, viewport=size, color_scheme=scheme) as view:
        page = view.open()
        expect(rows(page)).to_have_count(2)
        expect(page.locator(".picture g.peer")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        inside = "(box) => box.scrollWidth <= box.clientWidth"
        assert page.locator(".picture").evaluate(inside)
        assert page.locator("#listed").evaluate(inside)
        shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(int(part) for part in shade.removeprefix("rgb(").rstrip(")").split(","))
        assert (bright > 600) is (scheme == "light")
        shot(page, pictures, f"{scheme}-{size['width']}")
        view.clean()


def test_keyboard_alone(site: Site, view: Watched) -> None:
    page = view.open()
    page.locator(".picture g.peer", has_text="10.1.0.77").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#query")).to_have_value("10.1.0.77")
    expect(rows(page)).to_have_count(1)
    page.locator("#states button").first.focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("ue-10.45.0.9")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_have_text("1 session where the id contains ue-10.45.0.9")
    link = page.locator("#listed a")
    for _ in range(24):
        page.keyboard.press("Tab")
        if link.evaluate("(it) => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_be_visible()
    page.evaluate("Promise.all([turn(), listSessions(), refreshDetails()])")  # nothing moves
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    view.clean()


# --- a gateway that does not forward


@pytest.mark.parametrize(("name", "side"), [("lan", "access"), ("pdn", "core")])
def test_a_port_without_its_link(
    site: Site, view: Watched, pictures: Path, name: str, side: str
) -> None:
    """Verdict and picture say so at the next turn, and again when it is back."""
    device, port = ("gw", "eth1") if side == "access" else ("eth0", "eth2")
    page = view.open()
    picture = page.locator(".picture")
    expect(picture.locator("rect.gateway")).to_have_class("box gateway")
    site.lab.exec(name, ["ip", "link", "set", device, "down"])
    try:
        until(lambda: site.gateway()[side]["link"] == "no carrier", "the link is down")
        again(page)
        told(page, f"gw1: {port} has no carrier")
        told(page, "1 fault")
        expect(picture.locator("rect.gateway")).to_have_class("box gateway down")
        expect(picture).to_contain_text(f"{side} port has no carrier")
        expect(picture.locator(".wire.cut")).to_have_count(2)
        expect(page).to_have_title(re.compile("^✕ "))
        shot(page, pictures, f"no-link-{side}")
    finally:
        site.lab.exec(name, ["ip", "link", "set", device, "up"])
    until(lambda: site.gateway()[side]["link"] == "up", "the link is up again")
    again(page)
    expect(picture.locator("rect.gateway")).to_have_class("box gateway")
    view.clean()


def test_the_count_is_that_of_the_lines(site: Site, view: Watched) -> None:
    page = view.open()
    told(page, "Working, with 1 warning")
    title, lines = page.locator("#verdict h2"), page.locator("#verdict li")
    expect(lines).to_have_count(1)

    def change(answer: Any) -> Any:
        (gateway,) = answer["items"]
        gateway["sessions"] |= {"failed": 2, "pending": 1}
        gateway["core"]["link"] = "down"
        gateway["troubles"] = shown(troubles(gateway))
        return answer

    rewritten(site.lab, page, "**/v1/gateways", change)
    again(page)
    expect(title).to_contain_text("2 faults and 2 warnings")
    expect(page.locator("#verdict li.bad")).to_have_count(2)
    expect(page.locator("#verdict li.warn")).to_have_count(2)
    page.unroute("**/v1/gateways")
    again(page)
    expect(title).to_contain_text("Working, with 1 warning")
    view.clean()


OVERLAPS = """() => {
    const texts = [...document.querySelectorAll(".picture text")].filter((t) => t.textContent);
    const boxes = texts.map((each) => [each.textContent, each.getBoundingClientRect()]);
    const whole = document.querySelector(".picture svg").getBoundingClientRect();
    const outside = boxes.filter(([, b]) => b.left < whole.left - 1 || b.right > whole.right + 1
        || b.top < whole.top - 1 || b.bottom > whole.bottom + 1);
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
    const pairs = boxes.flatMap(([one, a], i) =>
        boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([other]) => [one, other]));
    const rects = [...document.querySelectorAll(".picture rect")]
        .map((each) => each.getBoundingClientRect());
    const crossed = boxes.filter(([, b]) => rects.some((r) => meet(r, b)
        && (b.left < r.left - 1 || b.right > r.right + 1 || b.bottom > r.bottom + 1)));
    return { outside: outside.map(([t]) => t), pairs, crossed: crossed.map(([t]) => t) };
}"""
"""Texts of the picture that lie on each other, leave their box, or the picture."""


@pytest.mark.parametrize("width", [1280, 985, 760, 690, 400, 340])
def test_long_addresses_do_not_overlap(
    site: Site, browser: Browser, pictures: Path, width: int
) -> None:
    """Peers, ports and next hops with whole IPv6 addresses, and ports with long names."""
    long = "2001:db8:1234:5678:9abc:def0:1234:567"

    def gateways(answer: Any) -> Any:
        (gateway,) = answer["items"]
        for n, side in enumerate(("access", "core")):
            gateway[side] |= {"ip": "192.168.100.101/24", "ip6": f"{long}{n}/64"}
        gateway["access"]["port"] = gateway["core"]["device"] = "enp130s0f1np1.4"
        gateway["core"]["link"] = "no carrier"
        gateway["next_hop6"] = {"ip": f"{long}f", "mac": None, "state": "unresolved"}
        gateway["ports"] = {"type": "afxdp", "pmd_cores": [1], "ways": 1}
        gateway["paths"] = {"up": 20, "unknown": 3, "down": 1}
        return answer

    def peers(answer: Any) -> Any:
        one = answer["items"][0]
        router = {"ip": f"{long}a", "mac": None}
        answer["items"] = [
            {**one, "ip": f"{long}1", "state": "unknown", "sessions": 12_345},
            {**one, "ip": f"{long}2", "next_hop": router, "state": "down"},
            {**one, "ip": f"{long}3", "next_hop": None, "state": "up"},
            {**one, "ip": "192.168.100.103", "next_hop": router, "sessions": 12_345},
            {**one, "ip": "192.168.100.104", "state": "unknown", "sessions": 1_234},
        ]
        return answer

    with watched(browser, BASE, viewport={"width": width, "height": 900}) as view:
        rewritten(site.lab, view.page, "**/v1/gateways", gateways)
        rewritten(site.lab, view.page, "**/v1/peers?*", peers)
        page = view.open()
        expect(page.locator(".picture g.peer")).to_have_count(5)
        shot(page, pictures, f"long-{width}")
        assert page.evaluate(OVERLAPS) == {"outside": [], "pairs": [], "crossed": []}
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        with page.expect_request("**/v1/sessions?*peer=2001*"):  # and not as a UE's address
            page.locator(".picture g.peer").first.press("Enter")
        expect(page.locator("#told")).to_contain_text(f"None where the peer is {long}1")
        page.click("text=Show all sessions")
        expect(rows(page)).to_have_count(2)
        for tables in ("#peer-list", "#listed"):
            assert page.locator(tables).evaluate("(box) => box.scrollWidth <= box.clientWidth")
        view.clean()


# --- the last ten minutes


def test_graphs_are_full_when_it_opens(site: Site, view: Watched) -> None:
    """The controller has kept what was before; no switch is asked for it."""

    def points() -> Any:
        return site.lab.http("GET", "/v1/history?gateway=gw1").json()["items"][0]["points"]

    def seen() -> bool:
        site.enb.send(*[site.t_pdu(0xFEED_0001, gtpu.ipv4("10.45.254.254", PDN_IP))] * 20)
        return any(
            (each["uplink"] or {"frames_per_second": 0})["frames_per_second"] for each in points()
        )

    until(seen, "a point tells of uplink frames", timeout=30)
    until(lambda: len(points()) >= 3, "there are points enough for a line", timeout=30)
    kept = points()
    assert all(4 < each["seconds"] < 8 for each in kept)
    assert kept[-1]["sessions"] == 2
    assert max(each["uplink"]["bits_per_second"] for each in kept if each["uplink"]) > 0
    page = view.open()
    told(page, "Working")
    lines = page.locator(".graph .line")
    expect(lines).to_have_count(6)
    expect(lines.first).to_have_attribute("d", LINE, timeout=4000)
    expect(page.locator(".graph", has_text="Sessions")).to_contain_text("in all states 2")
    assert page.evaluate("[...cards.values()][0].past.points.length") >= len(kept)
    view.clean()


# --- a session's address


def test_a_session_has_an_address(site: Site, browser: Browser, view: Watched) -> None:
    name = "ue-10.45.0.9"
    page = view.open(f"/#session={name}")
    dialog = page.locator("#details")
    expect(dialog).to_contain_text("TEID 0x1009 (4105)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    here = "location.href"
    until(lambda: page.evaluate(here) == BASE + "/", "its address is that of the page again")
    # By the key: what is above the list may grow just when a button of the mouse is down.
    page.press(f"#listed >> text={name}", "Enter")
    expect(dialog).to_be_visible()
    assert page.url == f"{BASE}/#session={name}"
    page.go_back()
    expect(dialog).to_be_hidden()
    for odd in ("no-such", "..", "%2e%2e", "a%2Fb"):
        page.evaluate("(odd) => { location.hash = `session=${odd}`; }", odd)
        expect(dialog).to_contain_text("There is no such session.")
    page.evaluate("location.hash = 'session=%E0'")
    expect(dialog).to_be_hidden()
    view.clean("status of 404")


def test_bearers_reason_and_owner(site: Site, view: Watched) -> None:
    """As the API tells of them."""
    voice = {"id": "voice", "precedence": 10, "filters": ["permit out udp from any 5004 to any"]}
    rate = {"mbr": {"uplink_kbps": 128, "downlink_kbps": 256}}
    name = site.session("10.45.0.8", teid=0x1008, bearers=[{**voice, **rate}])
    page, path = view.page, f"/v1/sessions/{name}"
    owner = {"kind": "pfcp", "node_id": "smf.example.org", "cp_seid": "7", "up_seid": "1a"}

    def session(route: Route) -> None:
        more = {"state": "failed", "reason": "the switch is full", "owner": owner}
        route.fulfill(json=site.lab.http("GET", path).json() | more)

    page.route(f"**{path}", session)
    view.open(f"/#session={name}")
    shown = page.locator("#details")
    row = shown.locator(".bearers tbody tr")
    for words in ("voice", "udp", "5004", "↑ 128", "↓ 256", "↑ 0"):
        expect(row).to_contain_text(words)
    for words in ("The switch is full", "smf.example.org", "none now", "no rules"):
        expect(shown).to_contain_text(words)
    site.delete(name)
    view.clean("404")


def test_events(site: Site, view: Watched) -> None:
    """As they come; by kind, by words, and held still."""
    page = view.open()
    log = page.locator("#log li")
    expect(log.filter(has_text="in sync")).not_to_have_count(0)
    page.select_option("#kinds", "session")
    expect(log.filter(has_text="in sync")).to_have_count(0)
    page.fill("#words", "45.0.9")
    expect(log).to_have_count(1)
    page.click("#pause")
    site.session("10.45.0.99", teid=0x1063)
    expect(page.locator("#pause")).to_have_text("Go on (1 more)")
    expect(log).to_have_count(1)
    page.click("#pause")
    expect(log).to_have_count(2)
    expect(log.first).to_contain_text("session created ue-10.45.0.99 active")
    log.first.locator("a").click()
    expect(page.locator("#details")).to_contain_text("none: the UE is idle")
    site.delete("ue-10.45.0.99")
    page.evaluate("refreshDetails()")
    expect(page.locator("#details")).to_contain_text("There is no such session any more.")
    page.click("#close")
    page.fill("#words", "nothing is like this")
    expect(page.locator("#log")).to_have_text("No event is like that.")
    view.clean("status of 404")


# --- what it asks


def test_nobody_looks_nothing_is_asked(site: Site, view: Watched) -> None:
    """One or two requests every two seconds and a stream; none of it in a tab that is hidden."""
    page = view.page
    page.clock.install()
    view.open()
    told(page, "Working")

    def asked_in(turns: int) -> list[str]:
        before = len(view.requests)
        for _ in range(turns):
            with page.expect_response("**/v1/gateways"):
                page.clock.run_for(2000)
            until(lambda: not page.evaluate("page.running"), "the turn ends")
        return [each.url.removeprefix(BASE) for each in view.requests[before:]]

    some = asked_in(7)
    assert some.count("/v1/gateways") == 7
    assert len(some) <= 14, some
    assert {url.partition("?")[0] for url in some} == {
        *("/v1/gateways", "/v1/health", "/v1/history", "/v1/peers", "/v1/sessions")
    }
    page.evaluate(HIDE, True)
    before = len(view.requests)
    page.clock.run_for(60_000)
    assert page.evaluate("stream.run") is None
    assert len(view.requests) == before
    with page.expect_response("**/v1/gateways"), page.expect_request("**/v1/events") as again:
        page.evaluate(HIDE, False)
    last = again.value.headers["last-event-id"]
    assert last == page.evaluate("stream.last") and "-" in last, "it goes on where it was"
    view.clean()


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


# --- what must not harm it


def test_what_the_api_says_is_text(site: Site, view: Watched) -> None:
    """Whatever stands in an id, a problem, a name or an event: it is shown, and does nothing."""
    page = view.page
    state = {"state": "failed", "reason": HOSTILE}

    def sessions(route: Route) -> None:
        answer = site.lab.http("GET", "/v1/sessions?limit=1").json()
        answer["items"][0] |= {**state, "id": HOSTILE}
        route.fulfill(json=answer)

    def gateways(answer: Any) -> Any:
        answer["items"][0] |= {"name": HOSTILE, "problem": HOSTILE, "bridge": HOSTILE}
        answer["items"][0]["drops"][HOSTILE] = 7
        answer["items"][0]["next_hop"] |= {"ip": HOSTILE, "mac": HOSTILE, "state": HOSTILE}
        answer["items"][0]["faults"] = [{"summary": HOSTILE, "remedy": HOSTILE}]
        return answer

    def peers(answer: Any) -> Any:
        answer["items"] = [{**each, "ip": HOSTILE, "gateway": HOSTILE} for each in answer["items"]]
        return answer

    at = "2026-01-02T03:04:05.678901Z"
    odd = [
        {"at": at, "kind": "repaired", "gateway": HOSTILE, "what": HOSTILE},
        {"at": at, "kind": HOSTILE, HOSTILE: HOSTILE},
        {"at": at, "kind": "session_created", "session": HOSTILE, "state": HOSTILE},
        {"at": at, "kind": "constructor", "session": HOSTILE},
    ]
    stream = "".join(f"id: x-{n}\ndata: {json.dumps(each)}\n\n" for n, each in enumerate(odd))
    page.route("**/v1/sessions?*", sessions)
    rewritten(site.lab, page, "**/v1/gateways", gateways)
    rewritten(site.lab, page, "**/v1/peers?*", peers)
    page.route("**/v1/events", lambda route: route.fulfill(body=stream))
    view.open()
    told(page, HOSTILE)
    for place in ("#gateways", "#listed", "#log", ".drops", ".picture"):
        expect(page.locator(place)).to_contain_text(HOSTILE)
    page.route(
        "**/v1/sessions/**", lambda route: route.fulfill(status=500, json={"detail": HOSTILE})
    )
    page.locator("#listed a").click()
    told(page, "The API answers 500")
    told(page, HOSTILE)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, main script").count() == 0
    broken = page.evaluate("""() => {
        try { document.body.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
    }""")
    assert broken == "TypeError", "the policy refuses to parse text as HTML"
    view.clean("status of 500", "TrustedHTML", "innerHTML")


def test_the_switch_goes_and_comes(site: Site, view: Watched, pictures: Path) -> None:
    page = view.open()
    told(page, "Working")
    site.lab.stop_vswitchd()
    until(lambda: site.lab.http("GET", "/v1/health").status == 503, "the controller notices")
    again(page)
    told(page, "gw1 is not connected")
    expect(page.locator(".drops")).to_contain_text("Not known: the switch is away.")
    expect(page.locator("#log")).to_contain_text("The switch disconnected.")
    shot(page, pictures, "switch-away")
    site.lab.start_vswitchd()
    site.lab.wait_health()
    again(page)
    expect(page.locator("#verdict")).not_to_contain_text("not connected")
    expect(page.locator(".drops")).not_to_contain_text("Not known")
    view.clean("status of 503")


def test_the_api_goes_and_comes(site: Site, view: Watched, pictures: Path) -> None:
    """It says how old its data is; and it is live again, the events too, each of them once."""
    page = view.open()
    expect(page.locator("#pulse")).to_have_text("live")
    expect(page.locator("#log li", has_text="in sync")).not_to_have_count(0)
    events = page.locator("#log li").count()
    site.lab.stop_controller(signal.SIGKILL)
    told(page, "No answer since")
    told(page, "Is ofgtp running")
    expect(page.locator("body")).to_have_class("stale")
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#stream")).to_contain_text("No stream of events")
    shot(page, pictures, "no-answer")
    site.lab.start_controller()
    again(page)
    expect(page.locator("#pulse")).to_have_text("live")
    expect(page.locator("#stream")).to_be_empty()
    expect(page.locator("#listed")).to_contain_text("There are no sessions yet")
    log = page.locator("#log li")
    until(lambda: log.count() >= events + 2, "connected and in_sync of the new run are told")
    ids = page.evaluate("[...told.session, ...told.rest].map((event) => event.id)")
    assert len(set(ids)) == len(ids)
    view.clean(*REFUSED, "status of 503")


def test_an_answer_that_is_an_error(bare: Site, view: Watched) -> None:
    page = view.open()
    expect(page.locator("#pulse")).to_have_text("live")
    problem = {"detail": "the session store: disk I/O error"}
    page.route("**/v1/gateways", lambda route: route.fulfill(status=503, json=problem))
    again(page)
    told(page, "The API answers 503")
    told(page, "The session store: disk I/O error.")
    page.unroute("**/v1/gateways")
    again(page)
    expect(page.locator("#pulse")).to_have_text("live")
    view.clean("status of 503")


# --- many


def test_many(bare: Site, view: Watched, pictures: Path) -> None:
    """Thousands of sessions: found by each of their marks, and never more than a page drawn."""
    former = bare.lab.http("GET", "/v1/sessions").json()["items"]
    lines: list[dict[str, Any]] = [{"op": "delete", "id": each["id"]} for each in former]
    lines += [
        {
            "op": "put",
            "session": {
                "id": f"imsi-{1_010_000_000_000 + n:015d}-5",
                "ue_ip": f"10.45.{n >> 8}.{n & 255}",
                "uplink": {"teid": 0x10000 + n},
                "downlink": {"teid": 0x20000 + n, "remote_ip": f"10.1.0.{2 + n % 200}"}
                if n % 100
                else None,
            },
        }
        for n in range(1, SESSIONS + 1)
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    head = {"Content-Type": "application/x-ndjson"}
    answer = bare.lab.http("POST", "/v1/sessions:batch", body, headers=head)
    assert answer.status == 200, answer.body
    page = view.open()
    expect(page.locator("#states")).to_contain_text("all 10,000")
    expect(rows(page)).to_have_count(50)
    expect(page.locator(".picture g.peer")).to_have_count(8)
    more = page.locator(".picture g.more")
    expect(more).to_contain_text("+ 190 more")
    more.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#peers-title")).to_be_focused()
    peers_by_pages(page)
    expect(page.locator("#told")).to_have_text("1 to 50 of 10,000")

    def finds(words: str, told: str, wanted: str = "imsi-001010000007777-5") -> None:
        search(page, words)
        expect(page.locator("#told")).to_have_text(told)
        expect(page.locator("#listed")).to_contain_text(wanted)

    finds("00007777-", "1 session where the id contains 00007777-")
    finds("10.45.30.97", "1 session where the UE address is 10.45.30.97")
    finds("73313", "1 session where the uplink TEID is 73313")
    finds("0x11E61", "1 session where the uplink TEID is 0x11E61")
    finds("7777", "1 session where the id contains 7777")  # no TEID: so it is part of an id
    finds("10.1.0.179", "50 sessions where the peer is 10.1.0.179", "10.1.0.179")
    finds("imsi-", "1 to 50 of 10,000 where the id contains imsi-", "imsi-001010000000001-5")
    page.click("#next")
    expect(page.locator("#told")).to_have_text("51 to 100 of 10,000 where the id contains imsi-")
    expect(rows(page).first).to_contain_text("imsi-001010000000051-5")
    shot(page, pictures, "many")
    page.click("#previous")
    expect(rows(page).first).to_contain_text("imsi-001010000000001-5")
    page.click("#states >> text=failed")
    expect(page.locator("#listed")).to_contain_text("No session is like that.")
    page.click("text=Show all sessions")
    expect(page.locator("#told")).to_have_text("1 to 50 of 10,000")
    view.clean()


def peers_by_pages(page: Page) -> None:
    """Sorted, paged, and only those of one state."""
    told, peers = page.locator("#peers-told"), page.locator("#peer-list tbody tr")
    expect(told).to_have_text("1 to 15 of 198")
    expect(peers).to_have_count(15)
    expect(page.locator("#peers-previous")).to_be_disabled()
    head = page.get_by_role("columnheader", name="Address", exact=True)
    head.locator("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(peers.first).to_contain_text("10.1.0.3")
    page.click("#peers-next")
    expect(told).to_have_text("16 to 30 of 198")
    expect(peers.first).to_contain_text("10.1.0.18")
    head.locator("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(told).to_have_text("1 to 15 of 198")
    expect(peers.first).to_contain_text("10.1.0.201")
    page.click("#peer-states >> text=up")
    expect(told).to_have_text("No peer is like that.")
    page.click("#peer-states >> text=all")
    expect(told).to_have_text("1 to 15 of 198")
    peers.first.locator("button").click()
    expect(page.locator("#query")).to_have_value("10.1.0.201")
    expect(page.locator("#told")).to_contain_text("where the peer is 10.1.0.201")
    search(page, "")
    expect(page.locator("#told")).to_have_text("1 to 50 of 10,000")
    first = page.locator("#listed th", has_text="UE address")
    first.locator("button").click()
    first.locator("button").click()
    expect(first).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#told")).to_have_text("1 to 50 of 10,000; this page is sorted")
    expect(rows(page).first).to_contain_text("10.45.0.50")
    first.locator("button").click()
    expect(first).to_have_attribute("aria-sort", "none")
    expect(rows(page).first).to_contain_text("10.45.0.1")


# --- the token


def test_the_token(bare: Site, view: Watched, pictures: Path) -> None:
    """Missing, wrong, right, forgotten; it is in a header and in no address."""
    lab = bare.lab
    (lab.dir / "token").write_text(TOKEN + "\n")
    lab.stop_controller(signal.SIGKILL)
    lab.start_controller(lab.config(rest=f'token_file = "{lab.dir}/token"'))
    page = view.open()
    expect(page.locator("#ask")).to_be_visible()
    expect(page.locator("main")).to_be_hidden()
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("#refused")).to_be_empty()
    shot(page, pictures, "token")
    page.keyboard.type("not-this-one")
    page.keyboard.press("Enter")
    expect(page.locator("#refused")).to_have_text("This token is not accepted.")
    assert page.evaluate("sessionStorage.length") == 0
    asked = len(view.requests)
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    told(page, "All is well")
    expect(page.locator("#log")).to_contain_text("The switch connected")
    expect(page.locator("#listed")).to_contain_text("Authorization: Bearer $(cat TOKEN_FILE)")
    sent = [each.headers.get("authorization") for each in view.requests[asked:]]
    assert set(sent) == {f"Bearer {TOKEN}"}
    page.reload()
    told(page, "All is well")  # this tab knows it still
    page.click("#forget")
    page.evaluate("location.hash = 'session=not-there'")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text("There is no such session.")
    page.keyboard.press("Escape")
    page.click("#forget")
    expect(page.locator("#ask")).to_be_visible()
    page.reload()
    expect(page.locator("#ask")).to_be_visible()
    assert page.evaluate("document.cookie + localStorage.length + sessionStorage.length") == "00"
    assert not [each.url for each in view.requests if TOKEN in each.url]
    assert TOKEN not in page.content()
    view.clean("status of 401", "status of 404")
