"""Where sessions are kept, durably, before success is answered."""

from ofgtp.store.rows import StoredSession
from ofgtp.store.sqlite import SessionStore
from ofgtp.store.transaction import Transaction

__all__ = ["SessionStore", "StoredSession", "Transaction"]
