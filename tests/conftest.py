"""What all tests share: an Airflow that needs no database, a sandbox exchange and a real S3 server."""

from __future__ import annotations

import os
import tempfile

# Airflow reads its environment once, when it is first imported: a home of its own, and nothing of the caller's.
_HOME = tempfile.mkdtemp(prefix="airflow-test-")
for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "AWS_", "BINANCE"))]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": _HOME,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}

import json
import shutil
import socket
import subprocess
import sys
import time
import uuid

import hypothesis
import pytest

from airflow_provider_binance_margin.sandbox import Sandbox

# the same examples each time: a change is judged by what it changes; --hypothesis-profile=random looks for others
hypothesis.settings.register_profile("random", derandomize=False)
hypothesis.settings.register_profile("same", derandomize=True, database=None)
hypothesis.settings.load_profile("same")

pytest_plugins = ["harness", "parallel"]


def pytest_sessionfinish():
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _fresh_hosts():
    """What a process knows of a host (its bans, its pace) must not outlive a test."""
    yield
    hosts = sys.modules.get("airflow_provider_binance_margin.hooks.hosts")
    if hosts is not None:
        hosts._hosts.clear()


@pytest.fixture(scope="session")
def sandbox_home(tmp_path_factory):
    """Where the keys of all sandboxes are kept: an RSA key takes long to make."""
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture
def sandbox(sandbox_home):
    """An empty exchange."""
    with Sandbox(days=0, home=sandbox_home) as exchange:
        yield exchange


@pytest.fixture(scope="session")
def s3_url():
    """A real S3 server, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(60)


@pytest.fixture(scope="session")
def s3_client(s3_url):
    """The S3 server, seen through boto3: not through the code under test."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test-secret-key",
    )
    yield client
    client.close()


@pytest.fixture
def s3(s3_client, s3_url):
    """A bucket of the test's own."""
    bucket = Bucket(s3_client, f"lake-{uuid.uuid4().hex[:12]}", s3_url)
    s3_client.create_bucket(Bucket=bucket.name)
    return bucket


class Bucket:
    """One bucket of the S3 server."""

    def __init__(self, client, name, url):
        self.client, self.name, self.url = client, name, url

    def keys(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def __iter__(self):
        return iter(self.keys())

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def metadata(self, key):
        return self.client.head_object(Bucket=self.name, Key=key)["Metadata"]

    def put(self, key, body=b"", **metadata):
        self.client.put_object(Bucket=self.name, Key=key, Body=body, Metadata=metadata)

    def objects(self):
        return {key: self.get(key) for key in self.keys()}

    def connection(self):
        """As an Airflow connection."""
        return {
            "conn_type": "aws",
            "login": "test",
            "password": "test-secret-key",
            "extra": json.dumps({"endpoint_url": self.url, "region_name": "us-east-1"}),
        }
