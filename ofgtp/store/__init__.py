"""Where sessions are kept, durably, before success is answered."""

from ofgtp.store.sqlite import SessionStore, StoredSession, Transaction

__all__ = ["SessionStore", "StoredSession", "Transaction"]
