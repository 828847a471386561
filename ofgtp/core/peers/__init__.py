"""What is known of peers and next hops, and when to ask: state machines that are told the time."""
