"""How the sandbox keeps records, and the past it invents."""

from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.sandbox import Sandbox
from airflow_provider_binance_margin.sandbox.book import ALL, CROSS, Book, entry
from airflow_provider_binance_margin.sandbox.history import DAY, ISOLATED, history
from airflow_provider_binance_margin.sandbox.invent import invent
from airflow_provider_binance_margin.sandbox.rows import FIELDS, pack, unpack

FIRST = 20_000
NEVER = 2**60


def made(days=400, seed=7, first=FIRST):
    return list(history(seed, first, days, NEVER))


def test_a_packed_record_is_the_record():
    """Also one with more fields, other types, or letters that JSON escapes."""
    (plain,) = invent(at=1)

    for record in (
        plain,
        {**plain, "symbol": "币安人生USDT", "isIsolated": True},
        {**plain, "note": "new"},
        {**plain, "price": 1.5, "avgPrice": None},
        {**plain, "side": 'a"b\\c|d\n'},
        {name: plain[name] for name in FIELDS if name != "isIsolated"},
    ):
        assert unpack(pack(record)) == record
    assert len(pack(plain)) < 130


@given(
    times=st.lists(st.integers(0, 30), max_size=40),
    late=st.lists(st.integers(0, 30), max_size=5),
    start=st.integers(0, 30),
    length=st.integers(0, 30),
    size=st.integers(1, 7),
)
def test_pages_are_a_sorted_list_cut_into_pieces(times, late, start, length, size):
    """Whatever the order of arrival, at once or one by one."""
    records = [next(invent(at=time)) for time in times + late]
    book = Book()
    book.load(map(entry, records[: len(times)]))
    for record in records[len(times) :]:
        book.add(record)
    inside = [each for each in records if start <= each["updatedTime"] <= start + length]
    expected = sorted(inside, key=lambda record: record["updatedTime"])[::-1]

    pages = [book.cut(CROSS, start, start + length, n * size, (n + 1) * size) for n in range(49)]

    times_of = [unpack(row)["updatedTime"] for page in pages for row in page]
    assert times_of == [record["updatedTime"] for record in expected]
    assert Counter(unpack(row)["orderId"] for page in pages for row in page) == Counter(
        record["orderId"] for record in expected
    )
    assert book.count(CROSS, start, start + length) == len(expected)


def test_a_record_is_taken_from_all_shelves():
    book = Book()
    for record in invent(n=3, at=5, step_ms=0, symbol="ETHUSDT", isolated=True):
        book.add(record)

    taken = book.take("ETHUSDT", 0, 9, newest=True)

    assert taken is not None
    assert taken["orderId"] == max(record["orderId"] for record in [taken, *book.all(ALL, 0, 9)])
    assert (book.count("ETHUSDT", 0, 9), book.count(ALL, 0, 9)) == (2, 2)
    assert book.take(CROSS, 0, 9, newest=True) is None


def test_what_is_no_record_leaves_the_book_in_order():
    sandbox = Sandbox(days=0)
    sandbox.add(n=2, at=5)

    with pytest.raises(KeyError):
        sandbox.load([*invent(at=1), {"symbol": "BTCUSDT"}])

    assert [record["updatedTime"] for record in sandbox.records()] == [1, 5, 6]


def test_a_record_is_added_as_it_is_given():
    """What is not said is made up; a field nobody knows is kept."""
    sandbox = Sandbox(days=0)

    sandbox.add({"symbol": "BNBBTC", "updatedTime": 7, "isIsolated": True, "note": "x"})
    sandbox.add(n=2, at=100, step_ms=10, symbol="ADAUSDT", side="BUY")

    assert sandbox.records(0, 8, "BNBBTC")[0]["note"] == "x"
    assert [(each["updatedTime"], each["side"]) for each in sandbox.records(100, 111)] == [(100, "BUY"), (110, "BUY")]
    assert len(sandbox.add(n=2000, at=1)) == 2000
    assert sandbox.count() == 2002
    assert "BNBBTC" in sandbox.pairs


def test_a_large_book_still_answers():
    """Two hundred thousand records: the last page is as good as the first."""
    book = Book()
    book.load(map(entry, invent(n=200_000, at=0)))

    assert unpack(book.cut(CROSS, 0, NEVER, 199_900, 200_000)[-1])["updatedTime"] == 0
    assert unpack(book.cut(CROSS, 0, NEVER, 0, 100)[0])["updatedTime"] == 199_999
    assert book.cut(CROSS, 0, NEVER, 200_000, 200_100) == []
    assert book.count(CROSS, 1000, 1999) == 1000


def test_the_past_is_a_function_of_seed_and_day():
    """The same day is the same in any range; another seed is another past."""
    whole, part = made(days=40), made(days=10, first=FIRST + 20)

    assert [each for each in whole if FIRST + 20 <= each[0] // DAY < FIRST + 30] == part
    assert made(days=40, seed=8) != whole
    assert all(each[0] <= FIRST * DAY + 10**9 for each in history(7, FIRST, 40, FIRST * DAY + 10**9))


def test_the_past_has_empty_days_busy_days_and_both_ends_of_a_day():
    """So that paging, empty objects and boundaries are all met."""
    days = {}
    for time, scope, _ in made():
        if scope == CROSS:
            days.setdefault(time // DAY, []).append(time % DAY)

    sizes = [len(times) for times in days.values()]
    assert 400 - len(days) > 150
    assert sum(size > 100 for size in sizes) >= 50
    assert sum(size > 300 for size in sizes) >= 18
    assert all(min(times) == 0 and max(times) == DAY - 1 for times in days.values())


def test_the_past_is_plausible():
    """Every id once and rising, eight decimals, cross and isolated rows, nothing more filled than ordered."""
    entries = made()
    records = [unpack(row) for _, _, row in entries]

    ids = [record["orderId"] for record in records]
    assert ids == sorted(set(ids))
    assert ids[0] > 2**31
    assert {scope for _, scope, _ in entries} == {CROSS, *ISOLATED}
    assert {record["side"] for record in records} == {"SELL", "BUY"}
    assert all(tuple(record) == FIELDS for record in records)
    for record in records:
        for name in ("price", "avgPrice", "qty", "executedQty"):
            assert len(record[name].partition(".")[2]) == 8
        assert 0 <= float(record["executedQty"]) <= float(record["qty"])
        assert float(record["price"]) > 0
    assert len({time for time, _, _ in entries}) < len(entries)


def test_the_past_begins_on_the_day_asked_for():
    sandbox = Sandbox(start=date(2025, 1, 1), days=60)

    records = sandbox.records()

    first, last = records[0]["updatedTime"] // DAY, records[-1]["updatedTime"] // DAY
    assert date(2025, 1, 1).toordinal() - 719_163 <= first <= last < date(2025, 3, 2).toordinal() - 719_163
    assert Sandbox(days=3).records(0, Sandbox(days=0).now_ms() - 5 * DAY) == []
