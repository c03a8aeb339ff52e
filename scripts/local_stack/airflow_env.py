"""The environment in which the local stack's programs run: nothing of the caller's settings, nothing but loopback."""

from __future__ import annotations

import json
import os
import secrets
import sys
from typing import TYPE_CHECKING

from local_stack.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

# what a developer's shell may hold that would lead Airflow, boto3 or an HTTP client elsewhere
_FOREIGN = ("AIRFLOW", "AWS_", "BOTO", "MOTO_", "PYTHON", "UVICORN_", "WEB_CONCURRENCY")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy")
REGION = "us-east-1"
CREDENTIALS = ("local-user", "local-password")


def clean_env() -> dict[str, str]:
    """The caller's environment without what would lead the stack's programs away from this machine."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and name.lower() not in _PROXIES
    }
    loopback = f"{LOOPBACK},localhost,::1"
    return env | {
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def aws_connection(endpoint_url: str) -> dict[str, str]:
    """`aws_default` as Airflow reads it from the environment: the local S3 server with made-up credentials."""
    extra = {"endpoint_url": endpoint_url, "region_name": REGION, "config_kwargs": {"s3": {"addressing_style": "path"}}}
    login, password = CREDENTIALS
    connection = {"conn_type": "aws", "login": login, "password": password, "extra": extra}
    return {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection)}


def airflow_secrets() -> dict[str, str]:
    """Keys that all components must share, so that none of them makes its own."""
    return {
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
    }


def airflow_env(home: Path, dags: Path, api_port: int, *, parallelism: int = 4) -> dict[str, str]:
    """Airflow's settings: one folder, SQLite, everybody an admin, and no waiting where a small local stack need not."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # what newer Pythons do instead imports Airflow anew for each task
        **({"AIRFLOW__CORE__MP_START_METHOD": "fork"} if sys.platform == "linux" else {}),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{api_port}/execution/",
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(api_port),
        "AIRFLOW__API__BASE_URL": f"http://{LOOPBACK}:{api_port}/",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "20",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    }
