"""Of flows that are missing, or somebody else's."""

from __future__ import annotations

from ofgtp.core.flows.pipeline import INGRESS, PIPELINE
from ofgtp.core.model import Gateway
from ofgtp.core.trace.known import Case, Verdict
from ofgtp.core.trace.oftrace import Hop
from ofgtp.core.trace.verdict.advice import LOOK

TABLES = {table.number: table for table in PIPELINE}


def no_match(case: Case, hop: Hop) -> Verdict:
    """A table without any flow for it."""
    if hop.table == INGRESS.number:
        return Verdict(
            False,
            f"bridge {case.gateway.bridge} has no flows of ofgtp's",
            "no_flows",
            "start ofgtp (systemctl start ofgtp). It takes its flows away when it is stopped,"
            ' unless ownership = "switch"',
            LOOK,
        )
    return Verdict(
        False,
        f"{place(hop)} has no flow for it, not even the one for all the rest: flows were deleted",
        "no_match",
        "ofgtp puts them back while it runs and is connected to the switch (ofgtp status)",
        LOOK,
    )


def foreign(case: Case, hop: Hop) -> Verdict:
    """A flow of somebody else's ends it."""
    return Verdict(
        False,
        f"a flow that is not ofgtp's ends it in {place(hop)}: {hop.match or 'any packet'},"
        f" actions {', '.join(hop.actions)}",
        "foreign_flow",
        "somebody has added it. To take it out:",
        delete_command(hop, case.gateway),
    )


def place(hop: Hop) -> str:
    """Which table, by number and name."""
    table = TABLES.get(hop.table)
    return f"table {hop.table} ({table.name})" if table else f"table {hop.table}"


def delete_command(hop: Hop, gateway: Gateway) -> str:
    """The command that takes just this flow out."""
    key = ",".join(filter(None, (f"table={hop.table},priority={hop.priority}", hop.match)))
    return f"ovs-ofctl -O OpenFlow14 --strict del-flows {gateway.bridge} '{key}'"
