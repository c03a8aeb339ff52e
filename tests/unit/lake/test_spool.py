"""The spool: whatever arrives in whatever order, the same lines come out, each once, and little memory is used."""

from __future__ import annotations

import errno
import gc
import json
import os
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import python

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.paging import Sink
from airflow_provider_binance_margin.lake.spool import Spool, TemporaryFolderError, temporary_storage

FIELDS = ("symbol", "orderId", "isIsolated")


def row(time=0, symbol="BTCUSDT", order_id=1, isolated=0, *, note=""):
    """A row as the exchange's endpoint makes it: its line says all of it."""
    key = (symbol, order_id, isolated)
    return (time, key, json.dumps([time, *key, note]).encode())


def lines_of(*rows):
    return [each[2] for each in rows]


def spooled(*pages):
    """All lines after one window of these pages."""
    with Spool(3) as spool:
        spool.start_window()
        for page in pages:
            spool.add(page)
        return list(spool.lines())


@pytest.mark.parametrize("change", ["add", "restart_window", "clear"])
def test_a_draft_is_of_the_rows_as_they_are(change):
    """Made where it is said that they may stay, and forgotten with the first change; without a maker there is none."""
    rows = [row(1), row(2, order_id=2)]
    with Spool(3, lambda spool, end: (end, list(spool.lines()))) as drawn, Spool(3) as plain:
        for spool in (drawn, plain):
            spool.start_window()
            spool.add(rows)
            spool.settle(7)
        assert (drawn.draft, plain.draft) == ((7, lines_of(*rows)), None)
        getattr(drawn, change)(*([[row(3, order_id=3)]] if change == "add" else []))
        assert drawn.draft is None


class Model:
    """What a spool must do, in plain Python."""

    def __init__(self):
        self.windows = [[]]

    def clear(self):
        self.windows = [[]]

    def start_window(self):
        self.windows.append([])

    def restart_window(self):
        self.windows[-1] = []

    def add(self, page):
        self.windows[-1] += page

    @property
    def distinct(self):
        return len({self.identity(each) for each in self.windows[-1]})

    @property
    def conflicts(self):
        return len({each[2] for each in self.windows[-1]}) - self.distinct

    def kept(self):
        """Each line once, of the window that has the latest version of its record."""
        latest = {}
        for number, window in enumerate(self.windows):
            for each in window:
                version = (self.time(each), number)
                latest[self.identity(each)] = max(version, latest.get(self.identity(each), version))
        return {
            each[2]: each
            for number, window in enumerate(self.windows)
            for each in window
            if None in each[1] or latest[each[1]][1] == number
        }.values()

    def records(self):
        return len({self.identity(each) for each in self.kept()})

    def rows(self):
        return len(self.kept())

    def lines(self):
        return [each[2] for each in sorted(self.kept(), key=self.place)]

    @staticmethod
    def identity(each):
        return each[2] if None in each[1] else each[1]

    @staticmethod
    def time(each):
        return -1 if each[0] is None else each[0]

    @classmethod
    def place(cls, each):
        """Numbers before text, nothing before all."""
        values = [(0, value) if isinstance(value, int) else (1, (value or "").encode()) for value in each[1]]
        return (cls.time(each), values, each[2])

    def times(self):
        known = [each[0] for each in self.kept() if each[0] is not None]
        return (min(known), max(known)) if known else (None, None)

    def holds(self, column, value):
        return value is not None and any(each[1][column] == value for each in self.kept())


symbols = st.sampled_from(["BTCUSDT", "ETHUSDT", "币安人生USDT", "", None]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=3
)
order_ids = st.sampled_from([1, 2, 10, 2**63 - 1, "9223372036854775808", "12345678901234567890123", "1", None])
rows = st.builds(
    row,
    st.sampled_from([None, 0, 1, 2, 1_768_435_200_000, 2**63 - 1]),
    symbols,
    order_ids,
    st.sampled_from([0, 1, None, "maybe"]),
    note=st.sampled_from(["", "changed", "changed again"]),
)
pages = st.lists(rows, max_size=6)
steps = st.lists(st.sampled_from(["start", "start", "restart", "clear"]) | pages, max_size=12)


# -- against the model -----------------------------------------------------------------------------------------------


@example(["restart", "start", "restart"])
@given(steps)
def test_a_spool_is_a_sorted_set_of_rows(sequence):
    """Whatever its windows, how often they are read anew, and what rows lack: at each step as the plain model."""
    model = Model()
    with Spool(3) as spool:
        for step in sequence:
            for each in (model, spool):
                if step == "start":
                    each.start_window()
                elif step == "restart":
                    each.restart_window()
                elif step == "clear":
                    each.clear()
                else:
                    each.add(iter(step))
            assert (spool.distinct, spool.conflicts) == (model.distinct, model.conflicts)
            assert spool.records() == model.records()
        assert list(spool.lines()) == model.lines() == list(spool.lines())
        assert (spool.records(), spool.rows()) == (model.records(), model.rows())
        assert spool.times() == model.times()
        for column, value in ((0, "BTCUSDT"), (1, 1), (1, "1"), (2, 1), (2, 0), (2, None)):
            assert spool.holds(column, value) == model.holds(column, value)


@given(
    st.lists(rows, max_size=12).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some), st.integers(1, 5)))
)
def test_the_order_of_arrival_and_the_size_of_pages_change_nothing(case):
    """Records move between pages: the object's bytes must not."""
    some, moved, size = case

    assert (
        spooled(*[moved[at : at + size] for at in range(0, len(moved), size)]) == spooled(some) == spooled(some, moved)
    )


def test_it_is_the_sink_that_paging_asks_for():
    """The two rooms know nothing of each other, so this is where they are held together."""
    assert {name for name in vars(Sink) if not name.startswith("_")} <= set(dir(Spool))


# -- order -----------------------------------------------------------------------------------------------------------


def test_rows_are_ordered_by_time_then_by_what_identifies_them():
    """Numbers as numbers, text letter by letter, and last by the line itself."""
    expected = [
        row(1, "ZZZ"),
        row(2, "AAA", 9),
        row(2, "AAA", 10, 0),
        row(2, "AAA", 10, 1),
        row(2, "AAA", "9223372036854775808"),
        row(2, "AAB", 1),
        row(2, "a", 1),
        row(2, "币", 1, note="a"),
        row(2, "币", 1, note="b"),
        row(10, "AAA"),
    ]

    assert spooled(expected[::-1]) == spooled(expected[::2], expected[1::2]) == lines_of(*expected)


def test_a_millisecond_in_which_much_happens_is_whole():
    """A crash liquidates everybody at once, and all of it must be there, in one order."""
    tie = [row(5, f"S{i % 7}", i) for i in range(1000)]

    assert spooled(*[tie[i::13] for i in range(13)]) == lines_of(*sorted(tie))


def test_a_row_without_a_time_comes_first_and_counts_for_no_bound():
    """It is kept: nothing the exchange sent is dropped."""
    rows_ = [row(5), row(None, order_id=2), row(0, order_id=3)]
    with Spool(3) as spool:
        spool.add(rows_)

        assert list(spool.lines()) == lines_of(rows_[1], rows_[2], rows_[0])
        assert spool.times() == (0, 5)


# -- once ------------------------------------------------------------------------------------------------------------


def test_one_id_may_be_of_two_symbols():
    """Ids are a symbol's own; cross and isolated are apart too."""
    same_id = [row(1, "BTCUSDT", 7), row(1, "ETHUSDT", 7), row(1, "BTCUSDT", 7, 1)]
    with Spool(3) as spool:
        spool.add(same_id)

        assert (spool.distinct, spool.conflicts) == (3, 0)


def test_a_number_is_not_its_digits():
    """An id sent as text that does not fit into 64 bits stays apart from every number."""
    ids = [2**63 - 1, "9223372036854775807", "9223372036854775808", "92233720368547758080000"]
    with Spool(3) as spool:
        spool.add([row(order_id=each) for each in ids])

        assert spool.distinct == 4
        assert list(spool.lines()) == lines_of(*(row(order_id=each) for each in ids))


OLD, NEW, NEWER = row(1, note="old"), row(2, note="new"), row(3, note="newer")
OTHER, THIRD = row(9, order_id=99), row(8, order_id=98)


@pytest.mark.parametrize(
    ("pages_", "conflicts"),
    [
        pytest.param([[OLD, NEW]], 1, id="in one page"),
        pytest.param([[OLD], [NEW]], 1, id="in two pages"),
        pytest.param([[NEW], [OTHER], [OLD]], 1, id="another page between"),
        pytest.param([[OLD, NEW, NEWER]], 2, id="three in one page"),
        pytest.param([[OLD], [NEW], [NEWER]], 2, id="three in three pages"),
        pytest.param([[OLD, NEW, OLD, NEW, OLD]], 1, id="again and again in one page"),
        pytest.param([[OLD, NEW], [NEW, OLD], [OTHER, NEW]], 1, id="again in later pages"),
        pytest.param([[OLD], [NEW], [NEW], [NEWER], [NEW], [OLD]], 2, id="again and again, one by one"),
        pytest.param([[OTHER, THIRD, OLD], [OLD, NEW]], 1, id="behind others in an earlier page"),
        pytest.param([[OTHER], [THIRD, OTHER, OLD, OLD, NEW]], 1, id="behind others in a later page"),
    ],
)
def test_different_rows_under_one_id_are_all_kept_and_count_as_one(pages_, conflicts):
    """A record that changed while it was read: which one is right is not ours to say."""
    with Spool(3) as spool:
        spool.start_window()
        for page in pages_:
            spool.add(page)
        all_rows = {each for page in pages_ for each in page}

        assert spool.distinct == len({each[1] for each in all_rows})
        assert spool.conflicts == conflicts
        assert list(spool.lines()) == lines_of(*sorted(all_rows))


def test_rows_that_cannot_be_identified_are_told_apart_by_their_line():
    """Each once, and none is a conflict."""
    nameless = [row(1, order_id=None), row(1, order_id=None, note="x"), row(1, symbol=None)]
    with Spool(3) as spool:
        spool.add(nameless)
        spool.add(nameless[::-1])

        assert (spool.distinct, spool.conflicts) == (3, 0)
        assert sorted(spool.lines()) == sorted(lines_of(*nameless))


def test_what_the_endpoint_makes_of_odd_rows_is_taken():
    """Long ids, nulls, missing fields, Chinese symbols and nested values arrive as the exchange's own literals."""
    body = (
        '{"total":5,"rows":[{"symbol":"币安人生USDT","orderId":12345678901234567890123,"isIsolated":false,"updatedTime":2},'
        '{"symbol":"BTCUSDT","orderId":null,"updatedTime":null},{},{"orderId":9223372036854775807,"symbol":"A",'
        '"isIsolated":true,"updatedTime":99999999999999999999},{"symbol":"a\\u0000b","orderId":-1,"isIsolated":true,"x":{"y":[1]}}]}'
    ).encode()
    with Spool(3) as spool:
        spool.add(FORCE_LIQUIDATION.read_page(body).records)

        assert spool.distinct == 5
        assert spool.times() == (2, 2)
        assert [json.loads(line) for line in spool.lines()] == [
            {},
            {"orderId": 9223372036854775807, "symbol": "A", "isIsolated": True, "updatedTime": 99999999999999999999},
            {"orderId": None, "symbol": "BTCUSDT", "updatedTime": None},
            {"orderId": -1, "symbol": "a\0b", "isIsolated": True, "x": {"y": [1]}},
            {"orderId": 12345678901234567890123, "symbol": "币安人生USDT", "isIsolated": False, "updatedTime": 2},
        ]


# -- windows ---------------------------------------------------------------------------------------------------------


def test_a_window_that_is_read_again_leaves_nothing_behind():
    """Neither lines nor ids nor conflicts nor times; what other windows brought stays."""
    with Spool(3) as spool:
        spool.start_window()
        spool.add([row(5, order_id=1), row(6, order_id=2)])
        spool.start_window()
        spool.add([OLD, NEW, row(7, order_id=3), row(99, "GONE", 4)])
        assert list(spool.lines())
        spool.restart_window()

        assert (spool.distinct, spool.conflicts) == (0, 0)
        assert (spool.times(), spool.holds(0, "GONE")) == ((5, 6), False)
        spool.add([row(7, order_id=3)])
        assert (spool.distinct, spool.conflicts) == (1, 0)
        assert list(spool.lines()) == lines_of(row(5, order_id=1), row(6, order_id=2), row(7, order_id=3))


def test_a_window_may_be_read_again_and_again():
    """Also before anything came, twice in a row, and after its lines were looked at."""
    with Spool(3) as spool:
        spool.restart_window()
        spool.start_window()
        for attempt in range(5):
            spool.restart_window()
            spool.restart_window()
            spool.add([row(attempt, note=str(attempt)), row(attempt, order_id=2)])
            spool.add([])
            assert list(spool.lines()) == lines_of(row(attempt, note=str(attempt)), row(attempt, order_id=2))


def test_a_row_that_two_windows_answer_is_there_once():
    """Each window must meet its own total, and the object holds the row once."""
    nameless = row(1, order_id=None)
    with Spool(3) as spool:
        for _ in range(2):
            spool.start_window()
            spool.add([OLD, OTHER, nameless])
            assert (spool.distinct, spool.conflicts) == (3, 0)

        assert (spool.records(), spool.rows()) == (3, 3)
        assert list(spool.lines()) == lines_of(OLD, nameless, OTHER)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        pytest.param([[OLD], [NEW]], [NEW], id="it moved on"),
        pytest.param([[NEW], [OLD]], [NEW], id="it moved back"),
        pytest.param([[OLD], [NEW], [NEWER, OTHER]], [NEWER, OTHER], id="it moved twice"),
        pytest.param([[NEW], [row(2, note="same time")]], [row(2, note="same time")], id="of one time, the later"),
        pytest.param([[row(None, note="no time")], [OLD]], [OLD], id="one with a time before one without"),
        pytest.param([[OLD, NEWER], [NEW]], [OLD, NEWER], id="two in one window are a conflict of that window"),
        pytest.param([[OLD], [NEW, NEWER]], [NEW, NEWER], id="so they are in the later one"),
    ],
)
def test_a_record_that_moved_to_another_window_is_there_once(windows, expected):
    """In its latest version, which is no conflict."""
    with Spool(3) as spool:
        for window in windows:
            spool.start_window()
            spool.add(window)
            assert spool.distinct == len({each[1] for each in window})

        assert list(spool.lines()) == lines_of(*expected)
        assert (spool.records(), spool.rows()) == (len({each[1] for each in expected}), len(expected))
        times = [each[0] for each in expected]
        assert spool.times() == (min(times), max(times))


def test_a_window_that_is_read_again_gives_earlier_windows_their_rows_back():
    """What it outdated is not, when it is forgotten; looking at the lines in between changes nothing."""
    with Spool(3) as spool:
        spool.start_window()
        spool.add([OLD])
        spool.start_window()
        spool.add([NEW])
        assert list(spool.lines()) == lines_of(NEW)
        spool.restart_window()
        assert list(spool.lines()) == lines_of(OLD)
        assert (spool.records(), spool.rows()) == (1, 1)


def test_a_spool_that_is_cleared_is_as_new():
    """The whole object is read again."""
    with Spool(3) as spool:
        for _ in range(2):
            spool.start_window()
            spool.add([OLD, OTHER])
            assert list(spool.lines())
        spool.clear()
        assert (spool.records(), spool.rows(), list(spool.lines()), spool.times()) == (0, 0, [], (None, None))
        spool.add([NEW])
        assert (spool.records(), spool.rows(), list(spool.lines())) == (1, 1, lines_of(NEW))


@pytest.mark.parametrize(
    ("pages_", "same"),
    [
        pytest.param([[NEW, OTHER], [OLD, THIRD]], True, id="another order"),
        pytest.param([[OLD, NEW, OTHER, OTHER, OLD], [THIRD, NEW]], True, id="rows that come twice"),
        pytest.param([[OLD, NEW], [OTHER]], False, id="one less"),
        pytest.param([[OLD, NEW, OTHER], [row(8, order_id=97)]], False, id="another one"),
        pytest.param([[OLD, NEWER, OTHER], [THIRD]], False, id="another version"),
    ],
)
def test_two_readings_of_the_same_rows_have_one_fingerprint(pages_, same):
    """Whatever their order, their pages, and how often each comes."""
    with Spool(3) as spool:
        spool.add([OLD, NEW, OTHER, THIRD])
        first = spool.fingerprint
        spool.restart_window()
        for page in pages_:
            spool.add(page)

        assert (spool.fingerprint == first) == same


def test_an_empty_spool_gives_nothing():
    """And says so."""
    with Spool(3) as spool:
        spool.start_window()
        spool.add([])
        spool.add(iter(()))

        assert list(spool.lines()) == []
        assert (spool.distinct, spool.conflicts, spool.times()) == (0, 0, (None, None))
        assert not spool.holds(0, "BTCUSDT")


def test_one_column_is_enough():
    """Another endpoint may identify its records by one id."""
    with Spool(1) as spool:
        spool.add([(2, (7,), b"b"), (1, (8,), b"a"), (2, (7,), b"c"), (None, (None,), b"d")])

        assert (spool.distinct, spool.conflicts) == (3, 1)
        assert list(spool.lines()) == [b"d", b"a", b"b", b"c"]


# -- resources -------------------------------------------------------------------------------------------------------


def test_it_may_be_filled_and_emptied_by_another_thread():
    """Objects are finished in a pool."""
    found = []
    with Spool(3) as spool:
        for work in (lambda: spool.add([NEW, OLD]), lambda: found.extend(spool.lines())):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(30)

    assert found == lines_of(OLD, NEW)


def test_a_page_of_any_length_is_taken_by_an_old_sqlite_too():
    """It takes 999 values in one statement, and here are more than that, of which some come twice."""
    many = [row(i, order_id=i) for i in range(1000)]
    with Spool(3) as spool:
        spool._db.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        spool.add(many[:500] + many)

        assert (spool.distinct, spool.conflicts) == (1000, 0)
        assert list(spool.lines()) == lines_of(*many)


def test_two_spools_know_nothing_of_each_other():
    """Four objects are made side by side."""
    with Spool(3) as one, Spool(3) as other:
        one.add([OLD])
        other.add([NEW])

        assert (list(one.lines()), list(other.lines())) == (lines_of(OLD), lines_of(NEW))


def test_closing_gives_the_memory_back_at_once():
    """Not when the garbage collector comes by: a run makes hundreds of objects."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        spool = Spool(3)
        for page in range(70):
            spool.add([row(page * 100 + i, order_id=page * 100 + i, note="x" * 200) for i in range(100)])
        assert sum(1 for _ in spool.lines()) == 7000
        spool.close()
        spool.close()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()

    assert left < 200_000


def test_an_error_in_between_closes_it_too(tmp_path):
    """So that a failed reading holds neither memory nor disk."""
    spool = Spool(3)
    with pytest.raises(KeyError), spool:
        raise KeyError

    with pytest.raises(Exception, match="closed"):
        spool.add([OLD])


BIG = """
import os, random, sys
from pathlib import Path
from airflow_provider_binance_margin.lake.spool import Spool

PAGE = (
    '{"avgPrice":"%.8f","executedQty":"%.8f","orderId":%d,"price":"%.8f","qty":"%.8f","side":"%s","symbol":"%s",'
    '"timeInForce":"GTC","isIsolated":false,"updatedTime":%d}'
)

def rows(count, seed):
    make = random.Random(seed)
    time = 1_768_521_600_000
    for _ in range(count):
        time -= make.randrange(4)
        id, symbol = make.randrange(10**11), make.choice(["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDC"])
        a, b, c, d = [make.random() * 10**5 for _ in range(4)]
        yield time, (symbol, id, 0), (PAGE % (a, b, id, c, d, "SELL", symbol, time)).encode()

def peak():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1])

def disk():
    names = ["/proc/self/fd/" + number for number in os.listdir("/proc/self/fd")]
    # what sqlite has removed from its folder already is still open
    names = [name for name in names if os.path.islink(name) and os.readlink(name).startswith(sys.argv[1])]
    return sum(os.stat(name).st_size for name in names)

def run(count):
    raw, used = 0, 0
    with Spool(3) as spool:
        spool.start_window()
        page = []
        for each in rows(count, 1):
            raw += len(each[2]) + 1
            page.append(each)
            if len(page) == 100:
                spool.add(page)
                page = []
        spool.add(page)
        lines = sum(1 for _ in spool.lines())
        return raw, disk(), lines, spool.distinct

run(60_000)
before = peak()
raw, used, lines, distinct = run(300_000)
print(peak() - before, used / raw, lines, distinct, disk(), len(os.listdir(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_great_object_stays_on_disk(tmp_path):
    """300,000 rows take no more memory than 60,000; their temporary file is smaller than they, and gone after."""
    environment = {**os.environ, "SQLITE_TMPDIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = python("-c", BIG, tmp_path, env=environment, timeout=120)
    kib, share, lines, distinct, left, files = map(float, done.stdout.split())

    assert (lines, distinct) == (300_000, 300_000)
    assert kib < 12 * 1024  # as Python's bytes, 240,000 rows would take 60 MiB
    assert 0.1 < share < 0.8
    assert (left, files) == (0, 0)
    assert list(Path(tmp_path).iterdir()) == []


FULL = """
import resource, sys
from tempfile import SpooledTemporaryFile
from airflow_provider_binance_margin.lake.spool import Spool, TemporaryFolderError, temporary_storage

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

def spool():
    with Spool(3) as spool:
        spool.start_window()
        for page in range(10_000):
            ids = range(page * 100, page * 100 + 100)
            spool.add([(id, ("BTCUSDT", id * 7919 % 10**6, 0), b"%d" % (id * 7919)) for id in ids])

def file():
    with temporary_storage(), SpooledTemporaryFile(max_size=1000) as file:
        file.write(bytes(1 << 20))

try:
    {"spool": spool, "file": file}[sys.argv[1]]()
except TemporaryFolderError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["spool", "file"])
def test_a_temporary_folder_that_is_full_is_named(tmp_path, what):
    """With the variable that names another. No file may grow here, as on a disk that is full."""
    environment = {**os.environ, "SQLITE_TMPDIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, what], env=environment, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.stderr == ""
    assert f"TMPDIR={tmp_path}" in done.stdout


@pytest.mark.parametrize(
    ("fault", "is_of_the_folder"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found"), True),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), False),
        (OSError("no number"), False),
        (ValueError("no fault of a folder"), False),
    ],
    ids=str,
)
def test_only_what_the_temporary_folder_did_is_called_so(fault, is_of_the_folder, monkeypatch):
    """What else fails inside stays what it is; without TMPDIR, the folders that serve instead are named."""
    monkeypatch.delenv("TMPDIR", raising=False)
    with pytest.raises(TemporaryFolderError if is_of_the_folder else type(fault)) as told, temporary_storage():
        raise fault

    assert ("TMPDIR is not set: /var/tmp or /tmp" in str(told.value)) == is_of_the_folder


def test_a_mistake_in_a_statement_is_no_fault_of_the_folder():
    """Only what sqlite says of its file is."""
    with Spool(3) as spool, pytest.raises(sqlite3.OperationalError, match="no such table"):
        spool._db.execute("SELECT * FROM missing")
