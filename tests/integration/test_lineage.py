"""OpenLineage is told what a task read and what it wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

ENDPOINT = ("binance://api.binance.com", "sapi/v1/margin/forceLiquidationRec")
INTERVAL = datetime(2026, 1, 14, tzinfo=UTC), datetime(2026, 1, 17, tzinfo=UTC)


@pytest.fixture
def ended(run_task):
    """Runs a task and gives what Airflow shows its listeners of it, of which OpenLineage is one."""
    from airflow.listeners import hookimpl
    from versions import get_listener_manager

    class Listener:
        seen = None

        @hookimpl
        def on_task_instance_success(self, task_instance):
            Listener.seen = task_instance

    def run(task, **options):
        manager, listener = get_listener_manager(), Listener()
        manager.add_listener(listener)
        try:
            done = run_task(task, **options)
        finally:
            manager.pm.unregister(listener)
        assert done.state == "success", done.error
        return listener.seen

    return run


@pytest.fixture
def complete(tmp_path):
    """What OpenLineage's file transport holds after the extractor was asked about a task that has ended."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
    from airflow.utils.state import TaskInstanceState
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from uuid6 import uuid7

    def emit(instance):
        task = instance.task
        found = ExtractorManager().extract_metadata(
            dagrun=SimpleNamespace(run_id="r"),
            task=task,
            task_instance_state=TaskInstanceState.SUCCESS,
            task_instance=instance,
        )
        path = tmp_path / "events.json"
        client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(path), append=True)))
        adapter = OpenLineageAdapter(client)
        adapter.complete_task(
            run_id=str(uuid7()),
            job_name="a_dag.load",
            end_time="2026-01-17T00:00:00+00:00",
            task=found,
            nominal_start_time="2026-01-14T00:00:00+00:00",
            nominal_end_time="2026-01-17T00:00:00+00:00",
            owners=[],
            tags=[],
            job_description=None,
            run_facets={},
        )
        (line,) = path.read_text().splitlines()
        return json.loads(line)

    return emit


def written(event):
    """Namespace and name of each output -> rows and size."""
    return {
        (output["namespace"], output["name"]): (
            output["outputFacets"]["outputStatistics"]["rowCount"],
            output["outputFacets"]["outputStatistics"]["size"],
        )
        for output in event["outputs"]
    }


def read(event):
    return [(each["namespace"], each["name"]) for each in event["inputs"]]


def test_a_task_reads_the_endpoint_and_writes_objects(operator, ended, complete, sandbox, s3):
    """With the rows and the size of each, through the file transport."""
    sandbox.add(n=7, at=int(INTERVAL[0].timestamp() * 1000))
    sandbox.add(n=120, at=int(INTERVAL[0].timestamp() * 1000) + 86_400_000)

    event = complete(ended(operator(grain="day", s3_key="{start:%d}.csv"), interval=INTERVAL))

    sizes = {key: len(body) for key, body in s3.objects().items()}
    assert ("COMPLETE", [ENDPOINT]) == (event["eventType"], read(event))
    assert written(event) == {
        (f"s3://{s3.name}", "14.csv"): (7, sizes["14.csv"]),
        (f"s3://{s3.name}", "15.csv"): (120, sizes["15.csv"]),
        (f"s3://{s3.name}", "16.csv"): (0, sizes["16.csv"]),
    }


def test_a_retry_tells_what_the_first_attempt_wrote_too(operator, run_task, ended, complete, sandbox, s3):
    """The attempt that succeeds stands for the run."""
    sandbox.add(n=7, at=int(INTERVAL[0].timestamp() * 1000))
    options = {"grain": "day", "s3_key": "{start:%d}.jsonl"}
    run_task(operator(**options), interval=INTERVAL)

    event = complete(ended(operator(**options), interval=INTERVAL, try_number=2))

    assert written(event) == {
        (f"s3://{s3.name}", key): (int(s3.metadata(key)["records"]), len(body)) for key, body in s3.objects().items()
    }


def test_what_was_not_written_is_no_output(operator, ended, complete, s3):
    """Of an empty interval that leaves no object."""
    event = complete(ended(operator(on_empty="none"), interval=INTERVAL))

    assert (read(event), event["outputs"], s3.keys()) == ([ENDPOINT], [], [])


def test_a_task_that_did_not_get_far_has_no_outputs(operator):
    """It may be asked about before it has done anything."""
    found = operator().get_openlineage_facets_on_complete(None)

    assert ([(each.namespace, each.name) for each in found.inputs], found.outputs) == ([ENDPOINT], [])


def test_a_run_of_many_objects_names_a_thousand(operator):
    """An event has a size that a server takes."""
    from airflow_provider_binance_margin.lake.interval import Interval
    from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity
    from airflow_provider_binance_margin.transfers.object_loader import ObjectResult
    from airflow_provider_binance_margin.transfers.progress import Progress

    progress, identity = Progress("lake", 1500), ObjectIdentity("interest", Interval(0, 1), "cross", "main")
    for number in range(1500):
        progress.add(ObjectResult(f"{number}.jsonl", 1, 1, 10), identity)

    task = operator()
    task._progress = progress
    found = task.get_openlineage_facets_on_complete(None)

    assert (len(found.outputs), progress.result()["objects"], progress.result()["records"]) == (1000, 1500, 1500)
    assert {output.namespace for output in found.outputs} == {"s3://lake"}
