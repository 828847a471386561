"""What is found out, as a document of JSON (`--json`)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ofgtp.cli.trace.run import Run
from ofgtp.core.trace import choice
from ofgtp.core.trace.explain import Part, Step, Story


def of(run: Run) -> dict[str, Any]:
    """The document."""
    subject, known = run.subject, run.subject.known
    return {
        "session": known.id,
        "ue_ip": known.ue and str(known.ue),
        "ue_ipv6": known.ue6 and str(known.ue6),
        "gateway": subject.gateway.name,
        "delivered": all(story.verdict.delivered for story in run.stories),
        "lately": [asdict(finding) for finding in run.findings],
        "ways": [_story_json(run, story) for story in run.stories],
        "also": [{"level": each.level, "says": each.says} for each in run.symptoms],
        "known_by": "api" if subject.session else "switch",
    }


def _story_json(run: Run, story: Story) -> dict[str, Any]:
    packet, end = story.packet, story.verdict
    tunnel = {
        "teid": packet.teid,
        "peer": str(packet.peer),
        "container": packet.container.hex() or None,
        "outer_ecn": packet.outer_ecn,
    }
    return {
        "direction": packet.direction,
        "delivered": end.delivered,
        "reason": end.reason,
        "says": end.says,
        "do": end.do,
        "run": end.run,
        "bearer": _bearer_json(story),
        "packet": {
            "source": str(packet.source),
            "destination": str(packet.destination),
            "version": packet.version,
            "proto": packet.protocol,
            **({"ports": packet.ports} if packet.ports else {}),
            "octets": packet.size,
            "dscp": packet.dscp,
            "ecn": packet.ecn,
            **(tunnel if packet.tunnelled else {}),
        },
        "steps": [_step_json(part, step) for part in story.parts for step in part.steps],
        "asked": [
            {"command": run.command(each.question), "answer": each.answer} for each in story.asked
        ],
    }


def _step_json(part: Part, step: Step) -> dict[str, Any]:
    said: dict[str, Any] = {"part": part.title, "says": step.says}
    if step.hop is None:
        return said
    flow = {
        "match": step.hop.match,
        "priority": step.hop.priority,
        "cookie": f"{step.hop.cookie:#018x}",
        "actions": list(step.hop.actions),
        "notes": list(step.hop.notes),
    }
    return {
        **said,
        "table": step.hop.table,
        "name": step.table.name if step.table else None,
        "purpose": step.table.purpose if step.table else None,
        "owner": step.owner or None,
        "flow": flow if step.hop.found else None,
    }


def _bearer_json(story: Story) -> dict[str, Any] | None:
    """The bearer that took the packet, and why."""
    taken = story.taken
    if taken is None or not taken.rule.id:
        return None
    return {
        "id": taken.rule.id,
        "precedence": taken.rule.precedence,
        "filter": taken.by and choice.in_words(taken.by),
    }
