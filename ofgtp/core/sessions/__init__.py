"""What a session is made of beyond one tunnel pair: rules, bearers, rates, relays."""
