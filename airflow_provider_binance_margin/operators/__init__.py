"""Operators that look after a lake."""
