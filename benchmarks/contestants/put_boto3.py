"""What boto3 costs by itself: one put of nothing."""

from __future__ import annotations

from typing import Any

import boto3
from measured import measured


def work(job: dict[str, Any]) -> None:
    """One put."""
    boto3.client("s3", endpoint_url=job["s3_url"]).put_object(Bucket=job["bucket"], Key=job["key"], Body=b"")


measured(work)
