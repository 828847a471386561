"""`ofgtp session import` and `export`: very many sessions as CSV or NDJSON, never all in memory.

An import sends batches of at most 100,000 lines, each of which the API does as a whole or not at
all. A session without an id gets the same id each time, so that an import can be repeated.
"""

from ofgtp.cli.transfer.exporting import export_sessions
from ofgtp.cli.transfer.importing import import_sessions

__all__ = [
    "export_sessions",
    "import_sessions",
]
