"""Packets that wait for a tunnel: how many there may be, in which order, and for how long."""
