"""History of the margin account to S3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperatorLink

from airflow_provider_binance_margin.coverage import CoverageLink
from airflow_provider_binance_margin.failures import LakeError
from airflow_provider_binance_margin.lake.interval import IntervalError
from airflow_provider_binance_margin.lake.layout import LayoutError
from airflow_provider_binance_margin.lake.object_metadata import Run
from airflow_provider_binance_margin.load_plan import LoadPlan, is_partitioned, local_midnight, partition_key
from airflow_provider_binance_margin.options import seconds
from airflow_provider_binance_margin.transfers.bounded_map import (
    MOST_OBJECTS_AT_ONCE,
    OBJECTS_AT_ONCE,
    bounded_map,
    bounded_pages,
    thread_pools,
)
from airflow_provider_binance_margin.transfers.lake_operator import LakeOperator
from airflow_provider_binance_margin.transfers.object_tasks import object_tasks

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.transfers.object_loader import Refusal
    from airflow_provider_binance_margin.transfers.progress import Progress
    from airflow_provider_binance_margin.transfers.series import Series, SeriesList


_EXCHANGE = "binance://api.binance.com"


class S3ConsoleLink(BaseOperatorLink):
    """Opens what the task wrote, in the console of S3 or at the address of another store."""

    name = "S3 object"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """The address; empty before anything was written."""
        return str(getattr(operator, "console_url", ""))


class MarginHistoryToS3Operator(LakeOperator):
    """Load all records of the run's interval from a dataset to S3: each once, exact, or the task fails.

    One object is written per run, or per `grain`. It appears whole or not at all, holds the same bytes whenever the
    same interval is loaded, and states in its metadata what it holds and what the exchange said there was. An object is
    never replaced by one with fewer records, nor by one of another dataset, account, scope or interval. One that must
    stay keeps no others away: they are loaded, then the task fails.

    Which interval: `start` and `end`; else the run's partition; else its data interval; else the windows of the asset
    events that triggered it; else, with a `grain`, the last whole grain. A run with none of these fails at once.

    An account with isolated pairs needs each pair beside the account itself: ``isolated_symbol=[None, "BTCUSDT"]``. Of
    lists of datasets and pairs the product is loaded, each object with its own proof; one that cannot be loaded keeps
    no others away.

    Beside the parameters of `LakeOperator`:

    :param allow_shrink: whether an object may be replaced by one with fewer records (templated)
    :param require_total: whether only an answer that agrees with the exchange's own total is accepted; if not, two
        equal readings up to an empty page are, and the metadata say ``proof: pages``
    :param beyond_memory: an interval that begins before what the exchange remembers: ``"refuse"`` it, or load what is
        left as a ``"claim"``, which the metadata then state as its proof
    :param replace: False leaves an existing object of the same identity alone and counts it as done
    :param emit_partitions: whether the outlets' events carry one partition key per grain (``2026-01``, ``2026-01-15``,
        ``2026-01-15T07``; Airflow 3.3). Such events do not wake DAGs that are scheduled plainly on the asset
    """

    template_fields: Sequence[str] = (*LakeOperator.template_fields, "allow_shrink")
    operator_extra_links = (S3ConsoleLink(), CoverageLink())

    def __init__(
        self,
        *,
        allow_shrink: bool | str = False,
        require_total: bool = True,
        beyond_memory: Literal["refuse", "claim"] = "refuse",
        replace: bool = True,
        emit_partitions: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.allow_shrink = allow_shrink
        self.require_total = require_total
        self.beyond_memory = beyond_memory
        self.replace = replace
        self.emit_partitions = emit_partitions
        self.console_url = ""
        self._plan: LoadPlan | None = None
        self._progress: Progress | None = None
        self._run: Run | None = None
        if beyond_memory not in ("refuse", "claim"):
            raise ValueError(f'beyond_memory must be "refuse" or "claim", not {beyond_memory!r}')
        if emit_partitions and self.grain is None:
            raise ValueError("emit_partitions needs a grain: one partition is one hour, day or month")

    def work(self, context: Context) -> dict[str, Any]:
        """Load the run's interval and return the small result: counts, bounds and at most 100 keys."""
        plan, series, account = self.plan(context), self.series(), self.known_account()
        self._plan, self._progress = plan, None
        self._run = run_of(context, is_resumed=self._waits is not None)
        what = str(series[0]) if len(series) == 1 else f"{len(series)} series of datasets and scopes"
        self.log.info("Loading %s, account %s.", what, account)
        for interval in plan.intervals:
            self.log.info("Interval %s, from %s.", interval, plan.source)
        if zone := local_midnight(plan):
            self.log.warning(
                "Dates in the key are UTC's: this day of %s is filed under the date before. Give the timetable "
                'timezone="UTC", and the task grain="day".',
                zone,
            )
        return self._load(plan, series, self._run)

    def has_progressed(self) -> bool:
        """True when objects were written that are not loaded again after a wait."""
        return bool(self._run and self._run.is_known and self._progress and self._progress.requests)

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Add the result to the outlets' events, or skip the task."""
        counts = ", ".join(f"{name}: {result[name]}" for name in ("objects", "requests", "bytes"))
        self.log.info("Loaded %d records to %s (%s)", result["records"], result["uri"], counts)
        if not result["records"] and self.on_empty == "skip":
            raise AirflowSkipException(f"There are no records from {result['start']} to {result['end']}.")
        self._tell_outlets(context, result)
        return result

    def _load(self, plan: LoadPlan, series: SeriesList, run: Run) -> dict[str, Any]:
        from airflow_provider_binance_margin.transfers.object_loader import ObjectLoader
        from airflow_provider_binance_margin.transfers.progress import Progress

        allow_shrink = _is_true(self.allow_shrink)
        bucket, template = self.target()
        tasks = object_tasks(plan, template, series, self.known_account())
        hook, store = self.connect(bucket)
        forgotten = self._forgotten(hook, plan, series)
        with thread_pools(hook, self.max_workers) as (calls, objects):
            self.await_settled(hook, plan)
            fetch_pages = bounded_pages(calls, self.max_workers, beside=objects.submit(store.check_bucket))
            loader = ObjectLoader(
                hook=hook,
                readers=self.readers(hook, series, require_total=self.require_total, fetch_pages=fetch_pages),
                store=store,
                plan=plan,
                run=run,
                settle=seconds(self.settle),
                on_empty=self.on_empty,
                allow_shrink=allow_shrink,
                replace=self.replace,
                rejected=forgotten,
            )
            expected = len(series) * sum(1 for _ in plan.objects())
            progress = self._progress = Progress(store.bucket, expected, has_several_series=len(series) > 1)
            try:
                loads = bounded_map(
                    objects,
                    OBJECTS_AT_ONCE,
                    lambda task: (loader.load(task), task),
                    tasks,
                    most=MOST_OBJECTS_AT_ONCE,
                )
                for loaded, task in loads:
                    progress.add(loaded, task.identity)
            finally:
                progress.log_objects()
        progress.send_lags(hook.exchange_time())
        result = progress.result()
        self.console_url = _object_url(store.endpoint, result["uri"]) if result["objects"] else ""
        progress.raise_refused()
        return {**self.summary(plan, store.bucket), **result}

    def _forgotten(self, hook: BinanceHook, plan: LoadPlan, series: SeriesList) -> dict[Series, Refusal]:
        """The series not to be loaded, since the exchange may have forgotten some; IntervalError if those are all."""
        forgotten: dict[Series, Refusal] = {}
        for each in series if self.beyond_memory == "refuse" else ():
            try:
                hook.check_memory(plan, each.dataset)
            except IntervalError as error:
                forgotten[each] = LakeError(str(error))
                if len(forgotten) == len(series):
                    raise
        return forgotten

    def _tell_outlets(self, context: Context, result: Mapping[str, Any]) -> None:
        """Summary and symbols; where asked for, one partition key per grain: of all, those of earlier tries too."""
        answer = {name: result[name] for name in ("records", "uri")}
        summary = answer | {name: value for name, value in result.items() if name != "keys"}
        if self._progress and self._progress.symbols:
            summary["symbols"] = self._progress.greatest_symbols()
        partitions: list[str] = []
        if self.emit_partitions and self.grain and self._plan and not is_partitioned(context):
            # in a partitioned run the timetable's own key stands
            partitions = [partition_key(interval.start, self.grain) for interval in self._plan.objects()]
        for event in self.tell_outlets(context, summary):
            if partitions and hasattr(event, "add_partitions"):  # Airflow before 3.3 has no partitions
                event.add_partitions(partitions)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """An `OperatorLineage`: the endpoints as inputs, the objects written (at most 1,000) as outputs."""
        from airflow.providers.common.compat.openlineage import facet  # which costs most of a second
        from airflow.providers.openlineage.extractors import OperatorLineage

        paths, progress = dict.fromkeys(series.dataset.path for series in self.series()), self._progress
        statistics = facet.OutputStatisticsOutputDatasetFacet
        return OperatorLineage(
            inputs=[facet.Dataset(namespace=_EXCHANGE, name=path.lstrip("/")) for path in paths],
            outputs=[
                facet.OutputDataset(
                    namespace=f"s3://{progress.bucket}",
                    name=key,
                    outputFacets={"outputStatistics": statistics(rowCount=result.records, size=result.size)},
                )
                for key, result in progress.named.items()
            ]
            if progress
            else [],
        )


def run_of(context: Context, *, is_resumed: bool) -> Run:
    """Identity of this task's tries; where a run has no number of clears, a retry cannot be told from a clear."""
    dag_run, task = context.get("dag_run"), context.get("ti")
    number = getattr(dag_run, "clear_number", None)
    began, made = (getattr(dag_run, name, None) for name in ("start_date", "run_after"))
    return Run(
        str(context.get("run_id", "")),
        number if isinstance(number, int) else None,
        dag_id=str(getattr(context.get("dag"), "dag_id", "")),
        task_id=str(getattr(task, "task_id", "")),
        map_index=int(getattr(task, "map_index", -1)),
        started=f"{began} {made}" if began else "",  # of a run of `dag.test()`, the first is its logical date
        max_tries=int(getattr(task, "max_tries", 0)),
        is_first_try=getattr(task, "try_number", 0) == 1 and not is_resumed,
    )


def _is_true(value: bool | str) -> bool:  # noqa: FBT001 - a template renders to text
    """An option that may have been rendered from a template."""
    text = str(value).strip().lower()
    if text not in ("true", "false", "1", "0", "none", ""):
        raise LayoutError(f"allow_shrink must be true or false, not {value!r}")
    return text in ("true", "1")


def _object_url(endpoint: str, uri: str) -> str:
    """The page of an object or folder in AWS's console; of another store, its address, which MinIO shows in its own."""
    from airflow_provider_binance_margin.transfers.object_store import is_aws

    bucket, _, place = quote(uri.removeprefix("s3://")).partition("/")
    if not is_aws(endpoint):
        return f"{endpoint.rstrip('/')}/{bucket}/{place}"
    kind = "buckets" if place.endswith("/") or not place else "object"
    return f"https://console.aws.amazon.com/s3/{kind}/{bucket}" + (f"?prefix={place}" if place else "")
