"""An HTTP/1.1 server on eventlet's green threads: requests in, responses out (RFC 9110, 9112)."""
