"""Triggers: one for deferred sensors, one for event-driven DAGs."""
