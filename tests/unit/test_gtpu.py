"""The GTP-U codec against scapy, tshark, captures of real peers, and random octets."""

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.contrib import gtp as scapy_gtp

from ofgtp.core import frames, gtpu
from ofgtp.core.gtpu import Extension, Fault, Ie, MessageType
from ofgtp.core.model import FTeid
from tests.support import tshark

DATA = Path(__file__).parent.parent / "data"
CAPTURES = sorted(DATA.glob("*.pcap"))
OURS, PEER = IPv4Address("192.0.2.31"), IPv4Address("192.0.2.40")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


def captured() -> list[bytes]:
    """Every GTP-U datagram of the captures."""
    found = []
    for capture in CAPTURES:
        for frame in tshark.read_pcap(capture):
            try:
                udp = frames.parse_udp(frame)
            except frames.FrameError:
                continue
            if 2152 in (udp.src_port, udp.dst_port):
                found.append(udp.payload)
    return found


CAPTURED = captured()

sequences = st.integers(0, gtpu.SEQUENCE_MAX)
teids = st.integers(1, 0xFFFF_FFFF)
addresses = st.ip_addresses(v=4)
extension_types = st.lists(st.integers(1, 255), max_size=255)

built = st.one_of(
    sequences.map(gtpu.echo_request),
    sequences.map(gtpu.echo_response),
    st.builds(gtpu.error_indication, teids, addresses, sequences),
    teids.map(gtpu.end_marker),
    st.builds(gtpu.supported_extension_headers, extension_types, sequences),
)


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


# What real peers sent. Those of srsENB are not in the captures: they are its messages as observed.
SRSENB_ECHO_RESPONSE = octets("32 02 0008 00000000 0007 00 00")
SRSENB_ERROR_INDICATION = octets("32 1a 0008 00001234 0000 00 00")
OPEN5GS_ERROR_INDICATION = octets(
    "36 1a 0014 deadbeef 0000 00 40 01 0000 00 10 deadbeef 85 0004 c000021f"
)
OSMO_ERROR_INDICATION = octets("32 1a 0010 00000000 0009 00 00 10 deadbeef 85 0004 c0000228")


# --- against the captures


def test_there_are_two_captures() -> None:
    assert len(CAPTURES) == 2
    assert OPEN5GS_ERROR_INDICATION in CAPTURED


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_captured_messages_read_as_tshark_reads_them(capture: Path) -> None:
    names = (
        "frame.number",
        "gtp.message",
        "gtp.teid",
        "gtp.seq_number",
        "gtp.ext_hdr.next",
        "gtp.length",
    )
    expected = tshark.rows(capture, names, "gtp")
    assert len(expected) > 5
    all_frames = tshark.read_pcap(capture)
    for number, kind, teid, sequence, following, length in expected:
        udp = frames.parse_udp(all_frames[int(number) - 1])
        message = gtpu.parse(udp.payload)
        assert message.type == int(kind, 0)
        assert message.teid == int(teid, 0)
        assert message.sequence == (int(sequence, 0) if sequence else None)
        types = [int(text, 0) for text in following.split(",") if text]
        assert [number for number, _ in message.extensions] == [t for t in types if t]
        assert len(udp.payload) == 8 + int(length)


def test_every_kind_of_captured_message_is_there() -> None:
    kinds = {gtpu.parse(datagram).type for datagram in CAPTURED}
    assert kinds == set(MessageType) - {MessageType.END_MARKER}


def test_captured_pdu_session_containers() -> None:
    messages = [gtpu.parse(datagram) for datagram in CAPTURED]
    containers = [m for m in messages if m.extensions and m.type is MessageType.G_PDU]
    assert containers
    for message in containers:
        ((kind, content),) = message.extensions
        assert kind == Extension.PDU_SESSION_CONTAINER
        assert content in (b"\x10\x01", b"\x00\x01")  # uplink, downlink; QFI 1
        assert message.header_length == 16
        assert gtpu.not_comprehended(message, ()) == (0x85,)
        assert gtpu.not_comprehended(message, {0x85}) == ()


# --- what real peers get wrong


def test_srsenb_echo_response() -> None:
    message = gtpu.parse(SRSENB_ECHO_RESPONSE)
    assert (message.type, message.sequence) == (MessageType.ECHO_RESPONSE, 7)
    assert message.faults == {Fault.SHORT, Fault.IE_MISSING}


def test_srsenb_error_indication_is_read_by_header_and_source() -> None:
    message = gtpu.parse(SRSENB_ERROR_INDICATION)
    assert message.faults == {Fault.SHORT, Fault.IE_MISSING, Fault.TEID_NOT_ZERO}
    assert gtpu.error_indication_fteid(message, PEER) == FTeid(0x1234, PEER)


def test_open5gs_error_indication() -> None:
    message = gtpu.parse(OPEN5GS_ERROR_INDICATION)
    assert message.extensions == ((Extension.UDP_PORT, b"\0\0"),)
    assert message.faults == {Fault.TEID_NOT_ZERO}
    assert gtpu.error_indication_fteid(message, OURS) == FTeid(0xDEADBEEF, OURS)
    assert gtpu.not_comprehended(message, ()) == ()


def test_osmo_error_indication() -> None:
    message = gtpu.parse(OSMO_ERROR_INDICATION)
    assert message.faults == frozenset()
    assert gtpu.error_indication_fteid(message, PEER) == FTeid(0xDEADBEEF, PEER)


def test_error_indication_speaks_for_its_sender_only() -> None:
    message = gtpu.parse(OSMO_ERROR_INDICATION)
    assert gtpu.error_indication_fteid(message, OURS) is None


def test_error_indication_for_an_ipv6_peer_concerns_nobody() -> None:
    body = octets("10 deadbeef 85 0010") + bytes(16)
    message = gtpu.parse(octets("32 1a 001c 00000000 0000 00 00") + body)
    assert message.faults == frozenset()
    assert gtpu.error_indication_fteid(message, PEER) is None


@pytest.mark.parametrize(
    "text",
    ["32 1a 0004 00000000 0000 00 00", "32 1a 0009 00000000 0000 00 00 10 00000000"],
    ids=["nowhere", "in its IE"],
)
def test_error_indication_without_teid(text: str) -> None:
    assert gtpu.error_indication_fteid(gtpu.parse(octets(text)), PEER) is None


def test_error_indication_with_an_unreadable_ie_is_read_by_what_is_left() -> None:
    message = gtpu.parse(octets("32 1a 000c 00000000 0000 00 00 10 00001234 85 00 04"))
    assert message.faults == {Fault.IE_UNREADABLE, Fault.IE_MISSING}
    assert gtpu.error_indication_fteid(message, PEER) == FTeid(0x1234, PEER)


def test_echo_request_without_sequence_number() -> None:
    message = gtpu.parse(octets("30 01 0000 00000000"))
    assert message.sequence is None
    assert message.faults == {Fault.SEQUENCE_MISSING}
    assert gtpu.parse(gtpu.echo_response(message.sequence)).sequence == 0


def test_of_a_repeated_ie_the_first_counts() -> None:
    message = gtpu.parse(octets("32 02 0008 00000000 0007 00 00 0e 00 0e 05"))
    assert message.ies == {Ie.RECOVERY: b"\0"}


def test_private_extension_is_skipped() -> None:
    message = gtpu.parse(octets("32 02 000b 00000000 0007 00 00 0e 00 ff 0002 0001"))
    assert message.ies == {Ie.RECOVERY: b"\0", Ie.PRIVATE_EXTENSION: b"\0\1"}
    assert message.faults == frozenset()


# --- what is refused, and why


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "too_short"),
        ("32 01 0004 000000", "too_short"),
        ("32 ff 0004 00000001 0000 00", "too_short"),
        ("34 ff 0004 00000001 0000 00 85", "too_short"),
        ("34 ff 0008 00000001 0000 00 85 02 10 01 00", "too_short"),
        ("34 ff 0008 00000001 0000 00 85 01 10 01 85", "too_short"),
        ("34 ff 0008 00000001 0000 00 85 00 10 01 00", "bad_extension"),
        ("52 01 0004 00000000 0000 00 00", "wrong_version"),
        ("12 01 0004 00000000 0000 00 00", "wrong_version"),
        ("22 01 0004 00000000 0000 00 00", "gtp_prime"),
        ("32 00 0004 00000000 0000 00 00", "unknown_type"),
        ("32 fd 0004 00000001 0000 00 00", "unknown_type"),
        ("32 01 0005 00000000 0000 00 00", "bad_length"),
        ("32 1f 0007 00000000 0000 00 00 8d 01", "bad_length"),
        ("30 fe 0004 00000001", "bad_length"),
        ("32 1f 0007 00000000 0000 00 00 8d 02 85", "bad_ie"),
        ("30 fe 0000 00000000", "bad_teid"),
        ("30 ff 0000 00000000", "bad_teid"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(gtpu.GtpuError) as caught:
        gtpu.parse(octets(text))
    assert caught.value.reason == reason
    assert str(caught.value).startswith(reason)


def test_length_bounds_what_is_read() -> None:
    """The S flag's field lies behind the Length: it is somebody else's octets."""
    with pytest.raises(gtpu.TooShort):
        gtpu.parse(octets("32 01 0000 00000000 0007 00 00"))


def test_fields_without_their_flag_are_not_read() -> None:
    """5.1: the optional part is there as a whole; each field counts by its own flag."""
    message = gtpu.parse(octets("31 ff 0004 00000001 0007 09 85"))
    assert (message.sequence, message.n_pdu, message.extensions) == (None, 9, ())
    assert message.header_length == 12


def test_table_of_what_is_tolerated_is_whole() -> None:
    assert set(gtpu.TOLERATED) == set(gtpu.FORMATS) == set(MessageType)
    for kind, faults in gtpu.TOLERATED.items():
        assert all(faults.values()), kind


SAMPLES = {
    MessageType.ECHO_REQUEST: gtpu.echo_request(7),
    MessageType.ECHO_RESPONSE: gtpu.echo_response(7),
    MessageType.ERROR_INDICATION: gtpu.error_indication(7, OURS),
    MessageType.SUPPORTED_EXTENSION_HEADERS_NOTIFICATION: gtpu.supported_extension_headers([0x85]),
    MessageType.END_MARKER: gtpu.end_marker(7),
    MessageType.G_PDU: octets("30 ff 0004 00000001 45000000"),
}


def damaged(datagram: bytes, fault: Fault) -> bytes | None:
    """The message with this fault and no other that a type has; None if it cannot have it."""
    first, kind, length, teid = struct.unpack_from("!BBHI", datagram)
    body, form = datagram[8:], gtpu.FORMATS[MessageType(kind)]
    match fault:
        case Fault.SHORT:
            length += 4
        case Fault.LONG:
            return datagram + b"\0"
        case Fault.SEQUENCE_MISSING | Fault.SEQUENCE_PRESENT:
            if form.sequence is not (fault is Fault.SEQUENCE_MISSING):
                return None
            first ^= 0x02
            body = body[4:] if form.sequence else b"\0\7\0\0" + body
            length = len(body)
        case Fault.TEID_ZERO | Fault.TEID_NOT_ZERO:
            if form.tunnel is not (fault is Fault.TEID_ZERO):
                return None
            teid = 0 if form.tunnel else 9
        case Fault.IE_MISSING:
            if not form.mandatory:
                return None
            body, length = body[:4], 4
        case Fault.IE_UNREADABLE:
            if kind == MessageType.G_PDU:
                return None
            body, length = body + b"\x10\0", length + 2
    return struct.pack("!BBHI", first, kind, length, teid) + body


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("kind", MessageType)
def test_each_fault_is_tolerated_or_refused_as_the_table_says(
    kind: MessageType, fault: Fault
) -> None:
    assert gtpu.parse(SAMPLES[kind]).faults == frozenset()
    datagram = damaged(SAMPLES[kind], fault)
    if datagram is None:
        assert fault not in gtpu.TOLERATED[kind]
    elif fault in gtpu.TOLERATED[kind]:
        assert gtpu.parse(datagram).faults == {fault}
    else:
        with pytest.raises(gtpu.NotTolerated) as caught:
            gtpu.parse(datagram)
        assert caught.value.fault is fault


# --- extension headers


@pytest.mark.parametrize("kind", range(256))
def test_comprehension(kind: int) -> None:
    """Figure 5.2.1-2: bits 8 and 7."""
    assert gtpu.comprehension_required(kind) is ((kind >> 6) in (0b10, 0b11))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 255),
            st.integers(1, 20).flatmap(lambda n: st.binary(min_size=4 * n - 2, max_size=4 * n - 2)),
        ),
        max_size=6,
    ),
    st.one_of(st.none(), sequences),
    st.one_of(st.none(), st.integers(0, 255)),
    st.binary(max_size=40),
)
def test_any_chain_of_extension_headers(
    extensions: list[tuple[int, bytes]], sequence: int | None, n_pdu: int | None, payload: bytes
) -> None:
    flags = 4 * bool(extensions) | 2 * (sequence is not None) | (n_pdu is not None)
    body = b""
    if flags:
        body = struct.pack("!HB", sequence or 0, n_pdu or 0)
        for kind, content in extensions:
            body += bytes((kind, (len(content) + 2) // 4)) + content
        body += b"\0"
    datagram = struct.pack("!BBHI", 0x30 | flags, 255, len(body) + len(payload), 5) + body + payload
    message = gtpu.parse(datagram)
    assert message.flags == flags
    assert (message.sequence, message.n_pdu) == (sequence, n_pdu)
    assert message.extensions == tuple(extensions)
    assert datagram[message.header_length :] == payload
    assert not message.faults


# --- what is built


@given(sequences)
def test_echo_against_scapy(sequence: int) -> None:
    request = scapy_gtp.GTPHeader(S=1, seq=sequence) / scapy_gtp.GTPEchoRequest()
    assert gtpu.echo_request(sequence) == bytes(request)
    answer = scapy_gtp.GTPEchoResponse(IE_list=[scapy_gtp.IE_Recovery(restart_counter=0)])
    assert gtpu.echo_response(sequence) == bytes(scapy_gtp.GTPHeader(S=1, seq=sequence) / answer)


@given(teids, addresses, sequences)
def test_error_indication_against_scapy(teid: int, ip: IPv4Address, sequence: int) -> None:
    read = scapy_gtp.GTPHeader(gtpu.error_indication(teid, ip, sequence))
    assert (read.gtp_type, read.teid, read.S, read.E, read.PN) == (26, 0, 1, 0, 0)
    assert read.seq == sequence
    assert [ie.ietype for ie in read.IE_list] == [16, 133]
    assert teid == read.IE_list[0].TEIDI
    assert read.IE_list[1].ipv4_address == str(ip)


@given(teids)
def test_end_marker_against_scapy(teid: int) -> None:
    assert gtpu.end_marker(teid) == bytes(scapy_gtp.GTPHeader(gtp_type=254, teid=teid))


@given(teids, addresses, sequences)
def test_error_indication_round_trip(teid: int, ip: IPv4Address, sequence: int) -> None:
    message = gtpu.parse(gtpu.error_indication(teid, ip, sequence))
    assert (message.teid, message.sequence) == (0, sequence)
    assert gtpu.error_indication_fteid(message, ip) == FTeid(teid, ip)


@given(extension_types, sequences)
def test_supported_extension_headers_round_trip(types: list[int], sequence: int) -> None:
    message = gtpu.parse(gtpu.supported_extension_headers(types, sequence))
    assert message.ies == {Ie.EXTENSION_HEADER_TYPE_LIST: bytes(types)}
    assert message.sequence == sequence


@given(built)
def test_what_is_built_has_no_fault(datagram: bytes) -> None:
    message = gtpu.parse(datagram)
    assert not message.faults
    assert (message.n_pdu, message.extensions) == (None, ())
    assert message.header_length == (8 if message.type is MessageType.END_MARKER else 12)


@pytest.mark.parametrize("bad", [-1, 0x1_0000])
def test_sequence_numbers_have_16_bits(bad: int) -> None:
    for build in (gtpu.echo_request, gtpu.echo_response):
        with pytest.raises(ValueError, match="sequence number"):
            build(bad)


@pytest.mark.parametrize("bad", [-1, 0, 0x1_0000_0000])
def test_no_message_about_what_is_no_tunnel(bad: int) -> None:
    with pytest.raises(ValueError, match="TEID"):
        gtpu.error_indication(bad, OURS)
    with pytest.raises(ValueError, match="TEID"):
        gtpu.end_marker(bad)


@pytest.mark.parametrize("bad", [[0], [256], [1] * 256])
def test_extension_header_types_that_cannot_be(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="extension header types"):
        gtpu.supported_extension_headers(bad)


def on_the_wire(datagram: bytes, ident: int) -> bytes:
    return frames.udp_frame(*MACS, OURS, PEER, 2152, 2152, datagram, ident=ident)


def test_tshark_has_nothing_to_say_against_what_is_built(tmp_path: Path) -> None:
    datagrams = [
        *(gtpu.echo_request(n) for n in (0, 1, 0xFFFF)),
        *(gtpu.echo_response(n) for n in (None, 0, 1, 0xFFFF)),
        *(gtpu.error_indication(n, OURS, n & 0xFFFF) for n in (1, 0xDEADBEEF, 0xFFFF_FFFF)),
        *(gtpu.end_marker(n) for n in (1, 0xDEADBEEF, 0xFFFF_FFFF)),
        gtpu.supported_extension_headers([], 3),
        gtpu.supported_extension_headers([Extension.PDU_SESSION_CONTAINER], 4),
        gtpu.supported_extension_headers(list(Extension), 5),
    ]
    wire = [on_the_wire(datagram, number) for number, datagram in enumerate(datagrams)]
    capture = tshark.write_pcap(tmp_path / "built.pcap", wire)
    assert tshark.complaints(capture) == []
    names = ("gtp.message", "gtp.teid", "gtp.seq_number", "gtp.length", "gtp.flags")
    seen = tshark.rows(capture, names, "gtp")
    assert len(seen) == len(datagrams)
    for row, datagram in zip(seen, datagrams, strict=True):
        message = gtpu.parse(datagram)
        assert int(row[0], 0) == message.type
        assert int(row[1].split(",")[0], 0) == message.teid
        assert (int(row[2], 0) if row[2] else None) == message.sequence
        assert int(row[3]) == len(datagram) - 8
        assert int(row[4], 0) == 0x30 | message.flags
    details = tshark.rows(
        capture, ("gtp.recovery", "gtp.teid_data", "gtp.gsn_ipv4", "gtp.ext_hdr_type"), "gtp"
    )
    assert {row[0] for row in details[3:7]} == {"0"}
    assert [int(row[1], 0) for row in details[7:10]] == [1, 0xDEADBEEF, 0xFFFF_FFFF]
    assert {row[2] for row in details[7:10]} == {str(OURS)}


def test_tshark_does_complain_of_what_is_wrong(tmp_path: Path) -> None:
    """The judge is awake: a cut IE and a wrong checksum are found out."""
    cut_ie = octets("32 1a 0006 00000000 0000 00 00 10 de")
    wire = [on_the_wire(gtpu.echo_request(1), 1), on_the_wire(cut_ie, 2)]
    wire.append(wire[0][:-1] + b"\xff")
    capture = tshark.write_pcap(tmp_path / "wrong.pcap", wire)
    assert [row[0] for row in tshark.complaints(capture)] == ["2", "3"]


# --- fuzzing


def read_or_refuse(datagram: bytes) -> None:
    """parse() raises its own errors only, and what it gives holds together."""
    try:
        message = gtpu.parse(datagram)
    except gtpu.GtpuError as error:
        assert error.reason != "gtpu_error"
        return
    assert message.type == datagram[1]
    assert 8 <= message.header_length <= len(datagram)
    assert message.faults <= set(gtpu.TOLERATED[message.type])
    assert bool(message.extensions) <= bool(message.flags & 4)
    gtpu.not_comprehended(message, {0x85})
    fteid = gtpu.error_indication_fteid(message, PEER)
    assert fteid is None or (fteid.ip == PEER and 1 <= fteid.teid <= 0xFFFF_FFFF)


@given(st.binary(max_size=80))
@example(b"")
def test_fuzz_random(datagram: bytes) -> None:
    read_or_refuse(datagram)


@given(
    st.integers(0x30, 0x37),
    st.sampled_from(MessageType),
    st.integers(0, 80),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=80),
)
def test_fuzz_behind_a_right_beginning(
    first: int, kind: int, length: int, teid: int, rest: bytes
) -> None:
    read_or_refuse(struct.pack("!BBHI", first, kind, length, teid) + rest)


mutations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 40), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, 40), st.integers(0, 8)),
        st.tuples(st.just("put"), st.integers(0, 40), st.integers(0, 255)),
    ),
    max_size=6,
)


@given(st.one_of(st.sampled_from(CAPTURED), built), mutations)
def test_fuzz_mutated(datagram: bytes, changes: list[tuple[str, int, int]]) -> None:
    data = bytearray(datagram)
    for how, at, value in changes:
        match how:
            case "set":
                data[at : at + 1] = bytes((value,))
            case "cut":
                del data[at : at + value]
            case "put":
                data.insert(at, value)
    read_or_refuse(bytes(data))


@pytest.mark.parametrize("datagram", sorted(set(CAPTURED)), ids=lambda d: d[:8].hex())
def test_fuzz_every_beginning_of_a_captured_message(datagram: bytes) -> None:
    for size in range(min(len(datagram), 60)):
        read_or_refuse(datagram[:size])
