"""Client of the exchange in pure Python: no Airflow, no S3, no clock and no socket of its own."""
