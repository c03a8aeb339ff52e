"""What an S3Hook costs by itself: one put of nothing."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from measured import measured


def work(job: dict[str, Any]) -> None:
    """One put."""
    S3Hook("aws_default").load_bytes(b"", job["key"], job["bucket"], replace=True)


measured(work)
