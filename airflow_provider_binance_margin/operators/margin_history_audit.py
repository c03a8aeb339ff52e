"""Audit of the lake, one dataset a task."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_binance_margin.load_plan import LoadPlan
from airflow_provider_binance_margin.operators.lake_operator import LakeOperator
from airflow_provider_binance_margin.options import seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.exchange.paging import Reader
    from airflow_provider_binance_margin.lake.audit import Finding
    from airflow_provider_binance_margin.transfers.object_loader import OnEmpty
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore
    from airflow_provider_binance_margin.transfers.object_tasks import ObjectTask

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

    The parameters of `LakeOperator` are given as they were for loading; beside them:

    :param on_gap: ``"fail"`` the task when something is missing, short, corrupt, unfinished or foreign, or only
        ``"report"`` it
    :param on_empty: as it was for loading: with ``"none"`` or ``"skip"``, an interval without records has no object
    :param verify_content: also read each object and hold its bytes against the checksum in its metadata
    :param fresh: an empty object fetched later than this after its interval's end is a claim; timedelta or seconds
    """

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
        if on_gap not in ("fail", "report"):
            raise ValueError(f'on_gap must be "fail" or "report", not {on_gap!r}')
        if on_empty not in ("write", "none", "skip"):
            raise ValueError(f'on_empty must be "write", "none" or "skip", as it was for loading, not {on_empty!r}')

    def work(self, context: Context) -> dict[str, Any]:
        """Audit the run's interval and return the report."""
        return self._audit(self.plan(context))

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow's context
        """Tell what was found, and fail if it is to."""
        from airflow_provider_binance_margin.lake.audit import FAULTS

        self._tell(result)
        faults = {verdict: result["counts"][verdict] for verdict in FAULTS}
        if self.on_gap == "fail" and any(faults.values()):
            found = ", ".join(f"{number} {verdict}" for verdict, number in faults.items() if number)
            raise AirflowFailException(
                f"The lake is not complete from {result['start']} to {result['end']}: {found} of {result['checked']} "
                "intervals. The log lists them; load them again"
            )
        return result

    def _audit(self, plan: LoadPlan) -> dict[str, Any]:
        from airflow_provider_binance_margin.lake.audit import report
        from airflow_provider_binance_margin.transfers.bounded_map import bounded_map, thread_pools
        from airflow_provider_binance_margin.transfers.object_tasks import object_tasks

        bucket, template = self.target()
        identity = self.identity()
        hook, store = self.connect(bucket)
        reader = hook.reader(
            self.known_dataset, self.span(), isolated_symbol=self.isolated_symbol, filters=self.filters, size=1
        )
        with thread_pools(hook, self.max_workers) as (calls, _):
            self.await_settled(hook, plan)
            for _ in range(_LOOKS):
                tasks = object_tasks(plan, template, **identity)
                findings = bounded_map(calls, self.max_workers, lambda task: self._look(reader, store, task), tasks)
                result = report(findings)
                if not hook.unsettled(plan, seconds(self.settle)):
                    break
                # by the exchange's clock, which this machine's is ahead of: what was seen may have been too early
                self.await_settled(hook, plan)
        return {**self.summary(plan, store.bucket), **result}

    def _look(self, reader: Reader, store: ObjectStore, task: ObjectTask) -> Finding:
        """One interval: one look at the object, one question to the exchange."""
        from airflow_provider_binance_margin.lake.audit import Finding, Verdict, judge
        from airflow_provider_binance_margin.lake.object_metadata import stated_records

        existing = store.head(task.key)
        metadata = existing.metadata if existing else None
        total = reader.count(*task.identity.interval)
        verdict: Verdict = judge(
            task.identity,
            metadata,
            total,
            size=existing.size if existing else 0,
            expect_empty=self.on_empty == "write",
            fresh_ms=int(seconds(self.fresh) * 1000),
        )
        if existing and self.verify_content and verdict not in ("foreign", "missing", "corrupt"):
            intact = store.sha256(task.key, existing.etag) == existing.metadata.get("body-sha256")
            verdict = verdict if intact else "corrupt"
        records = None if metadata is None else stated_records(metadata)
        reason = "what is there does not state its account" if existing and verdict == "missing" else ""
        return Finding(task.identity.interval, task.key, verdict, records, total, reason)

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
