"""GTP-U peers of one gateway: what they are told, and what they say."""
