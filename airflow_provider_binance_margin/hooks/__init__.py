"""Airflow connection -> signed calls."""
