"""PFCP from the socket to the sessions: `endpoint` has the socket, `sessions` the rest."""
