"""What the network's operator talks to: the REST API (later also PFCP)."""
