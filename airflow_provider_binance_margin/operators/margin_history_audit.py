"""Audit of the lake, one dataset a task."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_binance_margin.coverage import CoverageLink, record
from airflow_provider_binance_margin.load_plan import LoadPlan
from airflow_provider_binance_margin.operators.lake_operator import LakeOperator
from airflow_provider_binance_margin.options import seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.exchange.paging import Reader
    from airflow_provider_binance_margin.lake.audit import Finding
    from airflow_provider_binance_margin.lake.coverage import AuditedDays
    from airflow_provider_binance_margin.transfers.object_loader import ObjectTask, OnEmpty
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

#: the second where this machine's clock is ahead of the exchange's, which is known after the first
_LOOKS = 2


class MarginHistoryAuditOperator(LakeOperator):
    """Walk a range of intervals and hold what the lake's objects state against the exchange's totals.

    Each interval costs one look at its object and one request of one row (several where it is longer than `max_span`).
    The result counts and lists (at most 100 of each) what is ``missing``, ``short`` of records, ``corrupt`` (of another
    size than it states, or, with `verify_content`, of other bytes) or
    ``foreign``; ``long`` objects hold more than the exchange states today, which is normal past the exchange's memory;
    a ``claim`` was loaded as one, or is empty and was fetched long after its interval's end: the exchange may have
    forgotten; ``unfinished`` objects hold rows in a state that may still change. Where no total is stated, the
    rows are read and counted. ``gaps`` are the intervals to load again, for
    ``MarginHistoryToS3Operator.partial(...).expand_kwargs(...)``.

    :param dataset: the dataset's name, one of `exchange.datasets.DATASETS` (templated)
    :param s3_bucket: as it was for loading (templated)
    :param s3_key: as it was for loading (templated)
    :param start: start of the range, inclusive; the run's interval if neither it nor `end` is given (templated)
    :param end: end of the range, exclusive (templated)
    :param grain: the length of one object, as it was for loading
    :param isolated_symbol: as it was for loading (templated)
    :param filters: as it was for loading (templated)
    :param account: as it was for loading (templated)
    :param on_gap: ``"fail"`` the task when something is missing, short, corrupt, unfinished or foreign, or only
        ``"report"`` it
    :param on_empty: as it was for loading: with ``"none"`` or ``"skip"``, an interval without records has no object
    :param verify_content: also read each object and hold its bytes against the checksum in its metadata
    :param fresh: an empty object fetched later than this after its interval's end is a claim; timedelta or seconds
    :param settle: how long after its end an interval counts as closed; timedelta or seconds
    :param max_span: the longest window asked of the exchange at once, the dataset's own if not given or longer
    :param max_workers: intervals looked at side by side
    :param s3_extra_args: of these, what a HEAD needs (customer keys, requester pays)
    :param binance_conn_id: the connection to the exchange (templated)
    :param aws_conn_id: the connection to S3; None for boto's own chain (templated)
    :param verify: as for `S3Hook`
    :param deferrable: whether to wait in the triggerer for an interval to settle and for a ban to end
    """

    operator_extra_links = (CoverageLink(),)

    def __init__(
        self,
        *,
        on_gap: Literal["fail", "report"] = "fail",
        on_empty: OnEmpty = "write",
        verify_content: bool = False,
        fresh: timedelta | float = timedelta(days=7),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_gap = on_gap
        self.on_empty = on_empty
        self.verify_content = verify_content
        self.fresh = fresh
        self._audited: AuditedDays | None = None
        if on_gap not in ("fail", "report"):
            raise ValueError(f'on_gap must be "fail" or "report", not {on_gap!r}')
        if on_empty not in ("write", "none", "skip"):
            raise ValueError(f'on_empty must be "write", "none" or "skip", as it was for loading, not {on_empty!r}')

    def work(self, context: Context) -> dict[str, Any]:
        """Audit the run's interval and return the report."""
        return self._audit(self.plan(context))

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Tell what was found, store it for the page, and fail if it is to."""
        from airflow_provider_binance_margin.lake.audit import FAULTS

        self._tell(result)
        if self._audited is not None:
            place = f"s3://{result['bucket']}/{self.target()[1]}", self.grain or ""
            record(context, self, self._audited, place)
        faults = {verdict: result["counts"][verdict] for verdict in FAULTS}
        if self.on_gap == "fail" and any(faults.values()):
            found = ", ".join(f"{number} {verdict}" for verdict, number in faults.items() if number)
            raise AirflowFailException(
                f"The lake is not complete from {result['start']} to {result['end']}: {found} of {result['checked']} "
                "intervals. The log lists them; load them again"
            )
        return result

    def _audit(self, choice: LoadPlan) -> dict[str, Any]:
        from airflow_provider_binance_margin.lake.audit import report
        from airflow_provider_binance_margin.lake.coverage import AuditedDays
        from airflow_provider_binance_margin.transfers.bounded_map import bounded_map
        from airflow_provider_binance_margin.transfers.load import object_tasks, pools

        bucket, template = self.target()
        identity = self.identity()
        hook, store = self.connect(bucket)
        reader = hook.reader(
            self.known_dataset, self.span(), isolated_symbol=self.isolated_symbol, filters=self.filters, size=1
        )
        with pools(hook, self.max_workers) as (calls, _):
            self.await_settled(hook, choice)
            for _ in range(_LOOKS):
                jobs = object_tasks(choice, template, **identity)
                self._audited = AuditedDays()
                result = report(bounded_map(calls, self.max_workers, lambda job: self._look(reader, store, job), jobs))
                if not hook.unsettled(choice, seconds(self.settle)):
                    break
                # by the exchange's clock, which this machine's is ahead of: what was seen may have been too early
                self.await_settled(hook, choice)
        return {**self.summary(choice, store.bucket), **result}

    def _look(self, reader: Reader, store: ObjectStore, job: ObjectTask) -> Finding:
        """One interval: one look at the object, one question to the exchange."""
        from airflow_provider_binance_margin.lake.audit import Finding, Verdict, judge
        from airflow_provider_binance_margin.lake.object_metadata import stated_records

        existing = store.head(job.key)
        metadata = existing.metadata if existing else None
        total = reader.count(job.subject.interval.start, job.subject.interval.end)
        verdict: Verdict = judge(
            job.subject,
            metadata,
            total,
            size=existing.size if existing else 0,
            expect_empty=self.on_empty == "write",
            fresh_ms=int(seconds(self.fresh) * 1000),
        )
        if existing and self.verify_content and verdict not in ("foreign", "missing", "corrupt"):
            intact = store.sha256(job.key, existing.etag) == existing.metadata.get("body-sha256")
            verdict = verdict if intact else "corrupt"
        records = None if metadata is None else stated_records(metadata)
        reason = "what is there does not state its account" if existing and verdict == "missing" else ""
        finding = Finding(job.subject.interval, job.key, verdict, records, total, reason)
        if self._audited is not None:
            self._audited.add(job.subject, finding)
        return finding

    def _tell(self, result: dict[str, Any]) -> None:
        from airflow_provider_binance_margin.lake.audit import FAULTS

        self.log.info("Audited %d intervals: %s", result["checked"], result["counts"])
        for verdict in (*FAULTS, "long", "claim"):
            for found in result[verdict]:
                reason = f" ({found['reason']})" if "reason" in found else ""
                self.log.warning(
                    "%s%s: [%s, %s) has %s records, the exchange states %s: %s",
                    *(verdict, reason, found["start"], found["end"], found["records"], found["total"], found["key"]),
                )
