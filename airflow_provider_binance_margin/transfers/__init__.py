"""Operators that carry records from the exchange to a store."""
