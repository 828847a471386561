"""`/openapi.json`: what the API is to who generates a client, and to /docs."""

from ofgtp.northbound.openapi.document import document

__all__ = ["document"]
