"""Causes: how a request ended (TS 29.244, 8.2.1)."""

from __future__ import annotations

from enum import IntEnum


class Cause(IntEnum):
    """The causes that are sent. A control plane may send others, which stay numbers."""

    ACCEPTED = 1
    REJECTED = 64
    """For no reason that has a number of its own."""
    SESSION_NOT_FOUND = 65
    MANDATORY_IE_MISSING = 66
    CONDITIONAL_IE_MISSING = 67
    INVALID_LENGTH = 68
    MANDATORY_IE_INCORRECT = 69
    INVALID_FORWARDING_POLICY = 70
    INVALID_F_TEID_ALLOCATION = 71
    NO_ASSOCIATION = 72
    RULE_FAILURE = 73
    CONGESTION = 74
    NO_RESOURCES = 75
    NOT_SUPPORTED = 76
    SYSTEM_FAILURE = 77
    RESTORATION_FAILURE = 86
    """Of Release 17, and understood as a rejection by all others."""
