"""Bytes to values and back: Ethernet, ARP, IPv4, GTP-U; which packets are a session's."""
