"""What is found out, in words for who is on call."""

from __future__ import annotations

import shutil
import textwrap

import click

from ofgtp.cli import output
from ofgtp.cli.subject import Subject
from ofgtp.cli.trace.run import Run
from ofgtp.core.model import Direction
from ofgtp.core.rules.terms import ECN_NAMES
from ofgtp.core.trace.explain import Step, Story
from ofgtp.core.trace.known import Verdict
from ofgtp.core.trace.lately import Finding
from ofgtp.core.trace.verdict import HELD


def show(run: Run, *, verbose: bool, raw: bool) -> None:
    """Print it."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    for finding in run.findings:
        if not finding.over:
            _print_finding(finding, width)
    if not all(finding.over for finding in run.findings):
        output.say("A packet as it should be:")
    versions = dict.fromkeys(story.packet.version for story in run.stories)
    for version in versions:
        if len(versions) > 1:
            output.say(f"IPv{version}, {run.subject.known.of_version(version)}:")
        for story in run.stories:
            if story.packet.version == version:
                _print_verdict(story, width)
    for finding in run.findings:
        if finding.over:
            _hang("- ", f"it is over: {finding.says}", width, indent=2)
    for symptom in run.symptoms:
        mark = click.style("!", fg="red", bold=True) if symptom.level == "bad" else "-"
        _hang(f"{mark} ", symptom.says, width, indent=2)
    output.say()
    _hang("", _heading(run.subject), width, indent=2)
    for story in run.stories:
        output.say()
        tunnel = ""
        if story.packet.tunnelled:
            teid = f"{story.packet.teid:#x}" if story.packet.teid else "of unknown TEID"
            tunnel = f", in tunnel {teid} from {story.packet.peer}"
            if story.packet.container:
                tunnel += f", with container {story.packet.container.hex()}"
            if story.packet.outer_ecn:
                tunnel += f", marked {ECN_NAMES[story.packet.outer_ecn]}"
        title = story.packet.direction.capitalize()
        _hang(click.style(title, bold=True), f": {story.packet}{tunnel}", width, indent=2)
        for part in story.parts:
            output.say(f"  {part.title}")
            for step in part.steps:
                _print_step(step, width, verbose)
        for each in story.asked if raw else ():
            output.say(f"\n$ {run.command(each.question)}\n{each.answer.rstrip()}")


def _heading(subject: Subject) -> str:
    known, session = subject.known, subject.session
    teid = "unknown" if known.teid is None else f"{known.teid:#x}"
    pinned = f" from {known.pinned} alone" if known.pinned else ""
    far = known.downlink
    down = f"downlink {far.teid:#x} to {far.ip}" if far else "no downlink"
    name = f"Session {known.id}" if known.id else "The session"
    qfi = f", QFI {known.qos.qfi or 'unknown'}" if known.qos else ""
    who = f"UE {known.who}" if known.who else "a relay"
    core = f", core {known.relay.teid:#x} to {known.relay.ip}" if known.relay else ""
    bearers = f", {known.kind}s {', '.join(known.bearers)}" if known.bearers else ""
    owner = f", of control plane {known.owner}" if known.owner else ""
    says = f"{name} on {subject.gateway.name}: {who}, uplink {teid}{pinned}, {down}{qfi}"
    says += f"{core}{bearers}{owner}"
    if session is None:
        return f"{says}."
    up, dn = (session["counters"][way]["packets"] for way in ("uplink", "downlink"))
    return f"{says}; {session['state']}; packets so far: {up} up, {dn} down."


def _print_finding(finding: Finding, width: int) -> None:
    _print_end(finding.direction, "LATELY", "red", finding.says, width)
    _print_help(finding.do, finding.run, width)


def _print_verdict(story: Story, width: int) -> None:
    end: Verdict = story.verdict
    word, colour = ("DELIVERED", "green") if end.delivered else ("DROPPED", "red")
    if end.reason == HELD:
        word, colour = "HELD", "yellow"
    _print_end(story.packet.direction, word, colour, end.says, width)
    _print_help(end.do, end.run, width)


def _print_end(direction: Direction, word: str, colour: str, says: str, width: int) -> None:
    head = f"{direction + ':':<10}{word}: "
    styled = head.replace(word, click.style(word, fg=colour, bold=True))
    _hang(styled, says, width, indent=10)


def _print_help(do: str | None, run: str | None, width: int) -> None:
    if do:
        _hang(" " * 10 + "To do: ", do, width, indent=10)
    if run:
        output.say(f"{' ' * 10}$ {run}")


def _print_step(step: Step, width: int, verbose: bool) -> None:
    if step.hop is None:
        _hang("    => ", step.says, width, indent=7)
        return
    name = step.table.name if step.table else ""
    loud = step.owner in ("drop", "other", "")
    head = f"    {step.hop.table:>3} {name:<10} "
    styled = click.style(head, fg="red") if loud else head
    _hang(styled, step.says, width, indent=19)
    if not verbose:
        return
    if step.table:
        _hang(" " * 8, step.table.purpose, width, indent=8)
    if step.hop.found:
        cookie = f"cookie={step.hop.cookie:#018x}"
        match = f",{step.hop.match}" if step.hop.match else ""
        _hang(" " * 8, f"{cookie},priority={step.hop.priority}{match}", width, indent=10)
        _hang(" " * 8, f"actions={','.join(step.hop.actions)}", width, indent=10)


def _hang(head: str, text: str, width: int, *, indent: int) -> None:
    """Print text after a head, wrapped, the further lines indented; words stay whole."""
    start = len(click.unstyle(head))
    lines = textwrap.wrap(
        "x" * start + text,
        width,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    lines[0] = head + lines[0][start:]
    for line in lines:
        output.say(line)
