"""The host's part of a gateway: made, kept, looked at and taken back."""
