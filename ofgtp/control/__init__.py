"""Joins the parts: sessions from northbound go into the store and, by the core's rules, south."""
