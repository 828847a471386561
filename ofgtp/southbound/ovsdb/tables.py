"""The bridge's flow tables: which prefixes they tell apart by leading bits."""

from __future__ import annotations

from ofgtp.core.flows.pipeline import CHOOSE, CORE, DOWNLINK, GUARD, OTHER_RULES, RULES, UPLINK
from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.columns import Row
from ofgtp.southbound.ovsdb.own import TAG
from ofgtp.southbound.ovsdb.transaction import Edit

PREFIXES = {
    UPLINK.number: ["ip_dst", "ip_src", "ipv6_src"],
    RULES.number: ["ip_dst", "ip_src", "ipv6_dst"],
    OTHER_RULES.number: ["ip_dst", "ip_src", "ipv6_dst"],
    GUARD.number: ["ip_dst", "ipv6_dst"],
    CORE.number: ["ip_dst", "ipv6_dst", "ipv6_src"],
    DOWNLINK.number: ["ip_dst", "ipv6_dst"],
    CHOOSE.number: ["ip_dst", "ip_src", "ipv6_src"],
}
"""Addresses of which a megaflow shall know no more leading bits than tell it from the table's
prefixes; three at most. Of itself Open vSwitch 3.1 does so with IPv4 alone (3.5 and 4.0 with both),
and has a megaflow for each remote host of IPv6."""


def describe_tables(edit: Edit, bridge: Row, gateway: Gateway) -> None:
    """Have the switch tell IPv6 prefixes apart by their leading bits, where there are any."""
    present = edit.get(bridge, "flow_tables", {})
    tables = {
        number: row
        for number, row in present.items()
        if row.external_ids.get(TAG) != gateway.name or (gateway.ue_pools6 and number in PREFIXES)
    }
    for number, prefixes in PREFIXES.items() if gateway.ue_pools6 else ():
        if number not in tables:
            tag = {TAG: gateway.name}
            tables[number] = edit.insert("Flow_Table", prefixes=prefixes, external_ids=tag)
        elif tables[number].external_ids.get(TAG) == gateway.name:
            edit.set(tables[number], prefixes=prefixes)
    if tables != present:
        edit.set(bridge, flow_tables=tables)
