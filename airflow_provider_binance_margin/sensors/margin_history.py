"""Sensor of records of the margin account."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceThrottledError, BinanceTransientError
from airflow_provider_binance_margin.exchange.scope import scope_of
from airflow_provider_binance_margin.failures import KNOWN_ERRORS, task_error
from airflow_provider_binance_margin.lake.interval import Grain, IntervalError, ms, parse
from airflow_provider_binance_margin.load_plan import resolve_plan
from airflow_provider_binance_margin.options import (
    check_dataset,
    check_windows,
    name_map_index,
    seconds,
    seconds_or_none,
)
from airflow_provider_binance_margin.retry_policy import default_retry_policy
from airflow_provider_binance_margin.triggers.outcome import describe, error_of, outcome_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.exchange.counter import RecordCounter
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

#: windows of `max_span` that a rescheduled sensor without state may ask for at each poke
_FEW = 4


class MarginHistorySensor(BaseSensorOperator):
    """Wait until records of a dataset have appeared in a window.

    The window is the run's interval (chosen as by `MarginHistoryToS3Operator`), `start` to `end`, or everything from
    `start` on. A poll is one request of one row, or of one page where the endpoint states no total. A window that has
    ended and settled with too few records ends the wait at once, by `on_empty`. Transient errors (network, 5xx, 429, a
    ban) are logged and waited out, a ban until its end; all others (a rejected key) fail the task without retries, with
    `soft_fail` and `never_fail` too. Poke, reschedule and deferrable behave alike. Returns ``{"total", "newest",
    "start", "end", "dataset", "isolated_symbol", "binance_conn_id"}``: the exchange's total and the newest row.

    One sensor watches one dataset and scope. Beside the parameters that it has in common with `LakeOperator`:

    :param min_records: number of records to wait for
    :param on_empty: for a closed window with too few records: ``"skip"``, ``"fail"`` or ``"pass"``
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default
    """

    template_fields: Sequence[str] = ("start", "end", "dataset", "isolated_symbol", "filters", "binance_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}
    ui_color = "#f3ba2f"

    def __init__(
        self,
        *,
        dataset: str,
        start: Any = None,
        end: Any = None,
        grain: Grain | None = None,
        isolated_symbol: str | None = None,
        filters: Mapping[str, str] | None = None,
        min_records: int = 1,
        on_empty: Literal["skip", "fail", "pass"] = "skip",
        settle: timedelta | float = 60.0,
        max_span: timedelta | float | None = None,
        binance_conn_id: str = "binance_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.start = start
        self.end = end
        self.grain = grain
        self.isolated_symbol = isolated_symbol
        self.filters = filters
        self.min_records = min_records
        self.on_empty = on_empty
        self.settle = settle
        self.max_span = max_span
        self.binance_conn_id = binance_conn_id
        self.deferrable = deferrable
        self._hook: BinanceHook | None = None
        self._counter: RecordCounter | None = None
        self._bounds: tuple[int, int | None] | None = None
        self._saved: dict[str, Any] | None = None
        self._retry_after = 0.0
        self._not_before = -math.inf
        default_retry_policy(self)
        check_windows(grain=grain, settle=settle, max_span=max_span)
        if on_empty not in ("skip", "fail", "pass"):
            raise ValueError(f'on_empty must be "skip", "fail" or "pass", not {on_empty!r}')
        if min_records < 1:
            raise ValueError(f"min_records must be 1 or more, not {min_records!r}")
        # a mapped task is built again where it runs, which checks what it was given, and fails for good
        if not getattr(self, "_BaseOperator__from_mapped", False):
            check_dataset(dataset, isolated_symbol, filters)

    # -- on a worker -----------------------------------------------------------------------------------------------

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once; not before the exchange allows it, nor after the sensor's timeout."""
        name_map_index(context)
        if time.monotonic() < self._not_before or (self.reschedule and self._is_overdue(context)):
            return PokeReturnValue(is_done=False)
        try:
            outcome = self._poll(context)
        except KNOWN_ERRORS as error:
            raise self._final(error) from None
        if outcome is None or outcome["status"] == "waiting":
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(outcome))

    def _poll(self, context: Context) -> dict[str, Any] | None:
        """Outcome of one poll; None after a transient error."""
        self._retry_after = 0.0
        start, end = self._bounds = self._bounds or self._window(context)
        try:
            hook, counter = self._connect(context, start, end)
            try:
                count = hook.count(counter)
            finally:
                self._save(context, counter)
        except BinanceTransientError as error:
            self.log.warning("Poll failed, will retry: %s", error)
            if isinstance(error, BinanceThrottledError):
                self._retry_after = error.retry_after + 1
                self._not_before = time.monotonic() + error.retry_after
            return None
        outcome = outcome_of(count, start, self)
        self.log.info(describe(outcome, self.min_records))
        return outcome

    def _final(self, error: Exception) -> Exception:
        """Make the error that fails the task: `soft_fail` and `never_fail` are for records that do not come."""
        self.soft_fail = self.never_fail = False  # which Airflow reads next
        return task_error(error)

    def _connect(self, context: Context, start: int, end: int | None) -> tuple[BinanceHook, RecordCounter]:
        from airflow_provider_binance_margin.hooks.binance import BinanceHook

        if self._hook is None or self._counter is None:
            dataset = dataset_of(self.dataset)
            scope = scope_of(dataset, self.isolated_symbol, self.filters)
            self._check_reach(context, start, end)
            self._hook = BinanceHook(self.binance_conn_id)
            self._counter = self._hook.settings.counter(
                dataset, scope, start, end, settle=seconds(self.settle), max_span=seconds_or_none(self.max_span)
            )
            self._load(context, self._counter)
        return self._hook, self._counter

    # -- state between the pokes of a rescheduled sensor, each a process of its own (Airflow 3.3) --------------------

    def _check_reach(self, context: Context, start: int, end: int | None) -> None:
        """Refuse a long window that each poke would count anew, since no state is kept."""
        now = time.time()
        will_close = end is None or end / 1000 + seconds(self.settle) > now
        if not self._is_rescheduled or "task_state_store" in context or not will_close:
            return
        windows = (now * 1000 - start) / dataset_of(self.dataset).span_ms(seconds_or_none(self.max_span))
        if windows > _FEW and context["ti"].get_first_reschedule_date(context) is None:
            raise IntervalError(
                f"start lies {windows:.0f} times max_span back, which a rescheduled sensor would ask for at each poke, "
                'since this Airflow keeps no state of tasks (3.3 does): set mode="poke" or deferrable=True, or a later '
                "start"
            )

    def _load(self, context: Context, counter: RecordCounter) -> None:
        if self._is_rescheduled and (store := context.get("task_state_store")) is not None:
            try:
                counter.recall(store.get(_state_key(context)))
            except Exception as error:  # noqa: BLE001 - counting anew costs only requests
                self.log.warning("Task state not read (%s): counting from the start.", type(error).__name__)
        self._saved = counter.memory

    def _save(self, context: Context, counter: RecordCounter) -> None:
        if self._is_rescheduled and counter.memory != self._saved and "task_state_store" in context:
            try:
                context["task_state_store"].set(_state_key(context), counter.memory)
            except Exception as error:  # noqa: BLE001 - as above
                self.log.warning("Task state not written (%s): the next poke starts anew.", type(error).__name__)

    @property
    def _is_rescheduled(self) -> bool:
        return self.reschedule and not self.deferrable

    def _window(self, context: Context) -> tuple[int, int | None]:
        """The window in ms; its end is None where only its start is given."""
        start = parse(self.start)
        if start is not None and parse(self.end) is None:
            return ms(start), None
        intervals = resolve_plan(context, start=self.start, end=self.end, grain=self.grain).intervals
        return intervals[0].start, intervals[-1].end

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """Wait as any sensor, but not less than the exchange asks for; a deferrable one waits in the triggerer."""
        interval = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        if self._retry_after > interval:  # the next poke may be another process, which would not know
            interval = min(self._retry_after, max(self.timeout - run_duration(), 0.0) + 1)
        if self.deferrable:
            self._wait_in_triggerer(max(interval, self._retry_after))
        return interval

    def _is_overdue(self, context: Context) -> bool:
        """True past the timeout of a rescheduled sensor, which Airflow checks only after the poke."""
        first = context["ti"].get_first_reschedule_date(context)
        return first is not None and (datetime.now(UTC) - first).total_seconds() > self.timeout

    def on_kill(self) -> None:
        """End the wait."""
        if self._hook is not None:
            self._hook.close()

    # -- in the triggerer ------------------------------------------------------------------------------------------

    def _wait_in_triggerer(self, interval: float) -> NoReturn:
        from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryTrigger

        assert self._bounds is not None
        trigger = MarginHistoryTrigger(
            dataset=self.dataset,
            binance_conn_id=self.binance_conn_id,
            isolated_symbol=self.isolated_symbol,
            filters=self.filters,
            start=self._bounds[0],
            end=self._bounds[1],
            min_records=self.min_records,
            settle=seconds(self.settle),
            max_span=seconds_or_none(self.max_span),
            poke_interval=self.poke_interval,
            exponential_backoff=bool(self.exponential_backoff),
            max_wait=seconds_or_none(self.max_wait),
            not_before=time.time() + interval,
            memory=None if self._counter is None else self._counter.memory,
        )
        self.defer(trigger=trigger, method_name="execute_complete", timeout=self._time_left())

    def _time_left(self) -> timedelta:
        timeout = timedelta(seconds=self.timeout)
        return timeout if self.execution_timeout is None else min(timeout, self.execution_timeout)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:  # noqa: ARG002 - Airflow's names
        """Conclude from the trigger's event."""
        if event["status"] == "failed":
            raise self._final(error_of(event))
        self.log.info(describe(event, self.min_records))
        return self._conclude(event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as any sensor, but name `execution_timeout` where that was the limit."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout:
            if self._time_left() < timedelta(seconds=self.timeout):
                raise AirflowTaskTimeout(f"Timeout: execution_timeout of {self.execution_timeout}") from None
            if self.soft_fail or self.never_fail:  # which Airflow 3.0 does not check here
                raise AirflowSkipException("Skipping the task, since soft_fail or never_fail is set.") from None
            raise
        except AirflowSkipException as skipped:
            cause = skipped.__cause__
            if cause is None or self.never_fail or type(cause).__name__ != "TaskDeferralError":
                raise
            raise cause from None  # a trigger that broke is a failure, and not a timeout

    def _conclude(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result, or end the task by `on_empty`."""
        if outcome["status"] == "closed" and self.on_empty != "pass":
            end = AirflowSkipException if self.on_empty == "skip" else AirflowFailException
            raise end(describe(outcome, self.min_records))
        return {name: value for name, value in outcome.items() if name != "status"}


def _state_key(context: Context) -> str:
    """One key per clear of the run, which the state of a task outlives."""
    return f"binance-closed-{getattr(context['dag_run'], 'clear_number', 0)}"
