"""Packets for idle UEs: held, told of, and sent on once there is a tunnel."""
