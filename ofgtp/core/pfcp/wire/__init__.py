"""PFCP as it goes over the wire (TS 29.244, 7 and 8): octets to values, and back.

- `header`, `messages`, `grouped` and `reports`, `values`: from the outside to the inside
- `ies`, `enums`, `causes`: what the numbers mean
- `tables`: the engine that reads and writes groups of IEs as their classes declare them
- `codecs`, of the parts in `fields`: each IE that is no group
- `errors`: why a request is refused
- `sdf`: an SDF Filter as a filter of packets
"""
