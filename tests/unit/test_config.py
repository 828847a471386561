"""ofgtp.toml: what loads, and what each wrong file is told, with the line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path

import pytest

from ofgtp.config import Controller, Rest, default_path, load
from ofgtp.core.errors import ConfigError
from ofgtp.core.model import AccessRoute, Gateway, Pfcp
from ofgtp.core.rules.base import protected_networks
from ofgtp.northbound.access import Access

EXAMPLE = Path(__file__).parents[2] / "etc" / "ofgtp.toml"

# A file of required keys alone. Tests change, remove or add lines of it.
MINIMAL = """\
[[gateway]]
name = "gw1"
bridge = "br1"
access_port = "eth1"
access_ip = "10.1.0.1/24"
core_port = "eth2"
core_ip = "10.2.0.1/24"
next_hop = "10.2.0.2"
ue_pools = ["10.45.0.0/16"]
"""

HOST = MINIMAL.replace('"eth2"', '"host"').replace('next_hop = "10.2.0.2"\n', "")

SECOND = """\
[[gateway]]
name = "gw2"
bridge = "br2"
access_port = "eth3"
access_ip = "10.3.0.1/24"
core_port = "eth4"
core_ip = "10.4.0.1/24"
next_hop = "10.4.0.2"
ue_pools = ["10.46.0.0/16"]
"""

PFCP = """\
[gateway.pfcp]
listen = "10.3.0.1"
peers = ["10.3.0.0/24"]
"""

SECOND_HOST = SECOND.replace('"eth4"', '"host"').replace('next_hop = "10.4.0.2"\n', "")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ofgtp.toml"
    path.write_bytes(text.encode())
    return path


def changed(key: str, value: str, text: str = MINIMAL) -> str:
    """The text with the last `key = …` line of it changed."""
    pattern = re.compile(rf"^{key} = .*$", re.MULTILINE)
    found = list(pattern.finditer(text))[-1]
    return text[: found.start()] + f"{key} = {value}" + text[found.end() :]


def route(to: str, via: str) -> str:
    return f'access_routes = [{{to = "{to}", via = "{via}"}}]\n'


def without(key: str) -> str:
    text, count = re.subn(rf"^{key} = .*\n", "", MINIMAL, flags=re.MULTILINE)
    assert count == 1
    return text


def refused(tmp_path: Path, text: str) -> ConfigError:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.path == str(path)
    return caught.value


# What loads.


def test_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    config = load(path)
    assert config.path == path
    assert config.controller == Controller(
        ownership="controller",
        lease_seconds=10,
        store=Path("/var/lib/ofgtp/sessions.db"),
        durability="normal",
        usage_round_seconds=60,
    )
    assert config.rest == Rest(host="127.0.0.1", port=8080, token_file=None, hosts=())
    assert config.rest.token() is None
    assert config.gateways == (
        Gateway(
            name="gw1",
            ovsdb="unix:/var/run/openvswitch/db.sock",
            openflow="tcp:127.0.0.1:6653",
            bridge="br1",
            access_port="eth1",
            access_ip=IPv4Interface("10.1.0.1/24"),
            core_port="eth2",
            core_ip=IPv4Interface("10.2.0.1/24"),
            next_hop=IPv4Address("10.2.0.2"),
            ue_pools=(IPv4Network("10.45.0.0/16"),),
            access_routes=(),
            access_allow=(),
            ue_to_ue="deny",
            dscp=None,
            source_port=None,
            masquerade=False,
            echo_seconds=60,
            t3_response_seconds=3,
            n3_requests=3,
            on_path_down="keep",
            leased=True,
        ),
    )


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  s3cret\n")
    text = (
        """\
[controller]
ownership = "switch"
lease_seconds = 5
store = "state/sessions.db"
durability = "full"
[rest]
listen = "[2001:db8::1]:443"
token_file = "token"
hosts = ["Gateway.example", "192.0.2.1", "2001:db8::2"]
"""
        + HOST
        + """\
ovsdb = "unix:/run/ovs/db.sock"
openflow = "tcp:192.0.2.7:6633"
access_allow = ["10.1.0.0/24", "0.0.0.0/0"]
ue_to_ue = "route"
dscp = 46
source_port = 2152
masquerade = true
host_services = "allow"
echo_seconds = 86400
t3_response_seconds = 60
n3_requests = 20
on_path_down = "remove"
[[gateway.access_routes]]
to = "10.9.0.0/16"
via = "10.1.0.254"
"""
    )
    config = load(write(tmp_path, text))
    assert config.controller == Controller("switch", 5, tmp_path / "state/sessions.db", "full")
    assert config.rest == Rest(
        "2001:db8::1", 443, tmp_path / "token", ("gateway.example", "192.0.2.1", "2001:db8::2")
    )
    assert config.rest.token() == "s3cret"
    assert config.gateways[0] == Gateway(
        name="gw1",
        ovsdb="unix:/run/ovs/db.sock",
        openflow="tcp:192.0.2.7:6633",
        bridge="br1",
        access_port="eth1",
        access_ip=IPv4Interface("10.1.0.1/24"),
        core_port="host",
        core_ip=IPv4Interface("10.2.0.1/24"),
        next_hop=None,
        ue_pools=(IPv4Network("10.45.0.0/16"),),
        access_routes=(AccessRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.254")),),
        access_allow=(IPv4Network("10.1.0.0/24"), IPv4Network("0.0.0.0/0")),
        ue_to_ue="route",
        dscp=46,
        source_port=2152,
        masquerade=True,
        host_services="allow",
        echo_seconds=86_400,
        t3_response_seconds=60,
        n3_requests=20,
        on_path_down="remove",
    )


def test_config_is_frozen(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    for part, field in ((config, "path"), (config.rest, "port"), (config.controller, "store")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, None)


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:1", "127.0.0.1", 1, True),
        ("127.9.9.9:65535", "127.9.9.9", 65535, True),
        ("localhost:8080", "localhost", 8080, True),
        ("[::1]:8080", "::1", 8080, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("192.0.2.1:80", "192.0.2.1", 80, False),
    ],
)
def test_listen(tmp_path: Path, listen: str, host: str, port: int, loopback: bool) -> None:
    text = f'{MINIMAL}[rest]\nlisten = "{listen}"\n'
    if not loopback:
        error = refused(tmp_path, text)
        assert (error.line, error.key) == (11, "rest.listen")
        assert "token_file is needed" in error.reason
    (tmp_path / "token").write_text("x")
    rest = load(write(tmp_path, text + 'token_file = "token"\n')).rest
    assert (rest.host, rest.port, rest.loopback) == (host, port, loopback)


@pytest.mark.parametrize("written", ["2001:0DB8::2", "2001:db8:0:0:0:0:0:2", "2001:db8::2"])
def test_a_host_may_be_an_address_in_any_form(tmp_path: Path, written: str) -> None:
    text = f'{MINIMAL}[rest]\nhosts = ["{written}", "192.0.2.1", "GW.example"]\n'
    rest = load(write(tmp_path, text)).rest
    assert rest.hosts == ("2001:db8::2", "192.0.2.1", "gw.example")
    access = Access(rest.host, rest.hosts, None)
    for header in ("[2001:db8::2]:8080", "[2001:DB8:0::2]", "192.0.2.1", "gw.example:8080"):
        assert access.names_us(header, None)
    assert not access.names_us("[2001:db8::3]", None)


@pytest.mark.parametrize(
    "text",
    [
        changed("access_ip", '"10.1.0.0/31"'),
        changed("next_hop", '"10.2.0.0"', changed("core_ip", '"10.2.0.1/31"')),
        changed("ue_pools", '["10.45.0.0/17", "10.45.128.0/17", "136.70.0.0/16"]'),
        changed("ue_pools", '["136.73.0.0/16", "10.1.1.0/24"]'),
        changed("bridge", '"abcdefghijklmno"'),  # 15 characters, no port named <bridge>-c
        changed("bridge", '"abcdefghijklm"', HOST),  # 13: "-c" still fits
        MINIMAL + "dscp = 0\n",
        MINIMAL + "dscp = 63\n",
        MINIMAL + 'source_port = "hashed"\n',
        MINIMAL + "echo_seconds = 60\nt3_response_seconds = 1\nn3_requests = 1\n",
        MINIMAL + "t3_response_seconds = 3\nn3_requests = 20\n",  # just over in 60 s
        MINIMAL + 'access_routes = [{to = "10.8.0.0/14", via = "10.1.0.254"}]\n',
        MINIMAL + "[controller]\nlease_seconds = 65535\n",
        MINIMAL + 'openflow = "tcp:127.0.0.1:65535"\n',
        MINIMAL + SECOND,
        HOST + SECOND_HOST,
        # Pools, and core subnets, may meet in two different networks.
        MINIMAL + changed("ue_pools", '["10.45.0.0/16"]', SECOND),
        HOST + changed("ue_pools", '["10.45.0.0/16"]', SECOND),
        MINIMAL + SECOND.replace("10.4.0.", "10.2.0."),
        # So may an access route and the core side of another gateway.
        *(
            MINIMAL + SECOND + route(to, "10.3.0.2")
            for to in ("10.45.0.0/16", "10.45.7.0/24", "10.44.0.0/15", "10.2.0.0/24", "10.2.0.9/32")
        ),
        # A route may hold subnets of another gateway: theirs are more exact.
        *(HOST + SECOND_HOST + route(to, "10.3.0.2") for to in ("10.1.0.0/23", "10.2.0.0/15")),
        HOST + route("10.2.0.0/15", "10.1.0.2") + SECOND_HOST,
        HOST + route("10.9.0.0/16", "10.1.0.2") + SECOND_HOST + route("10.9.7.0/24", "10.3.0.2"),
        MINIMAL.replace("\n", "\r\n"),
    ],
)
def test_accepted(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text)).gateways[0].name == "gw1"


def test_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFGTP_CONFIG", raising=False)
    assert default_path() == Path("/etc/ofgtp/ofgtp.toml")
    monkeypatch.setenv("OFGTP_CONFIG", "")
    assert default_path() == Path("/etc/ofgtp/ofgtp.toml")
    monkeypatch.setenv("OFGTP_CONFIG", "/srv/gw.toml")
    assert default_path() == Path("/srv/gw.toml")


OF_IPV6 = MINIMAL.replace(
    'ue_pools = ["10.45.0.0/16"]',
    'ue_pools = ["10.45.0.0/16", "2001:db8:a::/48"]\n'
    'core_ip6 = "2001:db8:c::1/64"\nnext_hop6 = "2001:db8:c::2"',
)


def test_ipv6(tmp_path: Path) -> None:
    [gateway] = load(write(tmp_path, OF_IPV6)).gateways
    assert gateway.ue_pools == (IPv4Network("10.45.0.0/16"),)
    assert gateway.ue_pools6 == (IPv6Network("2001:db8:a::/48"),)
    assert gateway.core_ip6 == IPv6Interface("2001:db8:c::1/64")
    assert gateway.next_hop6 == IPv6Address("2001:db8:c::2")
    local = OF_IPV6.replace("2001:db8:c::2", "fe80::2")
    assert load(write(tmp_path, local)).gateways[0].next_hop6 == IPv6Address("fe80::2")
    assert (gateway.router_advertisement, gateway.dns6) == (True, ())
    told = OF_IPV6.replace("next_hop6", 'dns6 = ["2001:db8:53::1", "2001:db8:53::2"]\nnext_hop6')
    resolvers = IPv6Address("2001:db8:53::1"), IPv6Address("2001:db8:53::2")
    assert load(write(tmp_path, told)).gateways[0].dns6 == resolvers
    alone = OF_IPV6.replace('"10.45.0.0/16", ', "")
    assert load(write(tmp_path, alone)).gateways[0].ue_pools == ()


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("2001:db8:c::1/64", "2001:db8:c::1/128", "core_ip6", "no room for a neighbour"),
        ("2001:db8:c::1/64", "2001:db8:c::/64", "core_ip6", "anycast"),
        ("2001:db8:c::1/64", "fe80::1/64", "core_ip6", "link-local"),
        ("2001:db8:c::1/64", "10.2.0.1/24", "core_ip6", "not an IPv6 address with"),
        ("2001:db8:c::1/64", "2001:db8:b::1/64", "next_hop6", "neither in"),
        ('"2001:db8:c::2"', '"2001:db8:d::2"', "next_hop6", "neither in"),
        ('"2001:db8:c::2"', '"2001:db8:c::1"', "next_hop6", "core_ip6 itself"),
        ('"2001:db8:c::2"', '"2001:db8:c::"', "next_hop6", "anycast"),
        ('"2001:db8:c::2"', '"fe80::2%eth2"', "next_hop6", "has a zone"),
        ('"2001:db8:c::2"', '"10.2.0.2"', "next_hop6", "not an IPv6 address"),
        ('next_hop6 = "2001:db8:c::2"', "", "next_hop6", "is missing"),
        ('core_ip6 = "2001:db8:c::1/64"', "", "ue_pools", "needs core_ip6"),
        ("2001:db8:a::/48", "2001:db8:c::/48", "ue_pools", "the core subnet"),
        ("2001:db8:a::/48", "fe80::/16", "ue_pools", "link-local"),
        ("2001:db8:a::/48", "4321:db8::/32", "ue_pools", "the switch misreads packets from there"),
        ("2001:db8:a::/48", "6000::/3", "ue_pools", "the switch misreads packets from there"),
        ("2001:db8:a::/48", "ff00::/16", "ue_pools", "multicast"),
        ("2001:db8:a::/48", "::ffff:0:0/112", "ue_pools", "IPv4-mapped"),
        ("2001:db8:a::/48", "2001:db8:a::1/48", "ue_pools", "host bits"),
    ],
)
def test_ipv6_refused(tmp_path: Path, old: str, new: str, key: str, reason: str) -> None:
    assert old in OF_IPV6
    error = refused(tmp_path, OF_IPV6.replace(old, new))
    assert error.key == f"gateway.{key}"
    assert reason in error.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('["10.2.0.53"]', "'10.2.0.53' is not an IPv6 address"),
        ('["2001:db8:53::1/64"]', "is not an IPv6 address"),
        ('["fe80::1"]', "link-local"),
        ('["2001:db8::1%eth2"]', "has a zone"),
        ('["::1"]', "loopback"),
        ('["ff02::fb"]', "multicast"),
        ('["2001:db8:c::1"]', "no UE reaches"),
        ('["2001:db8:53::1", "2001:db8:53:0::1"]', "stands twice"),
        (str([f"2001:db8:53::{n}" for n in range(1, 10)]), "at most 8"),
        ("[5]", "must be"),
        ('"2001:db8:53::1"', "must be"),
        ('["2001:db8:53::1"]\nrouter_advertisement = false', "turns off"),
    ],
)
def test_resolvers_refused(tmp_path: Path, value: str, reason: str) -> None:
    text = OF_IPV6.replace("next_hop6", f"dns6 = {value}\nnext_hop6")
    error = refused(tmp_path, text)
    assert (error.key, reason in error.reason) == ("gateway.dns6", True), error
    assert error.line == text[: text.index("dns6 = ")].count("\n") + 1


def test_resolvers_without_ipv6(tmp_path: Path) -> None:
    error = refused(tmp_path, MINIMAL + 'dns6 = ["2001:db8:53::1"]\n')
    assert (error.key, error.reason) == ("gateway.dns6", "needs core_ip6")


HOST6 = HOST.replace(
    'ue_pools = ["10.45.0.0/16"]',
    'ue_pools = ["2001:db8:a::/48"]\ncore_ip6 = "2001:db8:c::1/64"',
)


def test_ipv6_by_the_host(tmp_path: Path) -> None:
    [gateway] = load(write(tmp_path, HOST6 + "masquerade6 = true\n")).gateways
    assert gateway.core_ip6 == IPv6Interface("2001:db8:c::1/64")
    assert (gateway.next_hop6, gateway.masquerade, gateway.masquerade6) == (None, False, True)
    assert not load(write(tmp_path, HOST + "masquerade6 = false\n")).gateways[0].masquerade6
    error = refused(tmp_path, HOST6 + 'next_hop6 = "2001:db8:c::2"\n')
    assert (error.key, error.reason) == (
        "gateway.next_hop6",
        'the host\'s own routes decide, with core_port = "host"',
    )


@pytest.mark.parametrize(
    ("pool", "core", "key", "reason"),
    [
        ("2001:db8:a:7::/64", "2001:db8:d::1/64", "ue_pools", "(ue_pools of gw1): one host routes"),
        ("2001:db8:b::/48", "2001:db8:c::9/64", "core_ip6", "(core_ip6 of gw1): one host routes"),
        ("2001:db8::/32", "fd00::1/64", "ue_pools", "one host routes both"),
    ],
)
def test_two_gateways_of_one_host(
    tmp_path: Path, pool: str, core: str, key: str, reason: str
) -> None:
    pools = f'ue_pools = ["{pool}"]\ncore_ip6 = "{core}"'
    second = SECOND_HOST.replace('ue_pools = ["10.46.0.0/16"]', pools)
    error = refused(tmp_path, HOST6 + second)
    assert error.key == f"gateway.{key}"
    assert reason in error.reason
    # By ports they may be two networks.
    port = MINIMAL.replace('ue_pools = ["10.45.0.0/16"]', 'ue_pools = ["2001:db8:a::/48"]')
    port += 'core_ip6 = "2001:db8:c::1/64"\nnext_hop6 = "fe80::2"\n'
    load(write(tmp_path, port + second))


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("2001:db8:a:7::/64", "overlaps 2001:db8:a::/48 (ue_pools of gw1): one host routes both"),
        ("2001:db8::/32", "overlaps 2001:db8:a::/48 (ue_pools of gw1): one host routes both"),
        ("2001:db8:c::/64", "overlaps 2001:db8:c::/64 (core_ip6 of gw1): one host routes both"),
        ("2001:db8:ac::5/128", "overlaps 2001:db8:ac::/64 (access_ip6 of gw1): one host"),
    ],
)
def test_access_routes_of_two_gateways_of_one_host(tmp_path: Path, to: str, reason: str) -> None:
    first = HOST6 + 'access_ip6 = "2001:db8:ac::1/64"\n'
    second = SECOND_HOST + 'access_ip6 = "2001:db8:e::1/64"\n' + route(to, "2001:db8:e::2")
    error = refused(tmp_path, first + second)
    assert error.key == "gateway.access_routes.to"
    assert reason in error.reason


# The example: it loads, it has every key, and what it shows as defaults are the defaults.


def test_example_loads() -> None:
    config = load(EXAMPLE)
    assert [gateway.name for gateway in config.gateways] == ["gw1"]


def test_example_has_every_key_in_order() -> None:
    shown = tomllib.loads(EXAMPLE.read_text())
    assert list(shown) == ["controller", "rest", "gateway"]
    assert list(shown["controller"]) == [field.name for field in dataclasses.fields(Controller)]
    assert list(shown["rest"]) == ["listen", "token_file", "hosts"]
    *names, last = [field.name for field in dataclasses.fields(Gateway)]
    of_controller = ("pmd_cores", "leased")
    of_ipv6 = ("ue_pools6", "access_allow6", "access_ip6", "core_ip6", "next_hop6")
    names = [name for name in names if name not in (*of_controller, *of_ipv6)]
    assert list(shown["gateway"][0]) == ["ports" if n == "port_type" else n for n in names]
    assert last == "pfcp", "which the example only names, as it does keys for IPv6"
    assert all(f"\n# {name} = " in EXAMPLE.read_text() for name in of_ipv6[2:])


def test_the_examples_pfcp_has_every_key_and_the_defaults(tmp_path: Path) -> None:
    _, _, table = EXAMPLE.read_text().partition("# [gateway.pfcp]\n")
    keys = [line[2:] for line in table.splitlines() if re.match(r"# \w+ = ", line)]
    fields = [field.name for field in dataclasses.fields(Pfcp)]
    assert [key.split(" = ")[0] for key in keys] == fields
    whole = MINIMAL + "[gateway.pfcp]\n" + "\n".join(keys)
    [gateway] = load(write(tmp_path, whole)).gateways
    [short] = load(write(tmp_path, MINIMAL + PFCP)).gateways
    assert gateway == short


def test_example_shows_the_defaults(tmp_path: Path) -> None:
    required = set(tomllib.loads(MINIMAL)["gateway"][0])
    lines = [
        line
        for line in EXAMPLE.read_text().splitlines()
        if line == "[[gateway]]" or line.split(" = ")[0] in required
    ]
    short, whole = load(write(tmp_path, "\n".join(lines))), load(EXAMPLE)
    assert dataclasses.replace(short, path=EXAMPLE) == whole


def test_pfcp(tmp_path: Path) -> None:
    [gateway] = load(write(tmp_path, MINIMAL)).gateways
    assert gateway.pfcp is None
    more = """node_id = "upf1.example.org"
on_peer_lost = "remove"
heartbeat_seconds = 5
network_instances = ["internet", "ims"]
"""
    [gateway] = load(write(tmp_path, MINIMAL + PFCP + more)).gateways
    here = IPv4Address("10.3.0.1")
    assert gateway.pfcp == Pfcp(
        here,
        (IPv4Network("10.3.0.0/24"),),
        "upf1.example.org",
        "remove",
        5,
        ("internet", "ims"),
    )
    [gateway] = load(write(tmp_path, MINIMAL + PFCP + 'node_id = "10.9.9.9"')).gateways
    assert gateway.pfcp is not None
    assert gateway.pfcp.node_id == IPv4Address("10.9.9.9")
    for name in ("upf", "10.3.0.1.example", "7upf", "10.3.0.1a", "5-g", "a." * 126 + "a"):
        [gateway] = load(write(tmp_path, MINIMAL + PFCP + f'node_id = "{name}"')).gateways
        assert gateway.pfcp is not None
        assert gateway.pfcp.node_id == name
    one, two = load(write(tmp_path, MINIMAL + PFCP + SECOND)).gateways
    assert one.pfcp is not None
    assert two.pfcp is None
    assert IPv4Network(here) in protected_networks([one]), "no UE may speak to it"


# What is refused: the whole file.


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        load(tmp_path / "none.toml")
    assert caught.value.path == str(tmp_path / "none.toml")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "ofgtp.toml"
    path.write_bytes(b"\n[controller]\nstore = '\xff'\n")
    with pytest.raises(ConfigError, match="is not UTF-8") as caught:
        load(path)
    assert caught.value.line == 3


def test_no_gateway(tmp_path: Path) -> None:
    for text in ("", "[rest]\n", "gateway = []\n"):
        assert "at least one [[gateway]]" in refused(tmp_path, text).reason
    assert refused(tmp_path, "").line == 0  # no line to name


def test_message_names_path_line_key_and_reason(tmp_path: Path) -> None:
    error = refused(tmp_path, changed("core_ip", '"x"'))
    assert str(error).startswith(f"{tmp_path}/ofgtp.toml:7: gateway.core_ip: 'x' is not")


REST = MINIMAL + "[rest]\n"
CONTROLLER = MINIMAL + "[controller]\n"
ROUTE = MINIMAL + "access_routes = [\n  "


@pytest.mark.parametrize(
    ("text", "line", "key", "reason"),
    [
        # TOML
        (MINIMAL + "dscp = \n", 10, "", "Invalid value"),
        (MINIMAL + 'name = "gw2"\n', 10, "", "Cannot overwrite a value"),
        (MINIMAL + "access_allow = [\n", 10, "", "end of document"),
        # unknown
        (MINIMAL + "[rst]\n", 10, "rst", "did you mean rest?"),
        ("x = 1\n" + MINIMAL, 1, "x", "unknown table or key; known: controller, rest, gateway"),
        (MINIMAL + 'acces_allow = ["1.2.3.0/24"]\n', 10, "gateway.acces_allow", "access_allow?"),
        (CONTROLLER + "lease_second = 7\n", 11, "controller.lease_second", "lease_seconds?"),
        (REST + "port = 7\n", 11, "rest.port", "unknown key"),
        (ROUTE + '{to = "10.9.0.0/16", through = "10.1.0.2"}]', 10, "through", "known: to, via"),
        # shape
        (MINIMAL.replace("[[gateway]]", "[gateway]"), 1, "gateway", "write [[gateway]]"),
        ("gateway = 1\n", 1, "gateway", "must be a list, not 1"),
        ("gateway = [1]\n", 1, "gateway", "every element must be a table"),
        ("rest = 1\n" + MINIMAL, 1, "rest", "must be a table"),
        # missing
        *(
            (without(key), 1, f"gateway.{key}", "is missing")
            for key in tomllib.loads(MINIMAL)["gateway"][0]
        ),
        (ROUTE + '{to = "10.9.0.0/16"}]', 10, "gateway.access_routes.via", "is missing"),
        # types
        (changed("name", "1"), 2, "gateway.name", "must be a string, not 1"),
        (changed("access_ip", "1"), 5, "gateway.access_ip", "must be a string"),
        (changed("next_hop", "[]"), 8, "gateway.next_hop", "must be a string"),
        (changed("ue_pools", '"10.45.0.0/16"'), 9, "gateway.ue_pools", "must be a list"),
        (changed("ue_pools", "[1]"), 9, "gateway.ue_pools", "every element must be a string"),
        (MINIMAL + "masquerade = 1\n", 10, "gateway.masquerade", "must be true or false"),
        (MINIMAL + 'access_routes = ["x"]\n', 10, "gateway.access_routes", "must be a table"),
        (CONTROLLER + "lease_seconds = true\n", 11, "controller.lease_seconds", "an integer"),
        (CONTROLLER + "lease_seconds = 10.0\n", 11, "controller.lease_seconds", "an integer"),
        (REST + "hosts = [1]\n", 11, "rest.hosts", "every element must be a string"),
        # [controller]
        (CONTROLLER + 'ownership = "me"\n', 11, "controller.ownership", "'controller' or 'switch'"),
        (CONTROLLER + "lease_seconds = 4\n", 11, "controller.lease_seconds", "5 to 65535, not 4"),
        (CONTROLLER + "lease_seconds = 65536\n", 11, "controller.lease_seconds", "5 to 65535"),
        (CONTROLLER + 'store = ""\n', 11, "controller.store", "path of a file"),
        (CONTROLLER + 'store = "a\\u0000b"\n', 11, "controller.store", "path of a file"),
        (CONTROLLER + 'durability = "no"\n', 11, "controller.durability", "'normal' or 'full'"),
        # [rest]
        *(
            (REST + f'listen = "{listen}"\n', 11, "rest.listen", "is not an address and a port")
            for listen in (
                *("", "127.0.0.1", ":8080", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:http"),
                *("::1:8080", "[127.0.0.1]:8080", "[::1]", "gateway.example:80", "127.0.0.256:80"),
            )
        ),
        (REST + 'listen = "[fe80::1%lo]:8080"\n', 11, "rest.listen", "%lo is a link-local address"),
        (REST + 'listen = "[fe80::1]:8080"\n', 11, "rest.listen", "is a link-local address: take"),
        (REST + 'listen = "[::1%lo]:8080"\n', 11, "rest.listen", "has a zone: leave it out"),
        (REST + 'hosts = ["::1", "fe80::1%lo"]\n', 11, "rest.hosts", "fe80::1%lo has a zone"),
        (REST + 'token_file = "none"\n', 11, "rest.token_file", "No such file"),
        (REST + 'token_file = "a\\u0000b"\n', 11, "rest.token_file", "path of a file"),
        (REST + 'token_file = "."\n', 11, "rest.token_file", "Is a directory"),
        (REST + 'hosts = ["a.example", "a b"]\n', 11, "rest.hosts", "'a b' is not a host name"),
        (REST + 'hosts = ["a.example:80"]\n', 11, "rest.hosts", "without a port"),
        # names
        (changed("name", '""'), 2, "gateway.name", "no gateway name"),
        (changed("name", '"a b"'), 2, "gateway.name", "no gateway name"),
        (changed("bridge", '"abcdefghijklmnop"'), 3, "gateway.bridge", "no interface name"),
        *(
            (changed("access_port", name), 4, "gateway.access_port", "no interface name")
            for name in ('""', '"a/b"', '"a b"', '"a\\tb"', "'a\"b'", '"-a"', '".."', '"é"', '"e*"')
        ),
        (changed("core_port", '"a/b"'), 6, "gateway.core_port", "no interface name"),
        (changed("core_port", '"eth1"'), 6, "gateway.core_port", "'eth1' would be both the access"),
        (changed("access_port", '"br1"'), 4, "gateway.access_port", "both the bridge of gw1 and"),
        (changed("core_port", '"br1-g"'), 3, "gateway.bridge", "and the gtpu port of gw1"),
        (changed("bridge", '"abcdefghijklmno"', HOST), 3, "gateway.bridge", "core-side internal"),
        # where the switch is
        (MINIMAL + 'ovsdb = "tcp:127.0.0.1:6640"\n', 10, "gateway.ovsdb", "absolute path"),
        (MINIMAL + 'ovsdb = "unix:db.sock"\n', 10, "gateway.ovsdb", "absolute path"),
        *(
            (MINIMAL + f'openflow = "{value}"\n', 10, "gateway.openflow", reason)
            for value, reason in (
                ("127.0.0.1:6653", "is not tcp:"),
                ("ssl:127.0.0.1:6653", "is not tcp:"),
                ("tcp:127.0.0.1", "is not tcp:"),
                ("tcp:127.0.0.1:0", "is not tcp:"),
                ("tcp:127.0.0.1:65536", "is not tcp:"),
                ("tcp:1.2.3:6653", "is not tcp:"),
                ("tcp:[::1]:6653", "is not tcp:"),
                ("tcp:0.0.0.0:6653", "no address a switch can connect to"),
                ("tcp:224.0.0.1:6653", "no address a switch can connect to"),
                ("tcp:255.255.255.255:6653", "no address a switch can connect to"),
            )
        ),
        # our addresses
        (changed("access_ip", '"10.1.0.1"'), 5, "gateway.access_ip", "with a prefix length"),
        (changed("access_ip", '"10.1.0.1/33"'), 5, "gateway.access_ip", "with a prefix length"),
        (changed("access_ip", '"10.1.0.1/255.255.0.0"'), 5, "gateway.access_ip", "prefix length"),
        (changed("access_ip", '"10.1.0.1/32"'), 5, "gateway.access_ip", "/31 at most"),
        (changed("access_ip", '"10.1.0.0/24"'), 5, "gateway.access_ip", "the network address"),
        (changed("core_ip", '"10.2.0.255/24"'), 7, "gateway.core_ip", "the broadcast address"),
        (changed("access_ip", '"127.0.0.2/8"'), 5, "gateway.access_ip", "(loopback)"),
        (changed("access_ip", '"224.0.0.2/24"'), 5, "gateway.access_ip", "(multicast)"),
        (changed("core_ip", '"169.254.0.2/24"'), 7, "gateway.core_ip", "(link-local)"),
        (changed("core_ip", '"10.1.0.129/25"'), 7, "gateway.core_ip", "the access subnet"),
        (changed("core_ip", '"10.2.0.1/8"'), 7, "gateway.core_ip", "overlaps the access subnet"),
        # next_hop
        (without("next_hop"), 1, "gateway.next_hop", 'only core_port = "host" goes without'),
        (changed("core_port", '"host"'), 8, "gateway.next_hop", "is not allowed"),
        (changed("next_hop", '"x"'), 8, "gateway.next_hop", "'x' is not an IPv4 address"),
        (changed("next_hop", '""'), 8, "gateway.next_hop", "is not an IPv4 address"),
        (changed("next_hop", '"10.2.1.2"'), 8, "gateway.next_hop", "not in the core subnet"),
        (changed("next_hop", '"10.2.0.1"'), 8, "gateway.next_hop", "is core_ip itself"),
        (changed("next_hop", '"10.2.0.0"'), 8, "gateway.next_hop", "network or broadcast"),
        (changed("next_hop", '"10.2.0.255"'), 8, "gateway.next_hop", "network or broadcast"),
        # ue_pools
        (changed("ue_pools", "[]"), 9, "gateway.ue_pools", "at least one pool"),
        *(
            (changed("ue_pools", f'["{pool}"]'), 9, "gateway.ue_pools", reason)
            for pool, reason in (
                ("10.45.0.0", "is not an IPv4 prefix"),
                ("2001:db8::/64", "needs core_ip6"),
                ("2001:db8::1/64", "has host bits set"),
                ("2001:db8::", "is not an IPv6 prefix"),
                ("10.45.0.1/16", "host bits set; the prefix is 10.45.0.0/16"),
                ("10.1.0.128/25", "(the access subnet)"),
                ("10.2.0.0/16", "(the core subnet)"),
                ("224.1.0.0/16", "(multicast)"),
                ("127.1.0.0/16", "(loopback)"),
                ("169.254.7.0/24", "(link-local)"),
                ("0.0.0.0/0", "overlaps"),
                ("136.71.3.0/24", "cannot tell such sources from MPLS"),
                ("136.72.0.0/16", "cannot tell such sources from MPLS"),
                ("136.0.0.0/8", "cannot tell such sources from MPLS"),
            )
        ),
        (
            changed("ue_pools", '["10.45.0.0/16", "10.46.0.0/16", "10.45.7.0/24"]'),
            9,
            "gateway.ue_pools",
            "10.45.7.0/24 overlaps 10.45.0.0/16 (another pool)",
        ),
        (
            ROUTE + '{to = "10.45.0.0/24", via = "10.1.0.2"}]',
            9,
            "gateway.ue_pools",
            "(an access route)",
        ),
        # access_routes: the line is that of the list
        *(
            (ROUTE + f'{{to = "{to}", via = "{via}"}}]\n', 10, f"gateway.access_routes.{key}", why)
            for to, via, key, why in (
                ("10.9.0.1/16", "10.1.0.2", "to", "host bits set"),
                ("10.9.0.0", "10.1.0.2", "to", "is not an IPv4 prefix"),
                ("10.1.0.64/26", "10.1.0.2", "to", "part of the access subnet"),
                ("10.2.0.0/24", "10.1.0.2", "to", "part of the core subnet"),
                ("224.0.1.0/24", "10.1.0.2", "to", "multicast"),
                ("10.9.0.0/16", "10.2.0.2", "via", "not in the access subnet"),
                ("10.9.0.0/16", "10.1.0.1", "via", "is access_ip itself"),
                ("10.9.0.0/16", "10.1.0.255", "via", "network or broadcast"),
                ("10.9.0.0/16", "gw", "via", "is not an IPv4 address"),
            )
        ),
        (
            ROUTE + ",".join(['{to = "10.9.0.0/16", via = "10.1.0.2"}'] * 2) + "]",
            10,
            "gateway.access_routes.to",
            "stands twice",
        ),
        # access_allow
        (MINIMAL + 'access_allow = ["10.1.0.1/24"]\n', 10, "gateway.access_allow", "host bits"),
        (MINIMAL + 'access_allow = ["127.0.0.0/8"]\n', 10, "gateway.access_allow", "(loopback)"),
        (MINIMAL + 'access_allow = ["169.254.1.0/24"]\n', 10, "gateway.access_allow", "link-local"),
        (MINIMAL + 'access_allow = ["239.0.0.0/8"]\n', 10, "gateway.access_allow", "(multicast)"),
        # the rest of a gateway
        (MINIMAL + 'ue_to_ue = "yes"\n', 10, "gateway.ue_to_ue", "'deny' or 'route'"),
        *(
            (MINIMAL + f"dscp = {value}\n", 10, "gateway.dscp", "a number from 0 to 63")
            for value in ("64", "-1", "true", "false", "46.0", '"EF"', "[]")
        ),
        *(
            (MINIMAL + f"source_port = {value}\n", 10, "gateway.source_port", '"hashed" or 2152')
            for value in ("0", "2153", "true", "2152.0", '"2152"', '"Hashed"', "[2152]")
        ),
        *(
            (MINIMAL + f"{key} = {value}\n", 10, f"gateway.{key}", f"must be {reason}")
            for key, value, reason in (
                ("echo_seconds", "59", "60 to 86400, not 59"),
                ("echo_seconds", "86401", "60 to 86400, not 86401"),
                ("echo_seconds", "60.0", "an integer"),
                ("t3_response_seconds", "0", "1 to 60, not 0"),
                ("t3_response_seconds", "61", "1 to 60, not 61"),
                ("t3_response_seconds", "0.5", "an integer"),
                ("n3_requests", "0", "1 to 20, not 0"),
                ("n3_requests", "21", "1 to 20, not 21"),
                ("n3_requests", "true", "an integer"),
                ("on_path_down", '"drop"', "'keep' or 'remove', not 'drop'"),
            )
        ),
        (
            MINIMAL + "n3_requests = 4\nt3_response_seconds = 16\necho_seconds = 63\n",
            12,
            "gateway.echo_seconds",
            "is 63, but n3_requests requests of t3_response_seconds each take 64",
        ),
        (MINIMAL + "n3_requests = 20\nt3_response_seconds = 4\n", 1, "gateway.echo_seconds", "80"),
        (MINIMAL + "masquerade = true\n", 10, "gateway.masquerade", 'only with core_port = "host"'),
        (
            MINIMAL + "masquerade6 = true\n",
            10,
            "gateway.masquerade6",
            'only with core_port = "host"',
        ),
        (HOST + "masquerade6 = true\n", 9, "gateway.masquerade6", "needs core_ip6"),
        (MINIMAL + 'host_services = "allow"\n', 10, "gateway.host_services", 'core_port = "host"'),
        (HOST + 'host_services = "no"\n', 9, "gateway.host_services", "'deny' or 'allow', not"),
        # two gateways: the later one is at fault
        (MINIMAL + changed("name", '"gw1"', SECOND), 11, "gateway.name", "'gw1' is the name of"),
        (MINIMAL + changed("bridge", '"br1"', SECOND), 12, "gateway.bridge", "both the bridge of"),
        (MINIMAL + changed("access_port", '"eth1"', SECOND), 13, "gateway.access_port", "both"),
        (MINIMAL + changed("core_port", '"eth2"', SECOND), 15, "gateway.core_port", "both"),
        (MINIMAL + changed("core_port", '"eth1"', SECOND), 15, "gateway.core_port", "both"),
        (
            MINIMAL.replace("br1", "br-long-name-1") + SECOND.replace("br2", "br-long-name-2"),
            12,
            "gateway.bridge",
            "'br-long-name--g' would be both the gtpu port of gw1 and the gtpu port of gw2",
        ),
        (MINIMAL + changed("access_ip", '"10.1.0.1/24"', SECOND), 14, "gateway.access_ip", "gw1"),
        (MINIMAL + changed("access_ip", '"10.1.0.2/24"', SECOND), 14, "gateway.access_ip", "gw1"),
        (
            HOST + changed("ue_pools", '["10.46.0.0/16", "10.45.1.0/24"]', SECOND_HOST),
            16,
            "gateway.ue_pools",
            "10.45.1.0/24 overlaps 10.45.0.0/16 (ue_pools of gw1)",
        ),
        (HOST + SECOND_HOST.replace("10.4.0.1", "10.2.0.9"), 15, "gateway.core_ip", "core_ip of"),
        (HOST + SECOND.replace("10.3.0.1", "10.45.0.1"), 13, "gateway.access_ip", "ue_pools of"),
        (
            MINIMAL
            + 'access_routes = [{to = "10.9.0.0/16", via = "10.1.0.2"}]\n'
            + SECOND
            + 'access_routes = [{to = "10.9.0.0/16", via = "10.3.0.2"}]\n',
            20,
            "gateway.access_routes.to",
            "an access route of gw1 already",
        ),
        *(
            (HOST + SECOND_HOST + route(to, "10.3.0.2"), 17, "gateway.access_routes.to", why)
            for to, why in (
                ("10.1.0.0/24", "10.1.0.0/24 overlaps 10.1.0.0/24 (access_ip of gw1): one host"),
                ("10.1.0.64/26", "10.1.0.64/26 overlaps 10.1.0.0/24 (access_ip of gw1): one host"),
                ("10.2.0.9/32", "10.2.0.9/32 overlaps 10.2.0.0/24 (core_ip of gw1): one host"),
                ("10.45.0.0/16", "10.45.0.0/16 overlaps 10.45.0.0/16 (ue_pools of gw1): one host"),
                ("10.45.7.0/24", "10.45.7.0/24 overlaps 10.45.0.0/16 (ue_pools of gw1): one host"),
                ("10.44.0.0/15", "10.44.0.0/15 overlaps 10.45.0.0/16 (ue_pools of gw1): one host"),
            )
        ),
        *(
            (HOST + route(to, "10.1.0.2") + SECOND_HOST, line, f"gateway.{key}", why)
            for to, line, key, why in (
                (
                    "10.3.0.7/32",
                    14,
                    "access_ip",
                    "overlaps 10.3.0.7/32 (access_routes of gw1): one",
                ),
                ("10.4.0.0/24", 16, "core_ip", "overlaps 10.4.0.0/24 (access_routes of gw1): one"),
                ("10.46.1.0/24", 17, "ue_pools", "overlaps 10.46.1.0/24 (access_routes of gw1): o"),
                ("10.46.0.0/15", 17, "ue_pools", "overlaps 10.46.0.0/15 (access_routes of gw1)"),
            )
        ),
        # where a line is found although the file is laid out in another way
        (CONTROLLER + "lease_seconds\\\n", 11, "", "Expected '='"),
        ("# c\n\n" + changed("core_ip", '"x"'), 9, "gateway.core_ip", "'x' is not"),
        ("rest.hosts = []\nrest.listen = 'x'\n" + MINIMAL, 2, "rest.listen", "'x' is not"),
        ('rest = {hosts = [], "listen" = "x"}\n' + MINIMAL, 1, "rest.listen", "'x' is not"),
        (MINIMAL + '"dscp" = 64\n', 10, "gateway.dscp", "from 0 to 63"),
        (MINIMAL + "  dscp=64 # [rest]\n", 10, "gateway.dscp", "from 0 to 63"),
        (
            changed("ue_pools", '[\n"10.45.0.0/16",\n"10.45.0.0/16",\n]') + "dscp = 1\n",
            9,
            "gateway.ue_pools",
            "overlaps",
        ),
        (
            changed("ue_pools", '[\n"10.45.0.0/16",\n]') + "dscp = 64\n",
            12,
            "gateway.dscp",
            "from 0 to 63",
        ),
        (
            "[controller]\nstore = '''\n[rest]\nlisten = 1\n'''\n[rest]\nlisten = 'x'\n" + MINIMAL,
            7,
            "rest.listen",
            "'x' is not",
        ),
        (changed("core_ip", '"x"').replace("\n", "\r\n"), 7, "gateway.core_ip", "'x' is not"),
        (
            MINIMAL + '[[gateway.access_routes]]\nto = "10.9.0.0/16"\nvia = "10.1.0.2"\n'
            '[[gateway.access_routes]]\nto = "10.10.0.0/16"\nvia = "10.1.0.1"\n',
            15,
            "gateway.access_routes.via",
            "is access_ip itself",
        ),
        (
            MINIMAL + SECOND + '[[gateway.access_routes]]\nto = "10.9.0.0/16"\n',
            19,
            "gateway.access_routes.via",
            "is missing",
        ),
        (MINIMAL + SECOND.replace('bridge = "br2"\n', ""), 10, "gateway.bridge", "is missing"),
        # PFCP
        (MINIMAL + "[gateway.pfcp]\npeers = []", 10, "gateway.pfcp.listen", "is missing"),
        (MINIMAL + '[gateway.pfcp]\nlisten = "10.3.0.1"', 10, "gateway.pfcp.peers", "is missing"),
        (changed("peers", "[]", MINIMAL + PFCP), 12, "gateway.pfcp.peers", "nobody else"),
        (
            changed("peers", '["10.3.0.1/24"]', MINIMAL + PFCP),
            12,
            "gateway.pfcp.peers",
            "host bits set",
        ),
        (changed("listen", '"::1"', MINIMAL + PFCP), 11, "gateway.pfcp.listen", "IPv4 address"),
        (changed("listen", '"224.0.0.1"', MINIMAL + PFCP), 11, "gateway.pfcp.listen", "multicast"),
        (changed("listen", '"10.45.0.1"', MINIMAL + PFCP), 11, "gateway.pfcp.listen", "UE pool"),
        (MINIMAL + PFCP + SECOND + PFCP, 23, "gateway.pfcp.listen", "gw1 listens there"),
        *(
            (MINIMAL + PFCP + f'node_id = "{text}"', 13, "gateway.pfcp.node_id", "neither")
            for text in (
                *(
                    "a b",
                    "upf..example",
                    "upf.",
                    ".upf",
                    "a" * 64,
                    "a." * 126 + "ab",
                    "2001:db8::1",
                ),
                *("::ffff:10.3.0.1", "fe80::1%eth1", "[2001:db8::1]", "300.1.1.1", "10.3.0"),
                *("10.3.0.1.5", "10.03.0.1", "10", "upf.example.7", "10.3.0.1\\n", "upf\\n"),
            )
        ),
        (MINIMAL + PFCP + "heartbeat_seconds = 4", 13, "gateway.pfcp.heartbeat_seconds", "5 to"),
        (MINIMAL + PFCP + 'on_peer_lost = "x"', 13, "gateway.pfcp.on_peer_lost", "'keep' or"),
        (
            MINIMAL + PFCP + 'network_instances = [""]',
            13,
            "gateway.pfcp.network_instances",
            "no name",
        ),
        (MINIMAL + PFCP + 'peer = "x"', 13, "gateway.pfcp.peer", "did you mean peers?"),
    ],
)
def test_refused(tmp_path: Path, text: str, line: int, key: str, reason: str) -> None:
    error = refused(tmp_path, text)
    assert reason in error.reason
    assert error.line == line
    assert error.key == key or error.key == f"gateway.access_routes.{key}"


def test_only_tests_may_ask_peers_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = MINIMAL + "t3_response_seconds = 1\nn3_requests = 1\necho_seconds = "
    monkeypatch.setenv("OFGTP_TEST_ECHO_SECONDS_MIN", "2")
    assert load(write(tmp_path, quick + "2\n")).gateways[0].echo_seconds == 2
    assert "must be 2 to 86400, not 1" in refused(tmp_path, quick + "1\n").reason
    long = refused(tmp_path, quick.replace("requests = 1", "requests = 3") + "2\n")
    assert (long.line, long.key) == (12, "gateway.echo_seconds")
    assert "take 3:" in long.reason
    monkeypatch.setenv("OFGTP_TEST_ECHO_SECONDS_MIN", "0")
    assert "must be 1 to" in refused(tmp_path, quick + "0\n").reason
    for no_lower in ("", "61"):
        monkeypatch.setenv("OFGTP_TEST_ECHO_SECONDS_MIN", no_lower)
        assert "must be 60 to" in refused(tmp_path, quick + "59\n").reason
        assert load(write(tmp_path, quick + "60\n")).gateways[0].echo_seconds == 60
    for text in ("2.5", "-1", "x", "²"):
        monkeypatch.setenv("OFGTP_TEST_ECHO_SECONDS_MIN", text)
        error = refused(tmp_path, MINIMAL)
        assert error.key == "gateway.echo_seconds"
        assert f"OFGTP_TEST_ECHO_SECONDS_MIN={text!r} in the environment" in error.reason


PREFIXES = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(5000)]
MANY_PEERS = "[\n" + "".join(f'  "{each}",  # ]\n' for each in PREFIXES) + '  "10.99.0.1/24",\n]'
MANY_ROUTES = "".join(
    f'[[gateway.access_routes]]\nto = "172.20.{n}.0/24"\nvia = "10.1.0.2"\n' for n in range(200)
)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (changed("peers", MANY_PEERS, MINIMAL + PFCP), 12, "gateway.pfcp.peers"),
        (changed("peers", MANY_PEERS, MINIMAL + PFCP) + "x = 1\n", 5015, "gateway.pfcp.x"),
        (changed("to", '"172.20.0.1/24"', MINIMAL + MANY_ROUTES), 608, "gateway.access_routes.to"),
    ],
    ids=["a statement of many lines", "behind it", "many statements"],
)
def test_a_line_is_found_in_a_long_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, key: str
) -> None:
    """Nothing is parsed more than twice: in the whole file, and to find the line."""
    parsed: list[str] = []
    parse = tomllib.loads

    def loads(part: str) -> dict[str, object]:
        parsed.append(part)
        return parse(part)

    monkeypatch.setattr(tomllib, "loads", loads)
    error = refused(tmp_path, text)
    assert (error.line, error.key) == (line, key)
    assert len("".join(parsed)) <= 2 * len(text)


@pytest.mark.parametrize(
    "value",
    [
        '""',
        r'"\"[#{"',
        r"'\"]#{'",
        "'''\n'] = '''",
        "''''\n''[''''",
        '"""\n\\"""\n] = """',
        '""""\n""[#"""""',
        '[\n  "]",  # ]\n]  # [',
        "[[\n{a = [\n']'\n]}\n]]",
        '["""\n[[gateway]]\n"""]',
    ],
)
def test_a_line_is_found_behind_any_value(tmp_path: Path, value: str) -> None:
    text = f"[controller]\nstore = {value}\n\n# c ['\n  x = 1\n"
    error = refused(tmp_path, text)
    assert (error.line, error.key) == (text.count("\n"), "controller.x")


NESTED = "is nested deeper than 16"


def test_deeply_nested_value_is_no_crash(tmp_path: Path) -> None:
    error = refused(tmp_path, "x = " + "[" * 100_000)
    assert (error.line, error.reason) == (0, NESTED)


def test_value_that_is_nested_too_deep(tmp_path: Path) -> None:
    """However deep: the parser's own limit, some 490, lies where the caller's stack says."""
    for depth in (17, 100, *range(400, 500)):
        error = refused(tmp_path, f"{MINIMAL}dscp = {'[' * depth}{']' * depth}\n")
        assert error.reason == NESTED
        assert error.line == 10 or depth > 400
    error = refused(tmp_path, f"{MINIMAL}dscp = {'[' * 14}{']' * 14}\n")
    assert "must be" in error.reason


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (f"dscp = {'{a = ' * 20}1{'}' * 20}", 10, "gateway.dscp" + ".a" * 14),
        (f"dscp{'.a' * 5000} = 1", 10, "gateway.dscp" + ".a" * 14),
        (f"[x{'.a' * 5000}]\ny = 1", 10, "x" + ".a" * 16),
        (f"[[x{'.a' * 5000}]]\ny = 1", 10, "x" + ".a" * 16),
        ("y = 1\n" + f"x = {'[' * 17}{']' * 17}", 11, "gateway.x"),
    ],
)
def test_whatever_is_nested_too_deep(tmp_path: Path, text: str, line: int, key: str) -> None:
    error = refused(tmp_path, MINIMAL + text)
    assert (error.reason, error.line, error.key) == (NESTED, line, key)


def test_huge_integer_is_no_crash(tmp_path: Path) -> None:
    refused(tmp_path, "x = " + "9" * 10_000)


# The token.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"two words\n", "one token of visible ASCII"),
        (b"two\nlines\n", "one token of visible ASCII"),
        ("gehëim".encode(), "one token of visible ASCII"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_bad_token(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "token").write_bytes(content)
    error = refused(tmp_path, REST + 'token_file = "token"\n')
    assert (error.line, error.key) == (11, "rest.token_file")
    assert reason in error.reason


def test_token_is_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    config = load(write(tmp_path, REST + f'token_file = "{tmp_path}/token"\n'))
    assert config.rest.token() == "s3cret"
    assert "s3cret" not in repr(config)
