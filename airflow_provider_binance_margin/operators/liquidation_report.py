"""Liquidation events of an account, told from the lake."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import msgspec

from airflow_provider_binance_margin.exchange.datasets import DATASETS, dataset_of
from airflow_provider_binance_margin.exchange.scope import CROSS
from airflow_provider_binance_margin.failures import KNOWN_ERRORS, LakeError, ObjectStaysError, task_error
from airflow_provider_binance_margin.lake.audit import judge
from airflow_provider_binance_margin.lake.interval import DAY_MS, GRAINS, Grain, Interval, iso, join, ms, parse, widen
from airflow_provider_binance_margin.lake.layout import LayoutError, checked_account, render, suffix_of, target_of
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity, whose
from airflow_provider_binance_margin.lake.rows import read_rows
from airflow_provider_binance_margin.load_plan import LoadPlan, resolve_plan
from airflow_provider_binance_margin.options import seconds
from airflow_provider_binance_margin.transfers.bounded_map import bounded_map
from airflow_provider_binance_margin.transfers.lake_operator import BaseLakeOperator, check_key
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import run_of
from airflow_provider_binance_margin.transfers.object_tasks import ObjectTask, check_keys, object_tasks
from airflow_provider_binance_margin.transfers.series import series_of

if TYPE_CHECKING:
    import duckdb
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.lake.object_metadata import Existing, Run
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

DATASET = "liquidation_report"
LEVELS = ("certain", "takeover", "candidate")
CANNOT_TELL = "cannot_tell"
COLUMNS = {
    "account": "string",
    "scope": "string",
    "level": "string",
    "first_time": "timestamp",
    "last_time": "timestamp",
    "evidence": "json",
    "amounts": "json",
    "fees": "json",
    "activity": "json",
    "reason": "string",
}
_ORDERS, _LOANS = "force_liquidation", "liquidation_loan_repayment"
_ACTIVITY = ("borrow", "interest", "repay", "transfer")
_RULE = "liquidation_report.sql"
#: entries at most so far apart are one event; repayments of a loan, and what they are of
_GAP = 15 * 60_000
_PROVED = ("total", "exhausted")
_UNREAD = ("missing", "foreign", "corrupt")
_CURES = {
    "claim": "the exchange may have forgotten what there was, so look at the account's statement",
    "foreign": "another's object is in its place: look at it",
}
_SQL_TYPES = {"string": "VARCHAR", "decimal": "VARCHAR", "boolean": "BOOLEAN"}
_MOST_LISTED = 100
_IN_MEMORY = 1 << 20

Row: TypeAlias = dict[str, Any]
#: key and identity of an object of the report
Day: TypeAlias = tuple[str, ObjectIdentity]


class Source(NamedTuple):
    """One object of the lake that was looked at: the audit's verdict on it, and when it states that it was fetched."""

    dataset: str
    scope: str
    interval: Interval
    verdict: str
    fetched_at: str = ""


class LiquidationReportOperator(BaseLakeOperator):
    """Find the liquidations of an account in its lake, those without an order of the account's own included.

    One object per scope and UTC day is written beside the datasets, with a row for each event: ``certain`` (orders of
    `force_liquidation`, or a liquidation loan), ``takeover`` (the ledger alone tells) or ``candidate``. A day for which
    an object of any dataset is missing or proves nothing has a row ``cannot_tell``, which says what to do: only a day
    without any row is one without a liquidation. The rule is `operators/liquidation_report.sql`.

    The parameters of `BaseLakeOperator` are given as they were for loading; `start` and `end` are UTC midnights, and
    the report has days, whatever the `grain`. Beside them:

    :param report_key: the report's own key, `s3_key` with the dataset ``liquidation_report`` if not given (templated)
    :param fresh: an empty object fetched later than this after its interval's end proves nothing; timedelta or seconds
    """

    template_fields: Sequence[str] = (*BaseLakeOperator.template_fields, "report_key")

    def __init__(
        self,
        *,
        report_key: str | None = None,
        grain: Grain = "day",
        account: str = "binance_default",
        fresh: timedelta | float = timedelta(days=7),
        **kwargs: Any,
    ) -> None:
        super().__init__(grain=grain, account=account, **kwargs)
        self.report_key = report_key
        self.fresh = fresh
        if grain not in GRAINS:
            raise ValueError(f"grain must be one of {', '.join(GRAINS)}, not {grain!r}")
        self.check_place(self.s3_key, report_key)

    def execute(self, context: Context) -> dict[str, Any]:
        """Report on the run's interval and return the small result: counts, and at most 100 events and reasons."""
        self.s3_extra_args = self.render_template(self.s3_extra_args, context)  # no template field, which is stored
        try:
            result = self._report(context)
        except KNOWN_ERRORS as error:
            raise task_error(error) from None
        summary = {name: value for name, value in result.items() if name != "keys"}
        for event in result["events"]:
            self.log.info("%s: scope %s, %s to %s", *map(event.get, ("level", "scope", "first_time", "last_time")))
        for doubt in result["doubts"]:
            self.log.warning("cannot tell: scope %s, %s: %s", *map(doubt.get, ("scope", "day", "reason")))
        counts = ", ".join(f"{result[level]} {level}" for level in (*LEVELS, CANNOT_TELL))
        self.log.info("Reported on %d days: %s.", result["objects"], counts)
        self.tell_outlets(context, summary)
        return result

    def _report(self, context: Context) -> dict[str, Any]:
        if find_spec("duckdb") is None:
            raise LakeError("the report needs an extra: pip install 'airflow-provider-binance-margin[report]'")
        plan = resolve_plan(context, start=self.start, end=self.end, grain="day")
        account, run = checked_account(self.account), run_of(context, is_resumed=False)
        wanted = [each.scope for each in series_of(_ORDERS, self.isolated_symbol)]
        scopes = list(map(str, wanted))
        bucket, lake_key, report_key = self._target()
        days = [
            (render(report_key, identity), identity)
            for interval in plan.objects()
            for identity in (ObjectIdentity(DATASET, interval, scope, account) for scope in scopes)
        ]
        check_keys(report_key, days)
        store = self.open_store(bucket)
        with (
            TemporaryDirectory(prefix="liquidation-report-") as folder,
            ThreadPoolExecutor(self.max_workers, "s3-object") as pool,
        ):
            around = join(
                widen(Interval(each.start - DAY_MS, each.end + DAY_MS), self.grain or "day") for each in plan.intervals
            )
            series = series_of(list(DATASETS), [scope.isolated_symbol for scope in wanted])
            read = [each for each in series if each.scope in wanted]  # of a pair, nothing of the cross account
            tasks = object_tasks(LoadPlan(around, plan.source, self.grain), lake_key, read, account)
            sources = list(bounded_map(pool, self.max_workers, lambda task: self._read(store, task, folder), tasks))
            with _database(folder) as db:
                report = Report(scopes, sources, *_apply_rule(db))
            made = [(day, report.rows_of(day[1])) for day in days]
            for _ in bounded_map(pool, self.max_workers, lambda each: self._write(store, run, report, *each), made):
                pass
        bounds = {"start": iso(plan.intervals[0].start), "end": iso(plan.intervals[-1].end), "source": plan.source}
        return {**bounds, "account": account, "scopes": scopes, "bucket": store.bucket, **_summary(made)}

    def _target(self) -> tuple[str | None, str, str]:
        """Bucket, key template of the lake and of the report."""
        bucket, key = target_of(self.s3_bucket, self.s3_key)
        report_key = key if self.report_key is None else self.report_key
        for each in (key, report_key):
            check_key(each)
        if "://" in report_key:
            raise LayoutError("report_key must be a key alone: the report is written into the lake's bucket")
        if "{dataset}" not in key:
            raise LayoutError(f"the key {key!r} must hold {{dataset}}: the report reads {', '.join(DATASETS)}")
        return bucket, key, report_key

    def _read(self, store: ObjectStore, task: ObjectTask, folder: str) -> Source:
        """Judge one object by what it states about itself, and copy the rows it holds."""
        identity, existing = task.identity, store.head(task.key)
        metadata = existing.metadata if existing else {}
        records = existing.records if existing else 0
        verdict: str = judge(identity, existing, records, expect_empty=True, fresh=seconds(self.fresh))
        if existing and verdict not in _UNREAD:
            if verdict == "complete" and metadata.get("proof") not in _PROVED:
                verdict = "claim"
            if not _copy(store, task, existing, Path(folder, identity.dataset)):
                verdict = "corrupt"
        return Source(identity.dataset, identity.scope, identity.interval, verdict, metadata.get("fetched-at", ""))

    @staticmethod
    def _write(store: ObjectStore, run: Run, report: Report, day: Day, rows: Sequence[Row]) -> None:
        from airflow_provider_binance_margin.transfers.object_store import write_body

        key, identity = day

        def refuse_foreign(existing: Existing | None) -> None:
            if existing and not identity.describes(existing.metadata):
                raise ObjectStaysError(
                    f"s3://{store.bucket}/{key} holds {whose(existing.metadata)} and must not be replaced by "
                    f"{whose(identity.as_metadata())}",
                    "Let report_key name another place.",
                )

        fetched = parse(report.fetched_at(identity.scope, identity.interval))
        with write_body(key, map(msgspec.json.encode, rows), COLUMNS) as body:
            store.put(
                key,
                body,
                refuse_foreign,
                identity=identity,
                run=run,
                records=len(rows),
                total=len(rows),
                proof="claim" if any(row["level"] == CANNOT_TELL for row in rows) else "derived",
                first=min((row["first_time"] for row in rows), default=None),
                last=max((row["last_time"] for row in rows), default=None),
                fetched_at=None if fetched is None else ms(fetched),
            )


def _copy(store: ObjectStore, task: ObjectTask, existing: Existing, folder: Path) -> bool:
    """Write an object's rows as DuckDB reads them; False if its bytes are not those that were put."""
    owner = {"account": task.identity.account, "scope": task.identity.scope}
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        body = cast("IO[bytes]", file)
        if store.sha256(task.key, existing.etag, body) != existing.metadata.get("body-sha256"):
            return False
        body.seek(0)
        if existing.metadata.get("rows") != "0":
            folder.mkdir(exist_ok=True)
            with (folder / f"{hashlib.sha256(task.key.encode()).hexdigest()}.jsonl").open("wb") as copy:
                for row in read_rows(body, suffix_of(task.key), dataset_of(task.identity.dataset).columns):
                    copy.write(msgspec.json.encode({**row, **owner}) + b"\n")
    return True


class Report:
    """Findings of the rule (`entries` are scope and moment of all evidence), with the objects that it was shown."""

    def __init__(
        self,
        scopes: Sequence[str],
        sources: Sequence[Source],
        events: Sequence[Row],
        entries: Sequence[tuple[str, int]],
    ) -> None:
        self._sources: dict[tuple[str, int], list[Source]] = defaultdict(list)
        self._events: dict[tuple[str, int], list[Row]] = defaultdict(list)
        self._entries: dict[tuple[str, int], list[int]] = defaultdict(list)
        for source in sorted(sources):
            for day in source.interval.days():
                self._sources[source.scope, day].append(source)
        for event in events:
            # what is of a pair that was not asked for, which an answer without a pair may hold, is told with the first
            scope = event["scope"] if event["scope"] in scopes else scopes[0]
            self._events[scope, event["first_time"] // DAY_MS].append(self._as_proved(event))
        for scope, moment in entries:
            self._entries[scope, moment // DAY_MS].append(moment)

    def rows_of(self, identity: ObjectIdentity) -> list[Row]:
        """The rows of one scope's day: what cannot be told, then the events that began in it."""
        scope, day = identity.scope, identity.interval
        events = self._events[scope, day.start // DAY_MS]
        doubts = self._doubts(scope, day, events)
        if not doubts:
            return events
        row = {
            "account": identity.account,
            "scope": scope,
            "level": CANNOT_TELL,
            "first_time": day.start,
            "last_time": day.end - 1,
            "evidence": [
                {"dataset": each.dataset, "id": None, "symbol": None, "type": each.verdict, "time": each.interval.start}
                for each in doubts
            ],
            "amounts": [],
            "fees": [],
            "activity": None,
            "reason": _reason(scope, doubts),
        }
        return [row, *events]

    def fetched_at(self, scope: str, day: Interval) -> str:
        """Time at which the last of a day's objects was fetched; empty without any."""
        return max((each.fetched_at for each in self._of(scope, day)), default="")

    def _of(self, scope: str, interval: Interval) -> Iterator[Source]:
        found = dict.fromkeys(each for day in interval.days() for each in self._sources.get((scope, day), ()))
        return (each for each in found if each.interval.overlaps(interval))

    def _doubts(self, scope: str, day: Interval, events: Sequence[Row]) -> list[Source]:
        """The objects without which a day cannot be told: its own, and a neighbour's where an event may lie in both."""
        windows, moments = [day], self._entries[scope, day.start // DAY_MS]
        if moments and min(moments) < day.start + _GAP:
            windows.append(Interval(day.start - _GAP, day.start))
        if moments and max(moments) >= day.end - _GAP:
            windows.append(Interval(day.end, day.end + _GAP))
        if any(all(each["dataset"] == _LOANS for each in event["evidence"]) for event in events):
            windows.append(Interval(day.start - DAY_MS, day.start))  # a loan is of what was up to a day before
        found = dict.fromkeys(each for window in windows for each in self._of(scope, window))
        return [each for each in found if each.verdict != "complete"]

    def _as_proved(self, event: Row) -> Row:
        """An event without what the objects do not prove: the orders that make it a takeover, the whole activity."""
        around = Interval(event["first_time"] - _GAP, event["last_time"] + _GAP)
        orders = (each for each in self._of(event["scope"], around) if each.dataset == _ORDERS)
        blind = event["level"] == "takeover" and any(each.verdict in _UNREAD for each in orders)
        reason = "a takeover or a regular liquidation: force_liquidation is not there to tell" if blind else None
        level = "candidate" if blind else event["level"]
        before = list(self._of(event["scope"], Interval(event["first_time"] - DAY_MS, event["last_time"] + 1)))
        is_whole = before and all(each.verdict == "complete" for each in before if each.dataset in _ACTIVITY)
        return {**event, "level": level, "activity": event["activity"] if is_whole else None, "reason": reason}


def _reason(scope: str, doubts: Sequence[Source]) -> str:
    """The fault of each dataset, and its cure."""
    wrong: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    for each in doubts:
        wrong[each.dataset, each.verdict].append(each.interval)
    pair = "" if scope == CROSS else f', isolated_symbol="{scope}"'
    return "; ".join(
        f"{dataset} {' '.join(map(str, join(intervals)))} is {verdict}: "
        + _CURES.get(verdict, f'load it with MarginHistoryToS3Operator(dataset="{dataset}"{pair}) and report again')
        for (dataset, verdict), intervals in wrong.items()
    )


@contextmanager
def _database(folder: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the relations that the rule reads."""
    import duckdb

    with duckdb.connect(config={"temp_directory": folder, "autoinstall_known_extensions": False}) as db:
        for name, dataset in DATASETS.items():
            Path(folder, name).mkdir(exist_ok=True)
            Path(folder, name, "none.jsonl").touch()
            columns = {field: _SQL_TYPES.get(kind, "BIGINT") for field, kind in dataset.columns.items()}
            columns |= {"account": "VARCHAR", "scope": "VARCHAR"}
            rows = db.read_json(f"{folder}/{name}/*.jsonl", format="newline_delimited", columns=columns)
            rows.create_view(name)
        yield db


def _apply_rule(db: duckdb.DuckDBPyConnection) -> tuple[list[Row], list[tuple[str, int]]]:
    """The events, and scope and moment of all that could be evidence."""
    found = db.execute(files(__package__).joinpath(_RULE).read_text())
    names = [column[0] for column in found.description or ()]
    events = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return events, db.execute("SELECT DISTINCT scope, moment FROM liquidation_entries").fetchall()


def _summary(made: Sequence[tuple[Day, Sequence[Row]]]) -> dict[str, Any]:
    """The part of the result that is counted; ``none`` are days of a scope without a liquidation, and none missed."""
    rows = sorted((row for _, found in made for row in found), key=lambda row: (row["first_time"], row["scope"]))
    levels = Counter(row["level"] for row in rows)
    events = [row for row in rows if row["level"] != CANNOT_TELL][:_MOST_LISTED]
    doubts = [row for row in rows if row["level"] == CANNOT_TELL][:_MOST_LISTED]
    return {
        "objects": len(made),
        **{level: levels[level] for level in (*LEVELS, CANNOT_TELL)},
        "none": sum(not found for _, found in made),
        "events": [
            {
                **{name: row[name] for name in ("scope", "level", "fees")},
                **{name: iso(row[name]) for name in ("first_time", "last_time")},
            }
            for row in events
        ],
        "doubts": [
            {"scope": row["scope"], "day": iso(row["first_time"])[:10], "reason": row["reason"]} for row in doubts
        ],
        "keys": sorted(key for (key, _), _ in made)[:_MOST_LISTED],
    }
