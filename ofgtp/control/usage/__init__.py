"""Reads what the switch has counted, and keeps what sessions have used."""
