"""The cores that the switch's PMD threads run on."""

from __future__ import annotations

from ofgtp.core.model import Gateway
from ofgtp.southbound.ovsdb.connection import Connection
from ofgtp.southbound.ovsdb.own import FACT, TAG
from ofgtp.southbound.ovsdb.transaction import Edit

PMD_MASK = "pmd-cpu-mask"
"""In `other_config` of the switch: the cores that its PMD threads run on. In our `external_ids`
there: what we have set it to; another value is somebody else's."""


def cores_of(mask: str) -> list[int]:
    """The cores of a mask, as `pmd-cpu-mask` has it; none of what is no number."""
    try:
        bits = int(mask, 16)
    except ValueError:
        return []
    return [core for core in range(bits.bit_length()) if bits >> core & 1]


def describe_cores(edit: Edit, db: Connection, gateway: Gateway) -> None:
    """Have the switch's PMD threads run where they should, unless somebody else has said
    where. They are the whole switch's, and so is this setting."""
    root = db.root()
    present, ours = root.other_config.get(PMD_MASK), root.external_ids.get(FACT + PMD_MASK)
    if present is not None and present != ours:
        return
    if gateway.pmd_cores and gateway.veths:
        mask = hex(sum(1 << core for core in gateway.pmd_cores))
        edit.merge(root, "other_config", {PMD_MASK: mask})
        edit.merge(root, "external_ids", {FACT + PMD_MASK: mask})
    elif not _has_veths(db, but=gateway):
        edit.drop(root, "other_config", PMD_MASK)
        edit.drop(root, "external_ids", FACT + PMD_MASK)


def _has_veths(db: Connection, *, but: Gateway) -> bool:
    """Whether another gateway's ports are read by AF_XDP."""
    return any(
        getattr(row, "type", "").startswith("afxdp")
        and row.external_ids.get(TAG) not in (None, but.name)
        for row in db.rows("Interface")
    )
