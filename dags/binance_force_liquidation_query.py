"""Query the lake after each daily load: gaps, duplicates and sums, by DuckDB.

Needs DuckDB on the worker (``pip install duckdb``); the DAG parses without it.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task

PREFIX = "binance/margin/force_liquidation/"

# every row in every object, with what its object's key says
COPIES = """
    CREATE VIEW copies AS SELECT *,
        regexp_extract(filename, 'account=([^/]+)/', 1) AS account,
        regexp_extract(filename, 'scope=([^/]+)/', 1) AS scope
    FROM read_json('{files}', format = 'newline_delimited', filename = true,
        hive_partitioning = false, columns = {{
        symbol: 'VARCHAR', orderId: 'BIGINT', isIsolated: 'BOOLEAN',
        updatedTime: 'BIGINT', executedQty: 'VARCHAR',
        avgPrice: 'VARCHAR'}})
"""
# each record once, in its latest version: an answer without a pair may hold a pair's
# records, and orders are updated
RECORDS = """
    CREATE VIEW records AS SELECT DISTINCT ON (account, symbol, orderId, isIsolated) *
    FROM copies ORDER BY updatedTime DESC
"""
GAPS = """
    WITH objects AS (
        SELECT DISTINCT regexp_extract(file, 'account=([^/]+)/', 1) AS account,
            regexp_extract(file, 'scope=([^/]+)/', 1) AS scope,
            regexp_extract(file, 'dt=([0-9-]+)/', 1)::DATE AS dt
        FROM glob('{files}')
    ), days AS (
        SELECT account, scope,
            unnest(generate_series(min(dt), max(dt), INTERVAL 1 DAY))::DATE AS dt
        FROM objects GROUP BY account, scope
    )
    SELECT account, scope, dt::VARCHAR
    FROM days ANTI JOIN objects USING (account, scope, dt) ORDER BY ALL
"""
DOUBLES = """
    SELECT account, scope, symbol, orderId, count(*) FROM copies
    GROUP BY account, scope, symbol, orderId, isIsolated, updatedTime
    HAVING count(*) > 1 ORDER BY ALL
"""
NOTIONAL = """
    SELECT account, symbol, count(*),
        sum(executedQty::DECIMAL(38, 8) * avgPrice::DECIMAL(38, 8))::VARCHAR
    FROM records GROUP BY account, symbol ORDER BY ALL
"""

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
        """Gaps, duplicates and the notional per account and symbol, by DuckDB."""
        from pathlib import Path
        from tempfile import TemporaryDirectory

        import duckdb  # type: ignore[import-untyped,unused-ignore]
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        hook = S3Hook("aws_default")
        listed = hook.list_keys(bucket, prefix=PREFIX)
        keys = [key for key in listed if key.endswith(".jsonl.gz")]
        if not keys:
            return {"gaps": [], "doubles": [], "notional": []}
        with TemporaryDirectory() as folder, duckdb.connect() as db:
            for key in keys:
                target = Path(folder, key)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(hook.get_key(key, bucket).get()["Body"].read())
            files = f"{folder}/**/*.jsonl.gz"
            db.execute(COPIES.format(files=files))
            db.execute(RECORDS)
            queries = (GAPS.format(files=files), DOUBLES, NOTIONAL)
            gaps, doubles, notional = (db.sql(sql).fetchall() for sql in queries)
            return {"gaps": gaps, "doubles": doubles, "notional": notional}

    query("{{ var.value.get('binance_lake_bucket', 'my-lake') }}")
