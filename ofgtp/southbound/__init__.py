"""What ofgtp drives: OpenFlow, OVSDB, the host's network, nftables. Thin adapters."""
