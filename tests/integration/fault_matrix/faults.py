"""The faults of the matrix, as data: what goes wrong, for how long, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: a backoff's shortest first wait, less what a clock rounds away
BACKOFF = 0.36

TRANSIENT, INCOMPLETE = "BinanceTransientError", "BinanceIncompleteError"
THROTTLED, BANNED = "BinanceThrottledError", "BinanceBannedError"
CONFIG, CREDENTIAL, CLOCK = "BinanceConfigError", "BinanceCredentialError", "BinanceClockError"
REQUEST, SPAN = "BinanceRequestError", "BinanceSpanError"
FINAL = {CONFIG, CREDENTIAL, REQUEST, SPAN}
RECORDS = "records"
CALLERS = ("hook", "operator")


@dataclass(frozen=True, eq=False)
class Fault:
    """One row of the matrix.

    :param name: in words
    :param group: the heading it stands under
    :param outcome: "records", or the class of the error, for who reads all records
    :param watched: the same for who looks for one record; as `outcome` if not given
    :param kind: the sandbox's name of the fault; None for one that is none of the sandbox's
    :param options: of the sandbox's fault
    :param lasts: for ever, or for one request
    :param page: the page it happens to, for who pages
    :param backoff: whether who pages waits before asking again
    :param watch_fails: whether a look fails by it, so that the next is a poke interval later
    :param told: seconds which the exchange asks to wait
    :param requests: how many requests there are in all, where that is certain
    :param way: what is wrong with the way to the exchange: "refused", "dns" or "tls"
    :param timeout: the connection's
    """

    name: str
    group: str
    outcome: str
    watched: str | None = None
    kind: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    lasts: bool = False
    page: int | None = None
    backoff: bool = False
    watch_fails: bool = True
    told: float = 0.0
    requests: int | None = None
    way: str | None = None
    timeout: float = 10.0

    def expected(self, consumer: str) -> str:
        """The outcome's class for one consumer."""
        if consumer == "event" and self.watched == "as stated" and not self.lasts:
            return RECORDS  # its first poll is only what it starts from: it counts again
        return self.outcome if consumer in CALLERS else self.watched or self.outcome

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.name}, {'lasting' if self.lasts else 'once'}"


def both(name: str, group: str, error: str, kind: str, *, watched: str | None = None, **more: Any) -> list[Fault]:
    """A fault that passes, after which there are the records, and the same for ever."""
    return [
        Fault(name, group, RECORDS, kind=kind, **more),
        Fault(name, group, error, watched=watched, kind=kind, lasts=True, **more),
    ]


def final(name: str, group: str, error: str, kind: str, **options: Any) -> Fault:
    """What is told at once and never asked again."""
    return Fault(name, group, error, kind=kind, options=options, lasts=True, requests=1)


WAY = "Network"
ANSWER = "Unusable answers"
PAGES = "Wrong and moving pages"
WAITS = "Rate limits and bans"
REFUSED = "Final refusals"
CODES = "Error codes"

FAULTS = [
    Fault("connection refused", WAY, TRANSIENT, lasts=True, way="refused", requests=0),
    Fault("unknown host name", WAY, TRANSIENT, lasts=True, way="dns", requests=0),
    Fault("TLS refused", WAY, TRANSIENT, lasts=True, way="tls", requests=0),
    *both("reset before the answer", WAY, TRANSIENT, "reset", backoff=True),
    *both("reset in the body", WAY, TRANSIENT, "reset-body", backoff=True),
    Fault(
        "slow headers, in time", WAY, RECORDS, kind="slow-head", options={"seconds": 0.2}, lasts=True, watch_fails=False
    ),
    Fault(
        "slow body, in time",
        WAY,
        RECORDS,
        kind="slow-body",
        options={"seconds": 0.2, "pieces": 4},
        lasts=True,
        watch_fails=False,
    ),
    *both("headers too late", WAY, TRANSIENT, "slow-head", options={"seconds": 3.0}, backoff=True, timeout=1.0),
    *both(
        "body dripping too long",
        WAY,
        TRANSIENT,
        "slow-body",
        options={"seconds": 3.0, "pieces": 12},
        backoff=True,
        timeout=1.0,
    ),
    *both("500, a page", ANSWER, TRANSIENT, "500", backoff=True),
    *both("502, a page", ANSWER, TRANSIENT, "502", backoff=True),
    *both("503, a page", ANSWER, TRANSIENT, "503", backoff=True),
    *both("504, a page", ANSWER, TRANSIENT, "504", backoff=True),
    *both("200 with HTML", ANSWER, TRANSIENT, "html", backoff=True),
    *both("404, a page", ANSWER, TRANSIENT, "html", options={"status": 404, "title": "404 Not Found"}, backoff=True),
    *both("407, a page", ANSWER, TRANSIENT, "html", options={"status": 407, "title": "407"}, backoff=True),
    *both("a redirect", ANSWER, TRANSIENT, "redirect", options={"location": "https://example.com/"}, backoff=True),
    *both("200 with an error object", ANSWER, TRANSIENT, "error-200", backoff=True),
    *both("200 with JSON cut off", ANSWER, TRANSIENT, "cut", backoff=True),
    *both("200 with `rows: null`", ANSWER, TRANSIENT, "rows-null", backoff=True),
    *both("200 without `total`", ANSWER, INCOMPLETE, "no-total"),
    *both(
        "unknown code, 503",
        ANSWER,
        TRANSIENT,
        "error",
        options={"code": -98765, "status": 503, "msg": "?"},
        backoff=True,
    ),
    *both("a page short", PAGES, INCOMPLETE, "short", page=2),
    Fault("a page empty", PAGES, RECORDS, kind="empty", page=2),
    Fault("a page empty", PAGES, RECORDS, watched=INCOMPLETE, kind="empty", lasts=True, page=2),
    *both("a page twice", PAGES, INCOMPLETE, "repeat", page=2, watched=RECORDS, watch_fails=False),
    *both("a total too high", PAGES, INCOMPLETE, "total", watched="as stated", watch_fails=False)[1:],
    Fault("a total too high", PAGES, RECORDS, watched="as stated", kind="total", watch_fails=False),
    *both("a total of none", PAGES, TRANSIENT, "total", options={"value": 0}, backoff=True),
    Fault("a row twice", PAGES, RECORDS, watched=TRANSIENT, kind="duplicate", lasts=True, page=2),
    Fault("two rows under one id", PAGES, RECORDS, kind="twin", page=2, watch_fails=False),
    Fault("a record entering", PAGES, RECORDS, kind="enter", page=2, watch_fails=False),
    Fault("a record leaving", PAGES, RECORDS, kind="leave", page=2, watch_fails=False),
    Fault("a record updated", PAGES, RECORDS, kind="update", page=2, watch_fails=False),
    *both("429, Retry-After: 1", WAITS, THROTTLED, "429", options={"retry_after": 1}, told=1.0),
    *both("503, Retry-After: 2", WAITS, THROTTLED, "503", options={"retry_after": 2}, told=2.0),
    Fault("429, Retry-After an HTTP date", WAITS, RECORDS, kind="429", options={"retry_after": "in 9 s"}, told=2.0),
    Fault("429, Retry-After missing", WAITS, RECORDS, kind="429", options={"retry_after": None}, told=10.0),
    Fault("429, Retry-After: 1.5", WAITS, RECORDS, kind="429", options={"retry_after": "1.5"}, told=1.5),
    Fault("429, Retry-After: 1s, 2s", WAITS, RECORDS, kind="429", options={"retry_after": "1s, 2s"}, told=2.0),
    *(
        Fault(f"{status}, Retry-After: {shown}", WAITS, error, kind=status, options=options, lasts=True, requests=1)
        for status, error, shown, options in (
            ("429", THROTTLED, "300", {"retry_after": 300}),
            ("429", THROTTLED, "9999…", {"retry_after": "9" * 40}),
            ("418", BANNED, "120", {"retry_after": 120}),
            ("418", BANNED, "9999…", {"retry_after": "9" * 40}),
            ("418", BANNED, "soon", {"retry_after": "soon"}),
            ("403", BANNED, "60", {"retry_after": 60}),
        )
    ),
    Fault("418, Retry-After missing", WAITS, BANNED, kind="418", options={"retry_after": None}, lasts=True, requests=1),
    Fault("403, a page", WAITS, BANNED, kind="403", lasts=True, requests=1),
    Fault("418, Retry-After: 2", WAITS, BANNED, watched=RECORDS, kind="418", options={"retry_after": 2}, told=2.0),
    Fault("403, Retry-After: 2", WAITS, BANNED, watched=RECORDS, kind="403", options={"retry_after": 2}, told=2.0),
    final("451", REFUSED, CONFIG, "451"),
    final("unknown code, 400", REFUSED, REQUEST, "error", code=-98765, msg="?"),
    final("unknown code, 401", REFUSED, REQUEST, "error", code=-98765, status=401, msg="?"),
]

PASS = (-1000, -1001, -1004, -1006, -1007, -3000, -3007, -3037, -3044)
OVERLOADED = -1008
THROTTLE = (-1003, -1015)
KEY = (-1002, -1022, -1099, -2008, -2014, -2015)
ACCOUNT = (-3001, -3003, -3004, -3014, -3018, -3019, -3022, -3999, -11001)
DATES = (-1100, -1127, -3011, -3025, -4047)
ASKED_WRONG = (
    *(-1016, -1020, -1101, -1102, -1103, -1104, -1105, -1106, -1108, -1111, -1121, -1128, -1130, -1131),
    *(-3002, -3021, -3026, -3027, -3028, -7001),
)
CLOCK_CODE = -1021
EVERY_CODE = {*PASS, OVERLOADED, *THROTTLE, *KEY, *ACCOUNT, *DATES, *ASKED_WRONG, CLOCK_CODE}


def _coded(code: int, **more: Any) -> dict[str, Any]:
    return {"kind": "error", "options": {"code": code, "msg": "in words", **more}}


FAULTS += [
    *(fault for code in PASS for fault in both(f"{code}", CODES, TRANSIENT, backoff=True, **_coded(code))),
    Fault(f"{OVERLOADED}", CODES, RECORDS, **_coded(OVERLOADED, status=503), told=22.4, watch_fails=False),
    *(Fault(f"{code}, Retry-After: 1", CODES, RECORDS, told=1.0, **_coded(code, retry_after=1)) for code in THROTTLE),
    Fault("-1021", CODES, RECORDS, kind="-1021", watch_fails=False),
    Fault("-1021", CODES, CLOCK, kind="-1021", lasts=True, watch_fails=False),
    *(final(f"{code}", CODES, CREDENTIAL, "error", code=code, status=401, msg="ip: 203.0.113.9") for code in KEY),
    *(final(f"{code}", CODES, CONFIG, "error", code=code, msg="in words") for code in ACCOUNT),
    *(final(f"{code}", CODES, REQUEST, "error", code=code, msg="in words") for code in ASKED_WRONG),
    *(
        Fault(f"{code}", CODES, outcome, lasts=lasts, watch_fails=False, **_coded(code))
        for code in DATES
        for outcome, lasts in ((RECORDS, False), (SPAN, True))
    ),
]
