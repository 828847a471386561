"""One user plane node: associations, heartbeats, retransmission, limits (TS 29.244, 5.8, 6.2, 6.4).

- `machine`: the state machine; `actions`: what it wants to be done; `settings`: what it is told
- `control_planes`, of `associations`: who is associated, and whether they are alive
- `answers`: the last ones, for requests that come again; `requests`: ours, until they are answered
"""
