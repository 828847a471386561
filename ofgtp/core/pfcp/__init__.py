"""PFCP (3GPP TS 29.244; N4, Sxa, Sxb) of a user plane: octets to values, and the node. No I/O.

Read are Releases 15 to 17 as far as control planes send them. Sent are only information elements
(IEs) of Release 15: others are known to break control planes.

- `header`, `messages`, `grouped`, `ies`: what goes over the wire, from the outside to the inside
- `tables`: the engine that reads and writes groups of IEs as their classes declare them
- `causes`, `errors`: why a request is refused
- `sdf`: an SDF Filter as a filter of packets
- `node`, `associations`, `answers`, `requests`: the state machine of one user plane node
"""
