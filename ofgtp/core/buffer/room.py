"""How much of what waits for tunnels a gateway holds, and how much of it a UE may have.

What a UE may have goes by what is free, so that there is always room for another one: a UE that is
flooded gets at most a part of what is left, and so do many of them.
"""

from __future__ import annotations

from dataclasses import dataclass

PACKETS = 32_768
OCTETS = 64 << 20
"""What a gateway holds at most."""
PART = 16
"""A UE has at most one part in so many of what is free."""


@dataclass(slots=True)
class Room:
    """A gateway's."""

    packets_max: int = PACKETS
    octets_max: int = OCTETS
    packets: int = 0
    """Held now."""
    octets: int = 0

    def takes(self, packets: int, octets: int, more: int) -> bool:
        """Whether one who has so many packets and octets may have another packet, of `more`."""
        free_packets, free_octets = self.packets_max - self.packets, self.octets_max - self.octets
        if more > free_octets:
            return False
        return packets * PART < free_packets and octets * PART < free_octets

    def add(self, octets: int) -> None:
        """A packet is held."""
        self.packets += 1
        self.octets += octets

    def remove(self, octets: int) -> None:
        """It is no more."""
        self.packets -= 1
        self.octets -= octets
