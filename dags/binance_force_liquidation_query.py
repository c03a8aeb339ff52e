"""What is in the lake? Whenever the daily DAG has loaded a day, DuckDB looks for gaps and doubles and sums it up.

Needs DuckDB on the worker (``pip install duckdb``); the DAG parses without it.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task

PREFIX = "binance/margin/force_liquidation/account=binance_default/scope=cross/"

GAPS = """
    SELECT day::DATE::VARCHAR FROM range((SELECT min(dt) FROM days), (SELECT max(dt) FROM days), INTERVAL 1 DAY) t(day)
    WHERE day::DATE NOT IN (SELECT dt FROM days) ORDER BY 1
"""
DOUBLES = """
    SELECT symbol, orderId, count(*) FROM rows GROUP BY symbol, orderId, isIsolated HAVING count(*) > 1 ORDER BY 1, 2
"""
NOTIONAL = """
    SELECT symbol, count(*), sum(executedQty::DECIMAL(38, 8) * avgPrice::DECIMAL(38, 8))::VARCHAR
    FROM rows GROUP BY symbol ORDER BY symbol
"""
COLUMNS = "{avgPrice: VARCHAR, executedQty: VARCHAR, orderId: BIGINT, symbol: VARCHAR, isIsolated: BOOLEAN}"

with DAG(
    "binance_force_liquidation_query",
    description="Looks for gaps and doubles in the lake, and sums it up",
    schedule=[Asset("binance_force_liquidation")],
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:

    @task
    def query(bucket: str) -> dict[str, Any]:
        """Fetch the account's objects and ask DuckDB for gaps, doubles and the notional per symbol."""
        from pathlib import Path
        from tempfile import TemporaryDirectory

        import duckdb  # type: ignore[import-untyped,unused-ignore]
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        hook = S3Hook("aws_default")
        with TemporaryDirectory() as folder, duckdb.connect() as db:
            keys = hook.list_keys(bucket, prefix=PREFIX)
            for key in keys:
                target = Path(folder, key)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(hook.get_key(key, bucket).get()["Body"].read())
            files = f"{folder}/{PREFIX}**/*.jsonl.gz"
            days = [(key.partition("/dt=")[2][:10],) for key in keys]
            db.execute("CREATE TABLE days (dt DATE)")
            if days:
                db.executemany("INSERT INTO days VALUES (?)", days)
            db.execute(f"CREATE TABLE rows AS SELECT * FROM read_json('{files}', columns = {COLUMNS})")  # noqa: S608 - our own folder
            result = {"gaps": db.sql(GAPS).fetchall(), "doubles": db.sql(DOUBLES).fetchall()}
            return {**result, "notional": db.sql(NOTIONAL).fetchall()}

    query("{{ var.value.get('binance_lake_bucket', 'my-lake') }}")
