"""History of the margin account to S3, one dataset a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from posixpath import commonpath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow.providers.common.compat.sdk import AirflowSkipException, Asset, BaseOperatorLink

from airflow_provider_binance_margin.lake.layout import LayoutError
from airflow_provider_binance_margin.load_plan import LoadPlan, is_partitioned, partition_key
from airflow_provider_binance_margin.operators.lake_operator import LakeOperator
from airflow_provider_binance_margin.options import seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_binance_margin.lake.object_metadata import Run
    from airflow_provider_binance_margin.transfers.load import Progress
    from airflow_provider_binance_margin.transfers.object_loader import OnEmpty


class S3ConsoleLink(BaseOperatorLink):
    """Opens what the task wrote in the S3 console."""

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

    An account with isolated pairs needs one mapped task per pair beside the one without ``isolated_symbol``.

    :param dataset: the dataset's name, one of `exchange.datasets.DATASETS` (templated)
    :param s3_bucket: the bucket; the AWS connection's own if neither this nor a full URL is given (templated)
    :param s3_key: the key, or a full ``s3://`` URL. ``{start}``, ``{end}`` (each may have a strftime format),
        ``{scope}``, ``{account}`` and ``{dataset}`` are filled; the suffix is the format: ``.jsonl``, ``.jsonl.gz``,
        ``.csv``, ``.csv.gz`` or ``.parquet`` (templated)
    :param start: explicit start of the interval, inclusive: datetime or ISO 8601, UTC if no zone is named (templated)
    :param end: explicit end, exclusive (templated)
    :param grain: the length of one object, in UTC: ``"hour"``, ``"day"`` or ``"month"``; None for one object per run
    :param isolated_symbol: the pair of one isolated margin account, e.g. ``BTCUSDT`` (templated)
    :param filters: the endpoint's own further filters, e.g. ``{"asset": "BTC"}``; a part of the scope (templated)
    :param account: the account's name, part of each object's identity; the connection's id if not given (templated)
    :param on_empty: ``"write"`` an object without rows, write ``"none"``, or ``"skip"`` the task when the run is empty
    :param allow_shrink: whether an object may be replaced by one with fewer records (templated)
    :param require_total: whether only an answer that agrees with the exchange's own total is accepted; if not, two
        equal readings up to an empty page are, and the metadata say ``proof: pages``
    :param beyond_memory: an interval that begins before what the exchange remembers: ``"refuse"`` it, or load what is
        left as a ``"claim"``, which the metadata then state as its proof
    :param settle: how long after its end, by the exchange's clock, an interval counts as closed; timedelta or seconds
    :param max_span: the longest window asked of the exchange at once, the dataset's own if not given or longer;
        timedelta or seconds
    :param replace: False leaves an existing object of the same identity alone and counts it as done
    :param max_workers: calls in flight at most; objects are finished four side by side
    :param emit_partitions: whether the outlets' events carry one partition key per grain (``2026-01``, ``2026-01-15``,
        ``2026-01-15T07``; Airflow 3.3). Such events do not wake DAGs that are scheduled plainly on the asset
    :param s3_extra_args: handed to S3 with each put: encryption, ACL, storage class. Templates in it are rendered where
        the task runs, and stored nowhere: the way for a customer key, which ``partial`` would put into the database
    :param binance_conn_id: the connection to the exchange (templated)
    :param aws_conn_id: the connection to S3; None for boto's own chain (templated)
    :param verify: as for `S3Hook`
    :param deferrable: whether to wait in the triggerer for an interval to settle and for a ban to end; Airflow's
        ``[operators] default_deferrable`` if not given
    """

    template_fields: Sequence[str] = (*LakeOperator.template_fields, "allow_shrink")
    operator_extra_links = (S3ConsoleLink(),)

    def __init__(
        self,
        *,
        on_empty: OnEmpty = "write",
        allow_shrink: bool | str = False,
        require_total: bool = True,
        beyond_memory: Literal["refuse", "claim"] = "refuse",
        replace: bool = True,
        emit_partitions: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_empty = on_empty
        self.allow_shrink = allow_shrink
        self.require_total = require_total
        self.beyond_memory = beyond_memory
        self.replace = replace
        self.emit_partitions = emit_partitions
        self.console_url = ""
        self._choice: LoadPlan | None = None
        self._tally: Progress | None = None
        self._run: Run | None = None
        if on_empty not in ("write", "none", "skip"):
            raise ValueError(f'on_empty must be "write", "none" or "skip", not {on_empty!r}')
        if beyond_memory not in ("refuse", "claim"):
            raise ValueError(f'beyond_memory must be "refuse" or "claim", not {beyond_memory!r}')
        if emit_partitions and self.grain is None:
            raise ValueError("emit_partitions needs a grain: one partition is one hour, day or month")

    def work(self, context: Context) -> dict[str, Any]:
        """Load the run's interval and return the small result: counts, bounds and at most 100 keys."""
        choice, identity = self.plan(context), self.identity()
        self._choice, self._tally = choice, None
        self._run = run_of(context, is_resumed=self._waits is not None)
        for interval in choice.intervals:
            told = (interval, identity["scope"], identity["account"], choice.source)
            self.log.info("Loading %s, scope %s, account %s, from %s.", *told)
        return self._load(choice, self._run)

    def has_progressed(self) -> bool:
        """Whether objects were written that are not loaded again after a wait."""
        return bool(self._run and self._run.is_known and self._tally and self._tally.requests)

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Tell the outlets, or skip."""
        self.log.info("Loaded: %s", {name: value for name, value in result.items() if name != "keys"})
        if not result["records"] and self.on_empty == "skip":
            raise AirflowSkipException(f"There are no records from {result['start']} to {result['end']}.")
        self._tell_outlets(context, result)
        return result

    def _load(self, choice: LoadPlan, run: Run) -> dict[str, Any]:
        from airflow_provider_binance_margin.transfers.bounded_map import bounded_map, bounded_pages
        from airflow_provider_binance_margin.transfers.load import OBJECTS_AT_ONCE, Progress, object_tasks, pools
        from airflow_provider_binance_margin.transfers.object_loader import ObjectLoader, WriteOptions

        rules = WriteOptions(run, seconds(self.settle), self.on_empty, _is_true(self.allow_shrink), self.replace)
        bucket, template = self.target()
        jobs = object_tasks(choice, template, **self.identity())
        hook, store = self.connect(bucket)
        if self.beyond_memory == "refuse":
            hook.check_memory(choice, self.known_dataset)
        with pools(hook, self.max_workers) as (calls, objects):
            self.await_settled(hook, choice)
            reader = hook.reader(
                self.known_dataset,
                self.span(),
                isolated_symbol=self.isolated_symbol,
                filters=self.filters,
                require_total=self.require_total,
                fetch_pages=bounded_pages(calls, self.max_workers),
            )
            loader = ObjectLoader(
                hook=hook, dataset=self.known_dataset, reader=reader, store=store, choice=choice, rules=rules
            )
            tally = self._tally = Progress(store.bucket, sum(1 for _ in choice.objects()))
            for made in bounded_map(objects, OBJECTS_AT_ONCE, loader.make, jobs):
                tally.add(made)
        result = tally.result()
        self.console_url = _console_url(store.bucket, result["keys"])
        tally.check()
        return {**self.summary(choice, store.bucket), **result}

    # -- what others are told --------------------------------------------------------------------------------------

    def _tell_outlets(self, context: Context, result: Mapping[str, Any]) -> None:
        """The summary, and, where asked for, one partition key per grain: of all grains, those of earlier tries too."""
        summary = {name: value for name, value in result.items() if name != "keys"}
        for outlet in self.outlets:
            if not isinstance(outlet, Asset):
                continue
            event = context["outlet_events"][outlet]
            event.extra = summary
            choice = self._choice
            # Airflow before 3.3 has no partitions; in a partitioned run the timetable's own key stands
            if (
                self.emit_partitions
                and self.grain
                and choice
                and not is_partitioned(context)
                and hasattr(event, "add_partitions")
            ):
                event.add_partitions([partition_key(interval.start, self.grain) for interval in choice.objects()])

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """The endpoint as input, the objects with their rows and sizes as outputs."""
        from airflow_provider_binance_margin.transfers.lineage import lineage_of

        return lineage_of(self.known_dataset.path, self._tally)


def run_of(context: Context, *, is_resumed: bool) -> Run:
    """What identifies this task's tries; before Airflow 3.3 a run has no number of clears to tell."""
    from airflow_provider_binance_margin.lake.object_metadata import Run

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


def _console_url(bucket: str, keys: Sequence[str]) -> str:
    """Where the S3 console shows one object, or the folder that holds several."""
    base = "https://console.aws.amazon.com/s3"
    if len(keys) == 1:
        return f"{base}/object/{quote(bucket)}?prefix={quote(keys[0])}"
    folders = [key.rpartition("/")[0] for key in keys]
    folder = commonpath(folders) if folders and all(folders) else ""
    return f"{base}/buckets/{quote(bucket)}" + (f"?prefix={quote(folder)}/" if folder else "")
