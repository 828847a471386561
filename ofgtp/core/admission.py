"""Whether a session fits a gateway, quickly: for where there are very many of them."""

from __future__ import annotations

from ipaddress import IPv4Address

from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import SESSION_ID, TEID_MAX, BatchPut, Gateway
from ofgtp.core.sessions.check import check_session
from ofgtp.core.sessions.shaped import Shape, ShapedPut

PEERS_KEPT = 10_000
SHAPES_KEPT = 1_000


class Admission:
    """Says yes to what `Gateway.check_session` lets pass; that one says what is wrong with it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._pools = [
            (int(pool.network_address), int(pool.broadcast_address)) for pool in gateway.ue_pools
        ]
        ours = (gateway.access_ip.ip, gateway.core_ip.ip, gateway.next_hop)
        self._ours = {int(address) for address in ours if address is not None}
        self._peers: dict[int, bool] = {}
        self._shapes: set[Shape] = set()

    def admits(self, put: BatchPut) -> bool:
        """Whether a session with an id and a TEID of its own is plainly right."""
        session_id, _, ue_ip, teid, peer, far_teid, far_ip, _ = put
        return (
            session_id is not None
            and SESSION_ID.fullmatch(session_id) is not None
            and teid is not None
            and 0 < teid <= TEID_MAX
            and self._is_ue(ue_ip)
            and (peer is None or self._is_peer(peer))
            and (
                far_ip is None
                if far_teid is None
                else 0 < far_teid <= TEID_MAX and far_ip is not None and self._is_peer(far_ip)
            )
        )

    def admits_shaped(self, put: ShapedPut) -> bool:
        """The same of one with bearers: it has all TEIDs that it needs."""
        session_id, _, shape, values = put
        teids = {values[place] for place in shape.teids}
        tunnels = {(values[teid], values[ip]) for teid, ip in shape.tunnels}
        return (
            (shape in self._shapes or self._check_shape(put))
            and session_id is not None
            and SESSION_ID.fullmatch(session_id) is not None
            and self._is_ue(values[0])
            and len(teids) == len(shape.teids)
            and min(teids) > 0
            and max(teids) <= TEID_MAX
            and len(tunnels) == len(shape.tunnels)
            and all(0 < teid <= TEID_MAX for teid, _ in tunnels)
            and all(self._is_peer(values[place]) for place in shape.peers)
        )

    def _check_shape(self, put: ShapedPut) -> bool:
        """Whether sessions of a shape are right if their numbers are."""
        if put.shape.of_addresses:
            return False
        try:
            # This one is right in all; of the others, what does not depend on numbers is the same.
            check_session(self._gateway, put.session(), ())
        except InvalidSession:
            return False
        if len(self._shapes) >= SHAPES_KEPT:
            self._shapes.clear()
        self._shapes.add(put.shape)
        return True

    def _is_ue(self, address: int) -> bool:
        for low, high in self._pools:
            if low <= address <= high:
                return address not in self._ours
        return False

    def _is_peer(self, address: int) -> bool:
        known = self._peers.get(address)
        if known is None:
            if len(self._peers) >= PEERS_KEPT:
                self._peers.clear()
            known = self._peers[address] = self._check_peer(IPv4Address(address))
        return known

    def _check_peer(self, address: IPv4Address) -> bool:
        try:
            self._gateway.check_peer("peer", address)
        except InvalidSession:
            return False
        return True
