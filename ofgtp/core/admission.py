"""Whether a session fits a gateway, quickly: for where there are very many of them."""

from __future__ import annotations

from ipaddress import IPv4Address

from ofgtp.core.errors import InvalidSession
from ofgtp.core.model import SESSION_ID, TEID_MAX, BatchPut, Gateway

PEERS_KEPT = 10_000


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

    def admits(self, put: BatchPut) -> bool:
        """Whether a session with an id and a TEID of its own is plainly right."""
        session_id, _, ue_ip, teid, peer, far_teid, far_ip, _ = put
        return (
            session_id is not None
            and SESSION_ID.fullmatch(session_id) is not None
            and teid is not None
            and 0 < teid <= TEID_MAX
            and any(low <= ue_ip <= high for low, high in self._pools)
            and ue_ip not in self._ours
            and (peer is None or self._is_peer(peer))
            and (
                far_ip is None
                if far_teid is None
                else 0 < far_teid <= TEID_MAX and far_ip is not None and self._is_peer(far_ip)
            )
        )

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
