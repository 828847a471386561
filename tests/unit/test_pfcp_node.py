"""One PFCP node: who is answered what, and what is done before."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from typing import Any

import pytest

from ofgtp.core.pfcp.node.actions import (
    Action,
    Answered,
    BadRequest,
    Change,
    Endpoint,
    Event,
    EventKind,
    Refused,
    Send,
    SessionRequest,
    Transaction,
    Unanswered,
)
from ofgtp.core.pfcp.node.answers import Answers, Given, key_of, pack, unpack
from ofgtp.core.pfcp.node.associations import Association, PeerState
from ofgtp.core.pfcp.node.machine import Node
from ofgtp.core.pfcp.node.seen import BOUNDS, REFUSED_KEPT, STRANGERS_KEPT, Stranger
from ofgtp.core.pfcp.node.settings import FEATURES, NodeSettings
from ofgtp.core.pfcp.wire import enums, messages
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.errors import Refusal
from ofgtp.core.pfcp.wire.header import MessageType, parse_header
from ofgtp.core.pfcp.wire.ies import Ie
from ofgtp.core.pfcp.wire.messages import Message, read, write
from ofgtp.core.pfcp.wire.reports import DownlinkDataReport
from ofgtp.core.pfcp.wire.values import Addresses, FSeid, NodeId
from tests.support.pfcp import tlv, u16, u32, vectors
from tests.support.pfcp_damage import damaged

UP = IPv4Address("10.3.0.1")
SMF, SGW = Endpoint(IPv4Address("10.3.0.20")), Endpoint(IPv4Address("10.3.0.21"))
SMF_2 = Endpoint(IPv4Address("10.3.0.99"))
STRANGER = Endpoint(IPv4Address("192.0.2.1"))
STAMP, BEGAN = 4_004_868_674, 4_004_868_000
VECTORS = {each.name: each.data for each in vectors()}


def node(**more: Any) -> Node:
    return Node(settings(**more), sequence=41)


def settings(**more: Any) -> NodeSettings:
    fields = {
        "node_id": UP,
        "recovery_time_stamp": STAMP,
        "peers": (ip_network("10.3.0.0/24"),),
        **more,
    }
    return NodeSettings(**fields)


def setup(node_id: NodeId = SMF.ip, began: int = BEGAN, sequence: int = 1, **more: Any) -> bytes:
    return write(messages.AssociationSetupRequest(node_id, began, **more), sequence)


def associated(up: Node, source: Endpoint = SMF, now: float = 0.0, **more: Any) -> Change:
    """A control plane that is associated; its node ID is its address if nothing is said."""
    (change,) = up.receive(setup(**{"node_id": source.ip, **more}), source, now)
    assert isinstance(change, Change)
    up.done(change, now)
    return change


def answers(actions: list[Action]) -> list[Message]:
    return [read(action.data)[1] for action in actions if isinstance(action, Send)]


def the_answer(actions: list[Action]) -> Any:
    (answer,) = answers(actions)
    return answer


def events(actions: list[Action]) -> list[EventKind]:
    return [action.kind for action in actions if isinstance(action, Event)]


def establishment(sequence: int = 7, node_id: NodeId = SMF.ip) -> bytes:
    _, request = read(VECTORS["5g-session-1"])
    request = request._replace(node_id=node_id, cp_fseid=FSeid(0xCFB, SMF.ip))
    return write(request, sequence, 0)


MODIFICATION = VECTORS["5g-session-3"]


# --- set-up


def test_a_set_up_is_answered_when_it_is_done() -> None:
    up = node()
    (change,) = up.receive(setup(cp_features=enums.CpFeatures.LOAD), SMF, 5.0)
    assert isinstance(change, Change)
    saved = Association(SMF.ip, SMF.ip, frozenset({SMF.ip}), BEGAN, 1)
    assert (change.save, change.delete, change.keep) == (saved, False, None)
    assert up.statuses() == []  # not before it is stored
    sent, told = up.done(change, 6.0)
    assert sent.to == SMF and parse_header(sent.data).sequence == 1
    answer = the_answer([sent])
    assert answer == messages.AssociationSetupResponse(UP, Cause.ACCEPTED, STAMP, FEATURES)
    assert told.kind is EventKind.ASSOCIATED and told.node_id == SMF.ip
    (status,) = up.statuses()
    assert status.association == saved and status.state is PeerState.UP
    assert status.answers == {(MessageType.ASSOCIATION_SETUP_REQUEST, 1): 1}


def test_a_set_up_that_fails() -> None:
    up = node()
    (change,) = up.receive(setup(), SMF, 0.0)
    answer = the_answer(up.failed(change, "the store is full", 1.0))
    assert answer == messages.AssociationSetupResponse(UP, Cause.SYSTEM_FAILURE)
    assert up.statuses() == []
    (again,) = up.receive(setup(sequence=2), SMF, 2.0)
    assert isinstance(again, Change)


def test_a_change_is_done_once() -> None:
    up = node()
    (change,) = up.receive(setup(), SMF, 0.0)
    up.done(change, 0.0)
    with pytest.raises(ValueError, match="not under way"):
        up.done(change, 0.0)
    with pytest.raises(ValueError, match="not under way"):
        up.failed(change, "late", 0.0)


def test_the_same_node_id_again_replaces_and_its_sessions_go() -> None:
    """Whatever its time stamp says (6.2.6.2.2)."""
    up = node()
    associated(up)
    for sequence, began in ((2, BEGAN), (3, BEGAN - 10), (4, BEGAN + 10)):
        (change,) = up.receive(setup(began=began, sequence=sequence), SMF, 20.0)
        assert change.delete and change.keep is None
        assert change.save is not None and change.save.recovery_time_stamp == began
        up.done(change, 20.0)
    assert len(up.statuses()) == 1


def test_sessions_that_are_to_be_kept() -> None:
    up = node()
    associated(up)
    all_of_them = messages.SessionRetentionInformation()
    (change,) = up.receive(setup(sequence=2, retention=all_of_them), SMF, 0.0)
    assert not change.delete
    up.done(change, 0.0)
    some = messages.SessionRetentionInformation((Addresses(SMF.ip),))
    (change,) = up.receive(setup(sequence=3, retention=some), SMF, 0.0)
    assert change.delete and change.keep == {SMF.ip}


def test_our_own_node_id_may_be_a_name() -> None:
    """free5gc#116: some know a user plane by its name only; it is said in every answer."""
    up = node(node_id="upf.example.org")
    (change,) = up.receive(setup(), SMF, 0.0)
    assert isinstance(change, Change)
    assert the_answer(up.done(change, 0.0)).node_id == "upf.example.org"
    refused = the_answer(up.receive(establishment(node_id=SGW.ip), SMF, 0.0))
    assert (refused.node_id, refused.cause) == ("upf.example.org", Cause.NO_ASSOCIATION)


def test_a_name_as_node_id() -> None:
    up = node(node_id="upf.example")
    associated(up, node_id="smf.Example.org")
    (change,) = up.receive(setup("SMF.example.org", sequence=2), SMF, 0.0)
    assert change.delete  # the same one, though written otherwise
    answer = the_answer(up.done(change, 0.0))
    assert answer.node_id == "upf.example"
    assert len(up.statuses()) == 1


def test_nobody_else_takes_an_association_over() -> None:
    up = node()
    associated(up)
    refused = up.receive(setup(SMF.ip, sequence=9), SMF_2, 1.0)
    assert the_answer(refused).cause == Cause.REJECTED
    assert events(refused) == [EventKind.REFUSED]
    assert up.status(SMF.ip).association.ip == SMF.ip
    # and it is looked whether the owner is still there
    (heartbeat,) = up.tick(1.0)
    assert heartbeat.to == SMF


def test_an_association_that_is_down_may_come_from_elsewhere() -> None:
    up = node()
    associated(up, node_id="smf.example")
    lose(up, 10.0)
    (change,) = up.receive(setup("smf.example", sequence=2), SMF_2, 30.0)
    assert isinstance(change, Change) and change.delete
    up.done(change, 30.0)
    assert up.status("smf.example").association.ip == SMF_2.ip
    # what comes from the old address is a stranger's
    answer = the_answer(up.receive(establishment(node_id="smf.example"), SMF, 31.0))
    assert answer.cause == Cause.NO_ASSOCIATION


def test_other_addresses_of_a_control_plane() -> None:
    """Those that it names, if they are allowed (open5gs#3431)."""
    up = node()
    named = (Addresses(SMF_2.ip), Addresses(STRANGER.ip))
    change = associated(up, alternative_addresses=named)
    assert change.save is not None and change.save.addresses == {SMF.ip, SMF_2.ip}
    (request,) = up.receive(establishment(), SMF_2, 0.0)
    assert isinstance(request, SessionRequest) and request.transaction.owners == (SMF.ip,)
    (change,) = up.receive(setup(sequence=5), SMF_2, 0.0)
    assert isinstance(change, Change)


def test_associations_are_bounded() -> None:
    """free5gc#1172: two million Node IDs."""
    up = node(associations=3)
    for number in range(3):
        associated(up, node_id=f"smf-{number}.example", sequence=number)
    refused = up.receive(setup("smf-3.example", sequence=3), SMF, 0.0)
    assert the_answer(refused).cause == Cause.NO_RESOURCES
    assert len(up.statuses()) == 3


def test_several_control_planes() -> None:
    up = node()
    associated(up, SMF)
    associated(up, SGW)
    (mine,) = up.receive(establishment(), SMF, 0.0)
    assert mine.transaction.owners == (SMF.ip,)
    # nobody makes sessions for another
    answer = the_answer(up.receive(establishment(8), SGW, 0.0))
    assert answer.cause == Cause.NO_ASSOCIATION


@pytest.mark.parametrize(
    ("ies", "cause", "ie"),
    [
        (tlv(Ie.NODE_ID, 0, SMF.ip.packed), Cause.MANDATORY_IE_MISSING, Ie.RECOVERY_TIME_STAMP),
        (tlv(Ie.RECOVERY_TIME_STAMP, u32(1)), Cause.MANDATORY_IE_MISSING, Ie.NODE_ID),
        (tlv(Ie.NODE_ID, 7), Cause.MANDATORY_IE_INCORRECT, Ie.NODE_ID),
    ],
)
def test_a_set_up_that_cannot_be_read(ies: bytes, cause: Cause, ie: Ie) -> None:
    up = node()
    data = b"\x20\x05" + u16(4 + len(ies)) + b"\0\0\1\0" + ies
    assert the_answer(up.receive(data, SMF, 0.0)) == (UP, cause, None, None, None)
    assert up.statuses() == []


# --- update, release, set deletion, PFDs


def test_an_update() -> None:
    up = node()
    associated(up)
    update = messages.AssociationUpdateRequest(SMF.ip, cp_features=enums.CpFeatures.OVRL)
    (change,) = up.receive(write(update, 2), SMF, 0.0)
    assert not change.delete and change.save is not None and change.save.cp_features == 2
    answer = the_answer(up.done(change, 0.0))
    assert answer == messages.AssociationUpdateResponse(UP, Cause.ACCEPTED, FEATURES)
    assert up.status(SMF.ip).association.cp_features == 2
    for source in (SMF_2, SGW):
        refused = up.receive(write(update, 3), source, 0.0)
        assert the_answer(refused).cause == Cause.NO_ASSOCIATION


def test_a_release_takes_the_sessions_and_always_succeeds() -> None:
    up = node()
    associated(up)
    release = write(messages.AssociationReleaseRequest(SMF.ip), 2)
    (change,) = up.receive(release, SMF, 0.0)
    assert change.save is None and change.delete
    sent, told = up.done(change, 0.0)
    assert the_answer([sent]) == messages.AssociationReleaseResponse(UP, Cause.ACCEPTED)
    assert told.kind is EventKind.RELEASED
    assert up.statuses() == [] and up.tick(1000.0) == []
    # the same again: the same answer; another: accepted, too
    assert up.receive(release, SMF, 1.0) == [sent]
    later = write(messages.AssociationReleaseRequest(SMF.ip), 3)
    assert the_answer(up.receive(later, SMF, 1.0)).cause == Cause.ACCEPTED


def test_nobody_else_releases_an_association() -> None:
    up = node()
    associated(up)
    refused = up.receive(write(messages.AssociationReleaseRequest(SMF.ip), 2), SMF_2, 0.0)
    assert the_answer(refused).cause == Cause.NO_ASSOCIATION
    assert len(up.statuses()) == 1


def test_a_session_set_deletion_deletes_nothing() -> None:
    up = node()
    request = write(messages.SessionSetDeletionRequest(SMF.ip), 2)
    assert the_answer(up.receive(request, SMF, 0.0)).cause == Cause.NO_ASSOCIATION
    associated(up)
    (sent,) = up.receive(request, SMF, 0.0)
    assert the_answer([sent]) == messages.SessionSetDeletionResponse(UP, Cause.ACCEPTED)


def test_pfd_management_is_not_supported() -> None:
    up = node()
    sent, refused = up.receive(write(messages.PfdManagementRequest(), 2), SMF, 0.0)
    assert isinstance(refused, Refused) and "PFD" in str(refused.refusal)
    assert the_answer([sent]) == messages.PfdManagementResponse(Cause.NOT_SUPPORTED)


# --- sessions


def test_requests_about_sessions_are_handed_on_and_answered() -> None:
    up = node()
    associated(up)
    (request,) = up.receive(establishment(), SMF, 1.0)
    assert isinstance(request, SessionRequest)
    assert request.transaction[:6] == (
        *(SMF, MessageType.SESSION_ESTABLISHMENT_REQUEST, 7, 0, 0xCFB),
        (SMF.ip,),
    )
    assert len(request.message.create_pdrs) == 4
    response = messages.SessionEstablishmentResponse(UP, Cause.ACCEPTED, None, FSeid(5, UP))
    (sent,) = up.answer(request.transaction, response, 0xCFB, 1.1)
    header, back = read(sent.data)
    assert sent.to == SMF and back == response
    assert (header.seid, header.sequence) == (0xCFB, 7)
    (request,) = up.receive(MODIFICATION, SMF, 2.0)
    assert request.transaction.seid == 0xE36 and request.transaction.cp_seid == 0
    assert up.status(SMF.ip).answers[MessageType.SESSION_ESTABLISHMENT_REQUEST, 1] == 1


def test_no_association_no_session() -> None:
    up = node()
    for data in (establishment(), MODIFICATION, VECTORS["5g-session-1"]):
        sent, refused = up.receive(data, SMF, 0.0)
        assert isinstance(sent, Send) and isinstance(refused, Refused)
        assert str(refused.refusal) == f"there is no association at {SMF.ip}"
        header, answer = read(sent.data)
        assert answer.cause == Cause.NO_ASSOCIATION
        assert header.seid == (0xCFB if data[1] == 50 else 0)
        assert header.sequence == parse_header(data).sequence
    assert up.answered == {
        (MessageType.SESSION_ESTABLISHMENT_REQUEST, 72): 2,
        (MessageType.SESSION_MODIFICATION_REQUEST, 72): 1,
    }
    words = [(each.ip, each.text) for each in up.refused]
    why = f"there is no association at {SMF.ip} (cause 72)"
    assert words[1:] == [
        (SMF.ip, f"Session Modification Request: {why}"),
        (SMF.ip, f"Session Establishment Request: {why}"),
    ], "nobody else would tell of them"
    # a port is no identity, and another association is not one's own
    associated(up, SGW)
    assert the_answer(up.receive(establishment(), SMF, 0.0)).cause == Cause.NO_ASSOCIATION


def test_reports_are_not_to_go_to_another_control_plane() -> None:
    """open5gs#3900, #4762: a CP F-SEID that is another one's."""
    up = node()
    associated(up)
    associated(up, SGW)
    _, request = read(establishment())
    assert isinstance(request, messages.SessionEstablishmentRequest)
    theirs = request._replace(cp_fseid=FSeid(5, SGW.ip))
    refused = the_answer(up.receive(write(theirs, 8, 0), SMF, 0.0))
    assert (refused.cause, refused.offending_ie) == (Cause.REJECTED, Ie.FSEID)
    assert refused.node_id == UP
    moved = messages.SessionModificationRequest(cp_fseid=FSeid(5, SGW.ip))
    assert the_answer(up.receive(write(moved, 9, 0xE36), SMF, 0.0)).cause == Cause.REJECTED
    # one that nobody is known to have may be its own
    elsewhere = request._replace(cp_fseid=FSeid(5, SMF_2.ip))
    (handed,) = up.receive(write(elsewhere, 10, 0), SMF, 0.0)
    assert isinstance(handed, SessionRequest)
    # two control planes at one address are both there
    associated(up, SMF, node_id="smf-b.example.org")
    assert isinstance(up.receive(establishment(11), SMF, 0.0)[0], SessionRequest)


def test_an_answer_to_a_report_of_a_session_that_is_gone() -> None:
    """free5gc#1059: dropped."""
    up = node()
    associated(up)
    report = messages.SessionReportRequest(enums.ReportType.DLDR, DownlinkDataReport((2,)))
    (sent,) = up.report(SMF.ip, report, 0xCFB, "token", 0.0)
    assert isinstance(sent, Send)
    up.cancel("token")
    answer = messages.SessionReportResponse(Cause.ACCEPTED)
    late = write(answer, parse_header(sent.data).sequence, 0x77)
    assert up.receive(late, SMF, 0.1) == []
    assert up.dropped["unexpected"] == 1


def test_a_modification_from_an_address_that_is_new() -> None:
    """open5gs#3431: the SEID tells whose it is; there are no owners then."""
    up = node()
    associated(up)
    (request,) = up.receive(MODIFICATION, SMF_2, 0.0)
    assert isinstance(request, SessionRequest) and request.transaction.owners == ()


def test_what_cannot_be_read_is_handed_on_as_that() -> None:
    """So that its answer has the right SEID."""
    up = node()
    associated(up)
    short = bytearray(establishment())
    del short[-4:]
    short[2:4] = u16(len(short) - 4)
    (bad,) = up.receive(bytes(short), SMF, 0.0)
    assert isinstance(bad, BadRequest)
    assert bad.refusal.cause is Cause.INVALID_LENGTH and bad.transaction.cp_seid == 0xCFB
    (sent,) = up.refuse(bad.transaction, bad.refusal, bad.transaction.cp_seid, 0.0)
    header, answer = read(sent.data)
    assert header.seid == 0xCFB and answer.cause == 68 and answer.node_id == UP
    ((kind, count),) = ((key, n) for key, n in up.status(SMF.ip).answers.items() if key[0] == 50)
    assert kind[1] == 68 and count == 1
    ((_, text),) = up.status(SMF.ip).errors
    assert text.startswith("Session Establishment Request: ") and "length" in text


def test_a_length_that_is_not_the_datagrams() -> None:
    up = node()
    associated(up)
    (bad,) = up.receive(establishment() + b"\0\0", SMF, 0.0)
    assert isinstance(bad, BadRequest) and bad.refusal.cause is Cause.INVALID_LENGTH
    cut = the_answer(up.receive(setup(sequence=3)[:-2], SMF, 0.0))
    assert cut == (UP, Cause.INVALID_LENGTH, None, None, None)


def test_the_words_of_a_refusal_are_kept() -> None:
    up = node()
    associated(up)
    for sequence in range(20):
        (request,) = up.receive(establishment(sequence), SMF, 0.0)
        refusal = Refusal(Cause.RULE_FAILURE, f"number {sequence}", Ie.PDI)
        up.refuse(request.transaction, refusal, 0xCFB, float(sequence))
    status = up.status(SMF.ip)
    assert len(status.errors) == 8
    assert status.errors[-1] == (19.0, "Session Establishment Request: PDI: number 19 (cause 73)")
    assert len(up.refused) == REFUSED_KEPT and up.refused[-1].text == status.errors[-1][1]


def test_while_a_change_is_under_way_its_sessions_wait() -> None:
    up = node()
    associated(up)
    (change,) = up.receive(setup(sequence=2), SMF, 0.0)
    assert up.receive(establishment(), SMF, 0.1) == []
    assert up.receive(MODIFICATION, SMF, 0.1) == []
    assert up.receive(setup(sequence=3), SMF, 0.1) == []
    assert up.dropped["changing"] == 3
    up.done(change, 0.2)
    assert isinstance(up.receive(establishment(), SMF, 2.6)[0], SessionRequest)


# --- duplicates


def test_the_same_request_gets_the_same_answer() -> None:
    up = node()
    associated(up)
    (request,) = up.receive(establishment(), SMF, 0.0)
    assert up.receive(establishment(), SMF, 2.5) == []  # in work
    response = messages.SessionEstablishmentResponse(UP, Cause.ACCEPTED, None, FSeid(5, UP))
    (sent,) = up.answer(request.transaction, response, 0xCFB, 3.0)
    assert up.receive(establishment(), SMF, 5.0) == [sent]
    assert up.receive(establishment(), SMF, 32.0) == [sent]
    assert up.answer(request.transaction, response, 0xCFB, 33.0) == []  # once


def test_an_answer_outlives_its_session_but_not_for_ever() -> None:
    up = node(keep_answers_s=15.0)
    associated(up)
    deletion = write(messages.SessionDeletionRequest(), 9, 0xE36)
    (request,) = up.receive(deletion, SMF, 0.0)
    response = messages.SessionDeletionResponse(Cause.ACCEPTED)
    (sent,) = up.answer(request.transaction, response, 0xCFB, 1.0)
    assert up.receive(deletion, SMF, 15.9) == [sent]
    assert isinstance(up.receive(deletion, SMF, 16.0)[0], SessionRequest)


def test_answers_outlive_the_process() -> None:
    """What one node has answered another gives again, as long as the first would have."""
    up, given = node(), []
    associated(up)

    def ask(of: Node, number: int, now: float) -> list[Action]:
        return of.receive(write(messages.SessionDeletionRequest(), number, 1), SMF, now)

    for number, seid in ((7, 0xA), (8, 0xB)):
        (request,) = ask(up, number, 1.0)
        response = messages.SessionDeletionResponse(Cause.ACCEPTED)
        (sent,) = up.answer(request.transaction, response, seid, 1.0)
        given.append(Given(request.transaction.key, sent.data))
    assert list(unpack(pack(given))) == given
    last = Node(settings(), [], 100.0, 0, zip((89.0, 90.0), given, strict=True))
    associated(last)
    for number, each in zip((7, 8), given, strict=True):
        assert ask(last, number, 118.9) == [Send(SMF, each.answer)]
    assert isinstance(ask(last, 9, 118.9)[0], SessionRequest), "another one"
    assert isinstance(ask(last, 7, 119.1)[0], SessionRequest)
    assert ask(last, 8, 119.1) == [Send(SMF, given[1].answer)]


def test_an_answer_is_known_by_all_of_its_request() -> None:
    addresses = UP, IPv6Address("fd00::1")
    asked = [
        (ip, port, kind, sequence, data)
        for ip in addresses
        for port in (8805, 1)
        for kind in (50, 54)
        for sequence in (1, 0xFFFFFF)
        for data in (b"a", b"b")
    ]
    keys = [key_of(*each) for each in asked]
    assert len(set(keys)) == len(asked)
    answers = Answers(30.0, 10_000, 15_000)
    for key in keys:
        answers.restore(Given(key, b"answer"), 1.0)
    assert answers.find(keys[-1], 2.0) == (True, b"answer")
    for ip in addresses:
        answers.begin(b"another" + ip.packed, ip, 2.0)
        answers.finish(b"another" + ip.packed, bytes(9_500), 2.0)
    kept = [each for each in keys if answers.find(each, 2.0)[0]]
    assert len(kept) < 2, "the address that it came from has its share"


def test_a_restarted_peer_counts_from_the_beginning() -> None:
    """The sequence number is the same, and the request another."""
    up = node()
    associated(up)
    (first,) = up.receive(establishment(1), SMF, 0.0)
    other = write(messages.SessionDeletionRequest(), 1, 0xE36)
    (second,) = up.receive(other, SMF, 0.0)
    other = write(read(establishment(1))[1]._replace(cp_fseid=FSeid(0xCFC, SMF.ip)), 1, 0)
    (third,) = up.receive(other, SMF, 0.0)
    keys = {each.transaction.key for each in (first, second, third)}
    assert len(keys) == 3
    # and so it is from another port
    (fourth,) = up.receive(establishment(1), Endpoint(SMF.ip, 12345), 0.0)
    assert fourth.transaction.key not in keys


def test_a_restarted_peer_gets_no_answer_of_before() -> None:
    """Its request has every octet of one of before, whose session went with the restart."""
    up = node()
    associated(up)
    (first,) = up.receive(establishment(), SMF, 0.0)
    response = messages.SessionEstablishmentResponse(UP, Cause.ACCEPTED, None, FSeid(5, UP))
    (sent,) = up.answer(first.transaction, response, 0xCFB, 0.0)
    assert up.receive(establishment(), SMF, 1.0) == [sent]
    associated(up, began=BEGAN + 5, sequence=2, now=2.0)
    (second,) = up.receive(establishment(), SMF, 3.0)
    assert isinstance(second, SessionRequest)
    (again,) = up.answer(second.transaction, response, 0xCFB, 3.0)
    assert up.receive(establishment(), SMF, 4.0) == [again]


def test_a_set_up_that_comes_late_again_takes_no_sessions() -> None:
    up = node()
    (change,) = up.receive(setup(), SMF, 0.0)
    sent, _ = up.done(change, 0.0)
    assert up.receive(setup(), SMF, 5.0) == [sent]


def test_a_request_that_nobody_answers_is_new_after_a_minute() -> None:
    up = node()
    associated(up)
    assert isinstance(up.receive(establishment(), SMF, 0.0)[0], SessionRequest)
    assert up.receive(establishment(), SMF, 59.0) == []
    assert isinstance(up.receive(establishment(), SMF, 61.0)[0], SessionRequest)


def test_answers_are_bounded_in_octets() -> None:
    up = node(answers_per_peer=10_000, answers=15_000)
    associated(up, SMF)
    associated(up, SGW)
    response = messages.SessionDeletionResponse(Cause.ACCEPTED)

    def ask(source: Endpoint, number: int) -> list[Action]:
        return up.receive(write(messages.SessionDeletionRequest(), number, 1), source, 1.0)

    for source in (SMF, SGW):
        for number in range(100):
            (request,) = ask(source, number)
            up.answer(request.transaction, response, 1, 1.0)
    kept = {
        source: sum(isinstance(ask(source, number)[0], Send) for number in range(99, 60, -1))
        for source in (SMF, SGW)
    }
    # an answer counts as some 420 octets: 23 of an address at most, and 35 of both
    assert kept == {SMF: 12, SGW: 23}
    assert up._answers.size <= 15_000


# --- limits


def test_who_is_not_allowed_is_not_answered() -> None:
    up = node()
    told = up.receive(setup(), STRANGER, 0.0)
    assert events(told) == [EventKind.STRANGER] and not answers(told)
    for data in (write(messages.HeartbeatRequest(1), 1), b"\x40\1\0\4\0\0\1\0", b""):
        assert up.receive(data, STRANGER, 1.0) == []
    assert up.dropped["not_allowed"] == 4 and not up.received
    assert up.strangers.all() == [Stranger(STRANGER.ip, 4, 1.0)]


def test_who_is_allowed_may_change() -> None:
    up = node()
    associated(up)
    up.reloaded(settings(peers=(ip_network(f"{STRANGER.ip}/32"),), heartbeat_s=60.0))
    assert not answers(up.receive(setup(), SMF, 1.0)), "its association stays, and it is not heard"
    assert up.statuses()
    assert up.receive(setup(sequence=7), STRANGER, 1.0)
    assert up.settings.heartbeat_s == 60.0


def test_strangers_are_bounded_and_told_of_now_and_then() -> None:
    up = node()
    others = [Endpoint(STRANGER.ip + number) for number in range(100)]
    told = [events(up.receive(b"?", other, number / 10)) for number, other in enumerate(others)]
    assert sum(map(len, told)) == 1, "in ten seconds"
    assert [each.ip for each in up.strangers.all()] == [each.ip for each in others[:-9:-1]]
    assert len(up.strangers.all()) == STRANGERS_KEPT
    assert events(up.receive(b"?", others[0], 10.0)) == [EventKind.STRANGER]


def test_a_flood_is_refused_then_dropped_and_heartbeats_go_on() -> None:
    up = node(per_peer=(10.0, 20.0), refused_per_peer=(5.0, 5.0))
    associated(up)
    ended: Counter[object] = Counter()
    for number in range(100):
        for action in up.receive(establishment(number), SMF, 1.0) or [None]:
            if isinstance(action, Send):
                ended[the_answer([action]).cause] += 1
            else:
                ended[type(action)] += 1
    assert ended == {SessionRequest: 20, Cause.CONGESTION: 5, Refused: 1, type(None): 75}
    assert len(up.refused) == 1, "many that are refused for the same are told of once"
    assert up.dropped["congestion"] == 75
    assert answers(up.receive(write(messages.HeartbeatRequest(BEGAN), 1), SMF, 1.0))
    # others are not in its way
    associated(up, SGW, 1.0)
    assert up.receive(establishment(1, SGW.ip), SGW, 1.0)
    # and later it may ask again
    assert isinstance(up.receive(establishment(200), SMF, 2.0)[0], SessionRequest)


def test_duplicates_are_part_of_a_flood() -> None:
    up = node(per_peer=(10.0, 5.0))
    associated(up)
    (request,) = up.receive(establishment(), SMF, 1.0)
    up.answer(request.transaction, messages.SessionEstablishmentResponse(UP, 73), 1, 1.0)
    again = [len(up.receive(establishment(), SMF, 1.0)) for _ in range(9)]
    assert again == [1] * 4 + [0] * 5


def test_how_long_answers_take() -> None:
    up = node()
    (change,) = up.receive(setup(), SMF, 1.0)
    assert isinstance(change, Change)
    up.done(change, 1.003)
    for sequence, seconds in ((1, 0.0004), (2, 0.02), (3, 60.0)):
        (request,) = up.receive(establishment(sequence), SMF, 10.0)
        assert isinstance(request, SessionRequest)
        accepted = messages.SessionEstablishmentResponse(UP, Cause.ACCEPTED)
        up.answer(request.transaction, accepted, 1, 10.0 + seconds)
        up.answer(request.transaction, accepted, 1, 99.0)  # answered already
    counts = up.times.counts
    assert counts[MessageType.ASSOCIATION_SETUP_REQUEST][BOUNDS.index(0.005)] == 1
    of_sessions = counts[MessageType.SESSION_ESTABLISHMENT_REQUEST]
    places = [place for place, count in enumerate(of_sessions) if count]
    assert places == [0, BOUNDS.index(0.025), len(BOUNDS)]
    assert sum(of_sessions) == 3
    assert up.times.seconds[MessageType.SESSION_ESTABLISHMENT_REQUEST] == pytest.approx(60.0204)


def test_no_more_is_worked_on_than_that() -> None:
    up = node(working_per_peer=2)
    associated(up)
    requests = [up.receive(establishment(number), SMF, 0.0)[0] for number in range(3)]
    assert [type(each) for each in requests] == [SessionRequest, SessionRequest, Send]
    assert the_answer([requests[2]]).cause == Cause.CONGESTION
    first = requests[0]
    assert isinstance(first, SessionRequest)
    up.answer(first.transaction, messages.SessionEstablishmentResponse(UP, 73), 1, 0.0)
    assert isinstance(up.receive(establishment(2), SMF, 0.0)[0], SessionRequest)


def test_heartbeats_are_limited_too() -> None:
    up = node(heartbeats_per_peer=(10.0, 5.0))
    sent = [up.receive(write(messages.HeartbeatRequest(1), n), SMF, 0.0) for n in range(9)]
    assert [len(actions) for actions in sent] == [1] * 5 + [0] * 4


# --- heartbeats


def test_a_heartbeat_is_answered_before_any_association() -> None:
    up = node()
    (sent,) = up.receive(write(messages.HeartbeatRequest(5), 77), SMF, 0.0)
    assert read(sent.data) == (parse_header(sent.data), messages.HeartbeatResponse(STAMP))
    assert parse_header(sent.data).sequence == 77
    # a wrong one as well
    assert answers(up.receive(b"\x20\1\0\4\0\0\1\0", SMF, 0.0))
    assert answers(up.receive(b"\x20\1\0\x08\0\0\1\0\xff\xff\0\0", SMF, 0.0))


def test_our_heartbeats_and_one_that_stops_to_answer() -> None:
    up = node()
    associated(up)
    assert up.tick(9.9) == []
    (sent,) = up.tick(10.0)
    header, request = read(sent.data)
    assert request == messages.HeartbeatRequest(STAMP) and sent.to == SMF
    assert header.sequence == 42  # one more than the last one
    assert up.tick(11.9) == []
    assert up.tick(12.0) == [sent] and up.tick(14.0) == [sent]
    assert up.tick(15.9) == []
    (lost,) = up.tick(16.0)
    assert isinstance(lost, Event) and lost.kind is EventKind.PEER_DOWN
    assert up.status(SMF.ip).state is PeerState.DOWN
    # it is asked on, and told of once
    (again,) = up.tick(20.0)
    assert parse_header(again.data).sequence == 43
    assert events(up.tick(22.0) + up.tick(24.0) + up.tick(26.0)) == []
    # a late answer counts for nothing, one to the last does
    assert up.receive(write(messages.HeartbeatResponse(BEGAN), 42), SMF, 27.0) == []
    (sent,) = up.tick(30.0)
    answer = write(messages.HeartbeatResponse(BEGAN), parse_header(sent.data).sequence)
    assert events(up.receive(answer, SMF, 30.1)) == [EventKind.PEER_UP]
    assert up.status(SMF.ip).state is PeerState.UP
    assert up.status(SMF.ip).heard_at == 30.1
    # its sessions are as they were, all the time
    assert isinstance(up.receive(establishment(), SMF, 31.0)[0], SessionRequest)


def lose(up: Node, begin: float) -> list[Action]:
    """Ticks until a heartbeat has not been answered."""
    actions: list[Action] = []
    for quarters in range(40):
        actions += up.tick(begin + quarters / 4)
    assert EventKind.PEER_DOWN in events(actions)
    return actions


def test_the_sessions_of_one_that_is_lost_may_go() -> None:
    up = node(remove_on_lost=True)
    associated(up)
    changes = [each for each in lose(up, 10.0) if isinstance(each, Change)]
    (change,) = changes
    assert change.delete and change.save == up.status(SMF.ip).association
    assert change.transaction is None and "heartbeats" in change.why
    assert up.done(change, 20.0) == []
    assert len(up.statuses()) == 1


def test_a_response_from_elsewhere_is_none() -> None:
    up = node()
    associated(up)
    (sent,) = up.tick(10.0)
    sequence = parse_header(sent.data).sequence
    answer = write(messages.HeartbeatResponse(BEGAN), sequence)
    assert up.receive(answer, SMF_2, 10.1) == []
    wrong = write(messages.NodeReportResponse(SMF.ip, 1), sequence)
    assert up.receive(wrong, SMF, 10.1) == []
    assert up.dropped["unexpected"] == 2
    assert up.tick(12.0) == [sent]  # it is still waited for


@pytest.mark.parametrize("ours", [True, False], ids=["it answers", "it asks"])
def test_a_peer_that_began_anew(ours: bool) -> None:
    up = node()
    associated(up)
    if ours:
        (sent,) = up.tick(10.0)
        data = write(messages.HeartbeatResponse(BEGAN + 5), parse_header(sent.data).sequence)
    else:
        data = write(messages.HeartbeatRequest(BEGAN + 5), 1)
    actions = up.receive(data, SMF, 10.1)
    assert events(actions) == [EventKind.PEER_RESTARTED]
    (change,) = (each for each in actions if isinstance(each, Change))
    assert change.delete and change.keep is None and change.transaction is None
    assert change.save is not None and change.save.recovery_time_stamp == BEGAN + 5
    # once: not again while its sessions are being deleted, nor afterwards
    assert events(up.receive(write(messages.HeartbeatRequest(BEGAN + 5), 2), SMF, 10.2)) == []
    up.done(change, 11.0)
    assert up.status(SMF.ip).association.recovery_time_stamp == BEGAN + 5
    assert events(up.receive(write(messages.HeartbeatRequest(BEGAN + 5), 3), SMF, 12.0)) == []


def test_a_restart_that_could_not_be_dealt_with_is_seen_again() -> None:
    up = node()
    associated(up)
    beat = write(messages.HeartbeatRequest(BEGAN + 5), 1)
    (change,) = (e for e in up.receive(beat, SMF, 1.0) if isinstance(e, Change))
    assert up.failed(change, "the store", 2.0) == []
    assert events(up.receive(beat, SMF, 3.0)) == [EventKind.PEER_RESTARTED]


def test_a_time_stamp_that_goes_back_is_told_of_once() -> None:
    up = node()
    associated(up)
    beat = write(messages.HeartbeatRequest(BEGAN - 5), 1)
    first, second = (up.receive(beat, SMF, now) for now in (1.0, 2.0))
    assert events(first) == [EventKind.PEER_CLOCK] and events(second) == []
    assert not any(isinstance(each, Change) for each in first)


def test_two_control_planes_at_one_address() -> None:
    """A heartbeat of theirs does not tell whose it is; an answer does."""
    up = node()
    associated(up, node_id="a.example", sequence=1)
    associated(up, node_id="b.example", sequence=2, began=BEGAN + 100)
    beat = write(messages.HeartbeatRequest(BEGAN + 100), 1)
    assert len(up.receive(beat, SMF, 1.0)) == 1  # the answer alone
    sequence = parse_header(up.tick(10.0)[0].data).sequence
    actions = up.receive(write(messages.HeartbeatResponse(BEGAN + 1), sequence), SMF, 10.1)
    (restarted,) = (each for each in actions if isinstance(each, Event))
    assert restarted.node_id == "a.example"
    # a's sessions are being deleted; that is no matter of b's
    assert up.receive(establishment(node_id="a.example"), SMF, 11.0) == []
    assert isinstance(up.receive(MODIFICATION, SMF, 11.0)[0], SessionRequest)
    (request,) = up.receive(establishment(node_id="B.example"), SMF, 11.0)
    assert request.transaction.owners == ("b.example",)


def test_associations_outlive_the_node() -> None:
    up = node()
    associated(up, alternative_addresses=(Addresses(SMF_2.ip),))
    associated(up, SGW, node_id="sgw.example")
    plain = [each.association.to_plain() for each in up.statuses()]
    again = Node(settings(), map(Association.from_plain, plain), now=1000.0)
    assert [each.association for each in again.statuses()] == [
        each.association for each in up.statuses()
    ]
    assert {each.state for each in again.statuses()} == {PeerState.UNKNOWN}
    assert isinstance(again.receive(establishment(), SMF, 1000.0)[0], SessionRequest)
    # they are asked at once: who began anew meanwhile has lost its sessions
    first, second = again.tick(1000.0)
    assert {first.to, second.to} == {SMF, SGW}
    sequence = parse_header(first.data).sequence
    actions = again.receive(
        write(messages.HeartbeatResponse(BEGAN + 1), sequence), first.to, 1000.1
    )
    assert events(actions) == [EventKind.PEER_RESTARTED]


@pytest.mark.parametrize("odd", [{}, {"node_id": "x", "fqdn": False}, {"ip": "x"}])
def test_what_is_no_association(odd: dict[str, object]) -> None:
    plain = Association(SMF.ip, SMF.ip, frozenset(), 1).to_plain()
    with pytest.raises((KeyError, ValueError)):
        Association.from_plain({**plain, **odd} if odd else {})


# --- what we ask


REPORT = messages.SessionReportRequest(enums.ReportType.DLDR, DownlinkDataReport((1,)))


def test_a_report_and_its_answer() -> None:
    up = node()
    associated(up)
    (sent,) = up.report(SMF.ip, REPORT, 0xCFB, "dldr 1", 1.0)
    header, request = read(sent.data)
    assert (header.seid, header.sequence, sent.to) == (0xCFB, 42, SMF) and request == REPORT
    with pytest.raises(ValueError, match="under way"):
        up.report(SMF.ip, REPORT, 0xCFB, "dldr 1", 1.0)
    response = messages.SessionReportResponse(Cause.ACCEPTED)
    data = write(response, 42, 0xE36)
    assert up.receive(data, SMF, 1.1) == [Answered("dldr 1", response)]
    assert up.receive(data, SMF, 1.2) == []
    assert up.tick(9.0) == []


def test_a_report_that_is_not_answered_or_wrongly() -> None:
    up = node()
    (sent,) = up.report(SMF.ip, REPORT, 0xCFB, 1, 0.0)
    assert up.tick(2.0) == [sent] and up.tick(4.0) == [sent]
    assert up.tick(6.0) == [Unanswered(1)]
    up.report(SMF.ip, REPORT, 0xCFB, 2, 10.0)
    assert up.receive(b"\x21\x39\0\x0c" + bytes(8) + b"\0\0\x2b\0", SMF, 10.1) == [
        Answered(2, None)
    ]
    up.report(SMF.ip, REPORT, 0xCFB, 3, 20.0)
    up.cancel(3)
    up.cancel("never begun")
    assert up.tick(30.0) == []


def test_a_report_of_a_path() -> None:
    up = node()
    associated(up)
    associated(up, SGW)
    gnb = IPv4Address("10.1.0.2")
    sent = up.report_path_failure([gnb], [SMF.ip, SGW.ip, "unknown.example"], 1.0)
    assert {each.to for each in sent} == {SMF, SGW}
    request = read(sent[0].data)[1]
    assert request.node_id == UP and request.report_type == enums.NodeReportType.UPFR
    assert request.path_failure.remote_peers == (Addresses(gnb),)
    answer = messages.NodeReportResponse(SMF.ip, Cause.ACCEPTED)
    assert up.receive(write(answer, parse_header(sent[0].data).sequence), SMF, 1.1) == []
    silent = up.tick(3.0) + up.tick(5.0) + up.tick(7.0)  # F5 never answers
    assert silent[:2] == [sent[1]] * 2 and events(silent) == [EventKind.REPORT_UNANSWERED]
    lose(up, 20.0)
    assert up.report_path_failure([gnb], [SMF.ip], 40.0) == []


def test_one_counter_for_all_our_requests() -> None:
    """eupf#497; and none that is waited for is used again."""
    up = Node(settings(), sequence=0xFF_FFFE)
    sequences = [
        parse_header(up.report(SMF.ip, REPORT, 1, token, 0.0)[0].data).sequence
        for token in range(4)
    ]
    assert sequences == [0xFF_FFFF, 0, 1, 2]
    up._requests._sequence = 0xFF_FFFE
    (sent,) = up.report(SGW.ip, REPORT, 1, "next", 0.0)
    assert parse_header(sent.data).sequence == 3


# --- other versions, types, bundles


def test_another_version() -> None:
    up = node()
    (sent,) = up.receive(b"\x40\x05\0\4\1\2\3\0", SMF, 0.0)
    assert sent.data == bytes.fromhex("200b000401020300")
    assert up.receive(b"\x40\x0b\0\4\1\2\3\0", SMF, 0.0) == []  # that would go on for ever
    assert up.receive(sent.data, SMF, 0.0) == []


@pytest.mark.parametrize("kind", [0, 16, 18, 49, 58, 100, 255])
def test_types_that_are_unknown_are_dropped(kind: int) -> None:
    up = node()
    assert up.receive(bytes((0x20, kind)) + b"\0\4\0\0\1\0", SMF, 0.0) == []
    assert up.dropped["unknown_type"] == 1


def test_messages_that_are_not_for_us_are_dropped() -> None:
    up = node()
    for message in (
        REPORT,
        messages.NodeReportRequest(SMF.ip, enums.NodeReportType.UPFR),
        messages.AssociationSetupResponse(SMF.ip, 1, 2),
        messages.SessionEstablishmentResponse(SMF.ip, 1),
    ):
        assert up.receive(write(message, 1, 1 if message[0] != SMF.ip else None), SMF, 0.0) == []
    assert up.dropped["unexpected"] == 4 and not up.received


def test_several_messages_in_one_datagram() -> None:
    """FO: it is not offered (BUNDL), and understood all the same."""
    up = node()
    associated(up)
    first = bytearray(establishment(1))
    first[0] |= 0x04
    beat = bytearray(write(messages.HeartbeatRequest(BEGAN), 2))
    beat[0] |= 0x04
    actions = up.receive(bytes(beat + first) + establishment(3), SMF, 0.0)
    assert [type(each) for each in actions] == [Send, SessionRequest, SessionRequest]
    # one that says so, and nothing follows
    alone = bytes((0x25,)) + establishment(4)[1:]
    assert isinstance(up.receive(alone, SMF, 1.0)[0], SessionRequest)


def test_settings_are_checked() -> None:
    for wrong in (
        {"t1_s": 0.0},
        {"heartbeat_s": -1.0},
        {"n1": 0},
        {"associations": 0},
        {"recovery_time_stamp": 1 << 32},
    ):
        with pytest.raises(ValueError):
            settings(**wrong)


# --- whatever comes


def test_anything_at_all() -> None:
    """Real messages, damaged ones, late ones and early ones, from anybody, carried out or not.

    Each request is answered once at most, and what is said of it holds together.
    """
    rng = random.Random(5)
    up = node(associations=6, keep_answers_s=15.0, per_peer=(500.0, 500.0))
    sources = [SMF, SGW, SMF_2, STRANGER, Endpoint(SMF.ip, 40_000)]
    pool = [
        *VECTORS.values(),
        *(setup(ip.ip, BEGAN + n, n) for n, ip in enumerate(sources)),
        *(establishment(n, sources[n % 3].ip) for n in range(30)),
        write(messages.AssociationReleaseRequest(SGW.ip), 5),
    ]
    now, waiting, kinds = 0.0, [], Counter()
    for _ in range(20_000):
        now += rng.choice((0.0, 0.0, 0.01, 0.5))
        data = rng.choice(pool)
        if rng.random() < 0.5:
            data = damaged(rng, data)
        source = rng.choice(sources)
        actions = up.receive(data, source, now) + up.tick(now)
        if waiting and rng.random() < 0.9:
            actions += carry_out(up, waiting.pop(rng.randrange(len(waiting))), now, rng)
        for action in actions:
            kinds[type(action)] += 1
            if isinstance(action, Send):
                assert action.to.ip in IPv4Network("10.3.0.0/24")
                read(action.data)
            elif isinstance(action, SessionRequest | BadRequest | Change):
                waiting.append(action)
        if rng.random() < 0.02:
            up.report(SMF.ip, REPORT, 1, object(), now)
    for each in waiting:
        carry_out(up, each, now, rng)
    assert all(kinds[kind] > 10 for kind in (Send, SessionRequest, BadRequest, Change, Event))
    assert len(up.statuses()) <= 6
    assert all(up._answers.working(source.ip) == 0 for source in sources)


def carry_out(up: Node, action: Action, now: float, rng: random.Random) -> list[Action]:
    if isinstance(action, Change):
        if rng.random() < 0.2:
            return up.failed(action, "no luck", now)
        return up.done(action, now)
    assert isinstance(action, SessionRequest | BadRequest)
    transaction: Transaction = action.transaction
    refusal = Refusal(Cause.SESSION_NOT_FOUND, "no such session")
    first = up.refuse(transaction, refusal, transaction.cp_seid, now)
    assert len(first) <= 1
    assert up.refuse(transaction, refusal, 0, now) == []
    return first
