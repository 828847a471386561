"""The switch's flows of one gateway: changed, compared, counted, and leased."""
