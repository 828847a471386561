"""Writes the generated part of docs/pfcp.md, from the codec itself.

    .venv/bin/python scripts/pfcp_doc.py [FILE]

What stands between the two markers of the file is replaced. A test fails while it differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from generated import rewrite

from ofgtp.core.pfcp.node.machine import READ, SENT
from ofgtp.core.pfcp.wire.causes import Cause
from ofgtp.core.pfcp.wire.codecs import CODECS
from ofgtp.core.pfcp.wire.header import MessageType
from ofgtp.core.pfcp.wire.ies import LAST_OF_RELEASE_15, Ie
from ofgtp.core.pfcp.wire.messages import CLASSES
from ofgtp.core.pfcp.wire.tables import TABLES, Need

TAKEN = {
    Need.MUST: "must be there",
    Need.MAY: "used",
    Need.LENIENT: "used if readable",
}
GIVEN = {
    Need.MUST: "always",
    Need.MAY: "where it applies",
    Need.LENIENT: "where it applies",
}
NOT_GIVEN = {Ie.CP_FUNCTION_FEATURES}
"""What a control plane puts into responses that a user plane sends as well."""


def head(*titles: str) -> str:
    return f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"


def ie_name(ie: Ie) -> str:
    later = " (Release 16)" if ie > LAST_OF_RELEASE_15 else ""
    return f"{ie.title}{later}"


def rows(kind: type, words: dict[Need, str]) -> Iterator[tuple[str, int, str]]:
    """Each IE of a group: name, type, what becomes of it."""
    table = TABLES[kind]
    for field in table.fields.values():
        if words is TAKEN or field.ie not in NOT_GIVEN:
            many = ", any number" if field.many else ""
            yield ie_name(field.ie), field.ie, words[field.need] + many
    if words is TAKEN:
        for ie, refusal in table.refused.items():
            yield ie_name(ie), ie, f"refused, {refusal.cause.value}: {refusal.what}"
        for ie in sorted(table.ignored):
            yield ie_name(ie), ie, "ignored"


def inner(kinds: Iterable[type]) -> list[tuple[Ie, type]]:
    """The groups in them, each once, outer ones first."""
    found: dict[type, Ie] = {}
    queue = list(kinds)
    while queue:
        for field in TABLES[queue.pop(0)].fields.values():
            group = getattr(CODECS[field.ie].decode, "__self__", None)
            if group is not None and group.kind not in found:
                found[group.kind] = field.ie
                queue.append(group.kind)
    return [(ie, kind) for kind, ie in found.items()]


def one_table(groups: Iterable[tuple[str, type]], words: dict[Need, str]) -> Iterator[str]:
    yield head("in", "IE", "type", "what becomes of it" if words is TAKEN else "when")
    for title, kind in groups:
        found = list(rows(kind, words))
        if not found:
            yield f"| {title} | no IE | | |"
        for at, (name, number, what) in enumerate(found):
            yield f"| {title if at == 0 else ''} | {name} | {number} | {what} |"


def messages(kinds: Iterable[MessageType]) -> list[tuple[str, type]]:
    return [(f"{kind.title} ({kind.value})", CLASSES[kind]) for kind in sorted(kinds)]


def groups(kinds: Iterable[MessageType]) -> list[tuple[str, type]]:
    found = inner(CLASSES[kind] for kind in sorted(kinds))
    return [(f"{ie.title} ({ie.value})", kind) for ie, kind in found]


def section() -> str:
    parts = [
        "### Messages that are read\n",
        *one_table(messages(READ), TAKEN),
        "\n### Groups that are read\n",
        *one_table(groups(READ), TAKEN),
        "\n### Messages that are sent\n",
        *one_table(messages(SENT), GIVEN),
        "\n### Groups that are sent\n",
        *one_table(groups(SENT), GIVEN),
        "\n### Causes that are sent\n",
        head("cause", "name"),
        *(f"| {cause.value} | {cause.name.replace('_', ' ').lower()} |" for cause in Cause),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    rewrite(__file__, section(), "pfcp.md")
