"""Sensors that wait for records."""
