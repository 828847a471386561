"""Gateway -> base flows, session -> its flows. Pure functions of their arguments."""
