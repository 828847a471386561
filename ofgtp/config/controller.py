"""`[controller]`, read."""

from __future__ import annotations

from typing import Final, get_args

from ofgtp.config.table import Table
from ofgtp.config.values import Controller, Durability, Ownership

LEASE_MIN: Final = 5
"""Shortest lease, in seconds: its renewal must survive a slow switch."""
LEASE_MAX: Final = 65535
"""Longest lease, in seconds: an OpenFlow hard timeout has 16 bits."""

ROUND_MIN: Final = 10
"""100,000 sessions in so many seconds cost the switch hardly a packet."""
ROUND_MAX: Final = 3600

PMD_CORES_MAX: Final = 16
CORE_MAX: Final = 1023


def controller_of(table: Table) -> Controller:
    """The section.

    Raises:
        ConfigError: something in it is wrong.
    """
    default = Controller()
    lease = table.whole("lease_seconds", default.lease_seconds, LEASE_MIN, LEASE_MAX)
    store = table.get("store", str, str(default.store))
    if not store or "\0" in store:
        raise table.error("store", "must be the path of a file")
    return Controller(
        ownership=table.choice("ownership", get_args(Ownership)),
        lease_seconds=lease,
        store=table.source.path.parent / store,
        durability=table.choice("durability", get_args(Durability)),
        usage_round_seconds=table.whole(
            "usage_round_seconds", default.usage_round_seconds, ROUND_MIN, ROUND_MAX
        ),
        pmd_cores=_pmd_cores(table),
    )


def _pmd_cores(table: Table) -> tuple[int, ...]:
    cores: list[int] = []
    for index, core in enumerate(table.get("pmd_cores", list, [])):
        if type(core) is not int or not 0 <= core <= CORE_MAX:
            reason = f"every element must be the number of a core, 0 to {CORE_MAX}, not {core!r}"
            raise table.error("pmd_cores", reason, index)
        if core in cores:
            raise table.error("pmd_cores", f"core {core} stands twice", index)
        cores.append(core)
    if len(cores) > PMD_CORES_MAX:
        raise table.error("pmd_cores", f"at most {PMD_CORES_MAX} cores, not {len(cores)}")
    return tuple(sorted(cores))
