"""A GTP-U user plane gateway made of Open vSwitch and a Ryu application."""

__version__ = "0.1.0"
