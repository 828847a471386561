"""The one comparison: what the switch should have against what it has.

First start, reconnect, restart and every request go through `plan`; what differs is only where the
two sides come from.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from ofgtp.core.flows.flow import Flow, FlowKey


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes that make the installed flows equal to the desired ones."""

    add: list[Flow] = field(default_factory=list)
    """New flows, and those whose cookie changes."""
    modify: list[Flow] = field(default_factory=list)
    """Same key and cookie, other actions: counters go on."""
    delete: list[Flow] = field(default_factory=list)
    """Done first. A flow whose cookie changes is deleted and added: its counters begin anew."""

    def all(self) -> Iterator[Flow]:
        """Every flow it touches."""
        yield from self.add
        yield from self.modify
        yield from self.delete

    def __bool__(self) -> bool:
        return bool(self.add or self.modify or self.delete)

    def __len__(self) -> int:
        return len(self.add) + len(self.modify) + len(self.delete)


def plan(desired: Iterable[Flow], installed: Iterable[Flow]) -> Plan:
    """Compare by key (table, priority, match). Applying the plan to `installed` gives `desired`."""
    rest: dict[FlowKey, Flow] = {flow.key: flow for flow in installed}
    result = Plan()
    for flow in desired:
        present = rest.pop(flow.key, None)
        if present is None:
            result.add.append(flow)
        elif present.cookie != flow.cookie:
            result.delete.append(present)
            result.add.append(flow)
        elif present != flow:
            result.modify.append(flow)
    result.delete.extend(rest.values())
    return result


def portions(changes: Plan, size: int) -> Iterator[Plan]:
    """The same in several plans of about `size` changes; of one key all are in one."""
    places: dict[FlowKey, int] = {}
    for flow in changes.all():
        places.setdefault(flow.key, len(places) // size)
    made = [Plan() for _ in range(-(-len(places) // size))]
    for kind in ("delete", "modify", "add"):
        for flow in getattr(changes, kind):
            getattr(made[places[flow.key]], kind).append(flow)
    yield from made


def parted(changes: Plan, keys: Container[FlowKey]) -> tuple[Plan, Plan]:
    """The changes of flows with these keys, and the others."""
    made = Plan(), Plan()
    for kind in ("delete", "modify", "add"):
        for flow in getattr(changes, kind):
            getattr(made[flow.key not in keys], kind).append(flow)
    return made
