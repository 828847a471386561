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
        return all(text and " 0/s" not in text for text in seen)

    until(flowing, "the page shows packets a second both ways", timeout=60)
    expect(page.locator(".wire.uplink.flows")).to_have_count(2)
    expect(page.locator(".graph .line.up").first).to_have_attribute("d", LINE)
    drops = page.locator(".drops tr", has_text="unknown_ue")
    expect(drops).to_contain_text("downlink packet to a UE address without a session")
    expect(drops).to_contain_text("/s")
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
    told(page, "1 of 2 next hops on the access side does not answer ARP: 10.1.0.77.")
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

    with watched(browser, BASE) as view:
        view.page.route("**/v1/pfcp", answer)
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
        told(page, "control plane does not answer heartbeats: sgwc")
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
    told(page, "Working, with 1 remark")
    gateway = page.evaluate("page.gateways[0]")
    peers = page.evaluate("page.peers")
    well = {**gateway, "neighbours": {"resolved": 2, "unresolved": 0, "stale": 0}}
    health = {"store": "ok"}

    def said(health: Any = health, rising: str = "", **changes: Any) -> list[str]:
        script = (
            "([h, g, p, r]) => verdict(h, g, p, (_, what) => what === r).map((each) => each.text)"
        )
        found: list[str] = page.evaluate(script, [health, [{**well, **changes}], peers, rising])
        return found

    def one(words: str, *arguments: Any, **changes: Any) -> None:
        (line,) = said(*arguments, **changes)
        assert words in line

    assert said() == []
    one("cannot be written: disk I/O error", {"store": "disk I/O error"})
    one("gw1 is not connected: no ovsdb-server", connected=False, problem="no ovsdb-server")
    one("are being compared", in_sync=False)
    one("packets are dropped because the lease had run out", rising="lease_expired")
    one("somebody else changed", rising="repairs")
    one("lease has run out", lease={"seconds": 10, "seconds_left": 0})
    one("access port eth1 has no carrier", access={**gateway["access"], "link": "no carrier"})
    one("core port eth2 is missing", core={**gateway["core"], "link": "missing"})
    hop = gateway["next_hop"]
    one("10.2.0.2 does not answer ARP: no uplink", next_hop={**hop, "state": "unresolved"})
    one("10.2.0.2 does not answer ARP any more", next_hop={**hop, "state": "stale"})
    one("3 of 203 peers do not answer Echo", paths={"up": 200, "unknown": 0, "down": 3})
    states = gateway["sessions"]
    one("gw1: 1,234 sessions failed", sessions={**states, "failed": 1234})
    one("1 session with an Error Indication", sessions={**states, "error_indicated": 1})
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
    link = page.locator("#listed button")
    for _ in range(12):
        page.keyboard.press("Tab")
        if link.evaluate("(it) => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_be_visible()
    page.evaluate("Promise.all([turn(), listSessions(), refreshDetails()])")  # nothing moves
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    view.clean()


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
    log.first.locator("button").click()
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

    some = asked_in(6)
    assert some.count("/v1/gateways") == 6
    assert len(some) <= 12, some
    assert {url.partition("?")[0] for url in some} == {
        *("/v1/gateways", "/v1/health", "/v1/peers", "/v1/sessions")
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
    page.locator("#listed button").click()
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
    expect(page.locator(".picture g.more")).to_contain_text("+ 190 more")
    expect(page.locator("#told")).to_have_text("1 to 50")

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
    finds("imsi-", "1 to 50 where the id contains imsi-", "imsi-001010000000001-5")
    page.click("#next")
    expect(page.locator("#told")).to_have_text("51 to 100 where the id contains imsi-")
    expect(rows(page).first).to_contain_text("imsi-001010000000051-5")
    shot(page, pictures, "many")
    page.click("#previous")
    expect(rows(page).first).to_contain_text("imsi-001010000000001-5")
    page.click("#states >> text=failed")
    expect(page.locator("#listed")).to_contain_text("No session is like that.")
    page.click("text=Show all sessions")
    expect(page.locator("#told")).to_have_text("1 to 50")
    view.clean()


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
    expect(page.locator("#ask")).to_be_visible()
    page.reload()
    expect(page.locator("#ask")).to_be_visible()
    assert page.evaluate("document.cookie + localStorage.length + sessionStorage.length") == "00"
    assert not [each.url for each in view.requests if TOKEN in each.url]
    assert TOKEN not in page.content()
    view.clean("status of 401")
