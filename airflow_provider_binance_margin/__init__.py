"""Airflow provider for Binance margin accounts."""

__version__ = "0.1.0"
