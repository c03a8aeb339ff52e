"""The lake's objects, as pure Python: no Airflow, no S3, and nothing of the exchange."""
