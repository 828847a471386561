"""PFCP (3GPP TS 29.244; N4, Sxa, Sxb) of a user plane. No I/O.

- `wire`: messages and information elements (IEs), octets to values and back
- `node`: the state machine of one user plane node; it answers all that is not about sessions

Read are Releases 15 to 17 as far as control planes send them. Sent are only IEs of Release 15:
others are known to break control planes.
"""
