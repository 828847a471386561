"""Follows a session's packet through the switch, table by table, and says in words what happens.

The switch is asked by a function that the caller gives; nothing else is looked at.
"""

from ofgtp.core.trace.explain.asking import TraceRefused, follow
from ofgtp.core.trace.explain.story import Part, Step, Story

__all__ = [
    "Part",
    "Step",
    "Story",
    "TraceRefused",
    "follow",
]
