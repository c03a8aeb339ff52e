"""Audit of the lake."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_binance_margin.coverage import CoverageLink, record
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceRequestError
from airflow_provider_binance_margin.lake.audit import FAULTS, Finding, judge, ranges_of, report, series_in_words
from airflow_provider_binance_margin.lake.coverage import AuditedDays
from airflow_provider_binance_margin.load_plan import load_before
from airflow_provider_binance_margin.metrics import send_metric
from airflow_provider_binance_margin.options import seconds
from airflow_provider_binance_margin.transfers.bounded_map import bounded_map, thread_pools
from airflow_provider_binance_margin.transfers.lake_operator import LakeOperator
from airflow_provider_binance_margin.transfers.object_tasks import ObjectTask, object_tasks
from airflow_provider_binance_margin.transfers.series import concerns_one_series

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.exchange.paging import Reader
    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore
    from airflow_provider_binance_margin.transfers.series import Series

#: the second where this machine's clock is ahead of the exchange's, which is known after the first
_LOOKS = 2
_MOST_REJECTED = 10


class MarginHistoryAuditOperator(LakeOperator):
    """Walk a range of intervals and hold what the lake's objects state against the exchange's totals.

    Each interval costs one look at its object and one request of one row (several where it is longer than `max_span`);
    where no total is stated, the rows are read and counted. The result counts and lists (at most 100 of each) the
    verdicts, which `lake.audit.Verdict` explains. ``gaps`` are the intervals to load again, for
    ``MarginHistoryToS3Operator.partial(...).expand_kwargs(...)``. ``expiring`` names the first of them that the
    exchange forgets within two weeks, and when.

    The parameters of `LakeOperator` are given as they were for loading (`on_empty` says whether an interval without
    records has an object); beside them:

    :param on_gap: ``"fail"`` the task when something is missing, short, corrupt, unfinished or foreign, or only
        ``"report"`` it
    :param verify_content: also read each object and hold its bytes against the checksum in its metadata
    :param fresh: an empty object fetched later than this after its interval's end is a claim; timedelta or seconds
    """

    operator_extra_links = (CoverageLink(),)
    #: whether gaps name their dataset
    names_dataset: ClassVar[bool] = True
    _audited: AuditedDays

    def __init__(
        self,
        *,
        on_gap: Literal["fail", "report"] = "fail",
        verify_content: bool = False,
        fresh: timedelta | float = timedelta(days=7),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_gap = on_gap
        self.verify_content = verify_content
        self.fresh = fresh
        if on_gap not in ("fail", "report"):
            raise ValueError(f'on_gap must be "fail" or "report", not {on_gap!r}')

    def work(self, context: Context) -> dict[str, Any]:
        """Audit the run's interval and return the report."""
        plan = self.plan(context)
        bucket, template = self.target()
        series, account = self.series(), self.known_account()
        hook, store = self.connect(bucket)
        readers = self.readers(hook, series, size=1)
        is_mapped = getattr(self, "_BaseOperator__from_mapped", False)
        arguments = series.arguments(is_mapped=is_mapped and self.names_dataset)
        rejected: dict[Series, str] = {}

        def look(task: ObjectTask) -> Finding | None:
            if task.series not in rejected:
                try:
                    return self._look(hook, store, task, readers[task.series], arguments[task.series])
                except (BinanceConfigError, BinanceRequestError) as error:
                    if len(series) == 1 or not concerns_one_series(error):
                        raise
                    rejected.setdefault(task.series, f"{task.series}: {error}")
            return None

        with thread_pools(hook, self.max_workers) as (calls, _):
            self.await_settled(hook, plan)
            for _ in range(_LOOKS):
                self._audited = AuditedDays()
                tasks = object_tasks(plan, template, series, account)
                result = report(filter(None, bounded_map(calls, self.max_workers, look, tasks)))
                if not hook.unsettled(plan, seconds(self.settle)):
                    break
                # by the exchange's clock, which this machine's is ahead of: what was seen may have been too early
                self.await_settled(hook, plan)
        if rejected:
            result["rejected"] = sorted(rejected.values())[:_MOST_REJECTED]
        return {**self.summary(plan, store.bucket), **result}

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Tell what was found, store it for the page, and fail if it is to."""
        self._tell(result)
        place = f"s3://{result['bucket']}/{self.target()[1]}", self.grain or ""
        record(context, self, self._audited, place)
        for subject, verdict, number in self._audited.counts():
            send_metric("gauge", f"audit.{verdict}", number, subject)
        if "rejected" in result:
            raise AirflowFailException(
                f"The exchange refuses some of the audited datasets or scopes: {'; '.join(result['rejected'])}. The "
                "verdicts on the rest are in the log"
            )
        counts = result["counts"]
        found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in FAULTS if counts[verdict])
        if self.on_gap == "fail" and found:
            expiring = "".join(
                f", the first before {first['load_before']}: the exchange forgets it then"
                for first in result["expiring"][:1]
            )
            raise AirflowFailException(
                f"The lake is not complete from {result['start']} to {result['end']}: {found} of {result['checked']} "
                f"intervals. The log lists them; load them again{expiring}"
            )
        return result

    def _look(
        self, hook: BinanceHook, store: ObjectStore, task: ObjectTask, reader: Reader, arguments: dict[str, Any]
    ) -> Finding:
        """Audit one interval: HEAD its object, and request the exchange's total."""
        existing = store.head(task.key)
        total = reader.count(*task.identity.interval)
        expect_empty, fresh = self.on_empty == "write", seconds(self.fresh)
        verdict = judge(task.identity, existing, total, expect_empty=expect_empty, fresh=fresh)
        if existing and self.verify_content and verdict not in ("foreign", "missing", "corrupt"):
            intact = store.sha256(task.key, existing.etag) == existing.metadata.get("body-sha256")
            verdict = verdict if intact else "corrupt"
        records = existing.records if existing else None
        reason = "what is there does not state its account" if existing and verdict == "missing" else ""
        interval = task.identity.interval
        expires = load_before(hook.exchange_time(), interval.start, task.series.dataset)
        finding = Finding(interval, task.key, verdict, records, total, reason, expires, arguments)
        self._audited.add(task.identity, finding)
        return finding

    def _tell(self, result: dict[str, Any]) -> None:
        for first in result["expiring"]:
            self.log.warning(
                "expiring: [%s, %s)%s is not loaded, and the exchange forgets it from %s on: load it before then.",
                *(first["start"], first["end"], series_in_words(first), first["load_before"]),
            )
        for verdict in ("long", "claim"):  # no faults, and many of them: ranges
            for series, ranges in ranges_of(result[verdict]).items():
                self.log.info("%s%s: %s", verdict, series, ", ".join(map(str, ranges)))
        for verdict in FAULTS:
            for found in result[verdict]:
                reason = f" ({found['reason']})" if "reason" in found else ""
                has = "no object" if found["records"] is None else f"{found['records']} records"
                place = f"s3://{result['bucket']}/{found['key']}"
                interval = f"[{found['start']}, {found['end']})"
                self.log.warning(
                    "%s%s: %s, %s, the exchange states %d: %s", verdict, reason, interval, has, found["total"], place
                )
        counts = ", ".join(f"{number} {verdict}" for verdict, number in result["counts"].items() if number)
        self.log.info("Audited %d intervals: %s.", result["checked"], counts or "none")
