"""Each dataset of the sandbox: its rows, pages, windows, weights and faults, as a plain client meets them."""

import hashlib
import hmac
import inspect
import json
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from airflow_provider_binance_margin.sandbox import SandboxControl
from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from airflow_provider_binance_margin.sandbox.mishaps import KINDS
from airflow_provider_binance_margin.sandbox.settings import CHOICES, Settings
from airflow_provider_binance_margin.sandbox.stories import KINDS as STORIES

pytest_plugins = ["airflow_provider_binance_margin.sandbox.pytest_plugin"]

DAY = 86_400_000
HOUR = 3_600_000
EACH = list(DATASETS.values())
PAGED = [each for each in EACH if not each.is_list]
ISOLATED = [each for each in EACH if each.pair]
WEEKLY = [each for each in EACH if min(each.window, each.longest or each.window) == 7 * DAY]
LEDGER = DATASETS["capital_flow"]

# rows of the exchange's own pages, and of live answers where those have more
SAMPLES = {
    "force_liquidation": (
        '{"avgPrice":"0.00388359","executedQty":"31.39000000","orderId":180015097,"price":"0.00388110",'
        '"qty":"31.39000000","side":"SELL","symbol":"BNBBTC","timeInForce":"GTC","isIsolated":true,'
        '"updatedTime":1558941374745}'
    ),
    "interest": (
        '{"txId":1352286576452864727,"interestAccuredTime":1672160400000,"asset":"USDT","rawAsset":"USDT",'
        '"principal":"45.3313","interest":"0.00024995","interestRate":"0.00013233","type":"ON_BORROW",'
        '"isolatedSymbol":"BNBUSDT"}'
    ),
    "borrow": (
        '{"type":"AUTO","isolatedSymbol":"BNBUSDT","amount":"14.00000000","asset":"BNB","interest":"0.01866667",'
        '"principal":"13.98133333","status":"CONFIRMED","timestamp":1563438204000,"txId":2970933056}'
    ),
    "transfer": (
        '{"amount":"5.00000000","asset":"USDT","status":"CONFIRMED","timestamp":1566888436,"txId":5239810406,'
        '"type":"ROLL_OUT","transFrom":"ISOLATED_MARGIN","transTo":"ISOLATED_MARGIN","fromSymbol":"BNBUSDT",'
        '"toSymbol":"BTCUSDT"}'
    ),
    "capital_flow": (
        '{"id":123456,"tranId":123123,"timestamp":1691116657000,"asset":"USDT","symbol":"BTCUSDT","type":"BORROW",'
        '"amount":"101"}'
    ),
    "liquidation_loan_repayment": (
        '{"repayId":12345678,"asset":"USDC","amount":"300.00000000","status":"SUCCESS","createTime":1714492800000}'
    ),
}
SAMPLES["repay"] = SAMPLES["borrow"]


def named(values):
    return pytest.mark.parametrize("dataset", values, ids=lambda dataset: dataset.name)


class Asker:
    """A plain client that asks for a dataset with its fixed parameters."""

    def __init__(self, sandbox, http):
        self.sandbox, self.http = sandbox, http

    def __call__(self, dataset, key="hmac", **params):
        asked = {**dataset.fixed, **params}
        query = urlencode({**{k: v for k, v in asked.items() if v is not None}, "timestamp": self.sandbox.now_ms()})
        api_key = self.sandbox.keys[key]
        signature = hmac.new(api_key.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.sandbox.url}{dataset.path}?{query}&signature={signature}"
        return self.http.get(url, headers={"X-MBX-APIKEY": api_key.api_key})

    def rows(self, dataset, **params):
        return rows(self(dataset, **params))


def rows(answer):
    content = answer.json()
    return content["rows"] if isinstance(content, dict) else content


def code(answer):
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def ask(binance_sandbox):
    with httpx.Client(trust_env=False) as http:
        yield Asker(binance_sandbox, http)


@pytest.fixture
def hour_ago(binance_sandbox):
    """A whole second, so that all datasets have it as it is."""
    return (binance_sandbox.now_ms() - HOUR) // 1000 * 1000


@named([DATASETS[name] for name in SAMPLES])
def test_a_documented_row_is_served_as_it_is(ask, binance_sandbox, dataset):
    """Byte for byte, in the documented order of fields, cross or isolated as it says."""
    sample = SAMPLES[dataset.name]
    record = json.loads(sample)
    binance_sandbox.add(record, dataset=dataset.name)
    time = dataset.ms(record)
    binance_sandbox.settings.change(retention_ms=10**14)
    pair = {dataset.pair: dataset.scope(record)} if dataset.scope(record) else {}

    answer = ask(dataset, startTime=time, endTime=time, **pair)

    form = '{"total":1,"rows":[%s]}' if dataset.total_first else '{"rows":[%s],"total":1}'
    assert answer.text == (f"[{sample}]" if dataset.is_list else form % sample)
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert set(record) <= set(dataset.fields)
    assert set(dataset.fields) - set(record) <= dataset.optional
    assert [name for name in dataset.fields if name in record] == list(record)


@named(EACH)
def test_made_up_rows_are_like_the_documented_one(binance_sandbox, dataset, hour_ago):
    """Fields, types and order; each under an id of its own; none of another scope."""
    made = binance_sandbox.add(n=200, at=hour_ago, step_ms=1000, dataset=dataset.name)
    if dataset.pair:
        made += binance_sandbox.add(n=200, at=hour_ago, step_ms=1000, isolated_symbol="ETHUSDT", dataset=dataset.name)

    for row in made:
        assert [name for name in dataset.fields if name in row] == list(row)
        assert set(dataset.fields) - set(row) <= dataset.optional
        assert all(type(value) is dataset.fields[name] for name, value in row.items())
        assert len(str(row[dataset.time])) == (10 if dataset.in_seconds else 13)
    assert len({tuple(row.get(name) for name in dataset.ids) for row in made}) == len(made)
    assert [dataset.scope(row) for row in made] == [""] * 200 + ["ETHUSDT"] * (len(made) - 200)
    assert binance_sandbox.records(dataset=dataset.name) == made[:200]


def test_ids_do_not_fit_a_double():
    """Neighbours are one number to whoever reads them as doubles."""
    interest = DATASETS["interest"]
    one, other = (interest.row(seed, "", {})["txId"] for seed in (1, 2))

    assert one != other
    assert float(one) == float(other)


@named(PAGED)
def test_all_pages_are_all_rows(ask, binance_sandbox, dataset, hour_ago):
    added = binance_sandbox.add(n=130, at=hour_ago, step_ms=1000, dataset=dataset.name)
    window = {"startTime": hour_ago, "endTime": hour_ago + 129_000}

    pages = [ask(dataset, **window, current=page, size=dataset.most).json() for page in (1, 2, 3)]

    expected = added[::-1] if dataset.newest_first else added
    assert [row for page in pages for row in page["rows"]] == expected
    assert [page["total"] for page in pages] == [130] * 3
    assert len(ask.rows(dataset, **window)) == dataset.size
    assert code(ask(dataset, **window, size=dataset.most + 1)) == (400, -1102)
    assert code(ask(dataset, **window, limit=10)) == (400, -1104)


@named(EACH)
def test_both_ends_belong_to_a_window(ask, binance_sandbox, dataset, hour_ago):
    (row,) = binance_sandbox.add(at=hour_ago, dataset=dataset.name)

    for start, end, found in ((0, 0, [row]), (-5, 0, [row]), (0, 5, [row]), (1, 9, []), (-9, -1, [])):
        assert ask.rows(dataset, startTime=hour_ago + start, endTime=hour_ago + end) == found


@named(ISOLATED)
def test_an_isolated_pair_is_asked_for_by_its_parameter(ask, binance_sandbox, dataset, hour_ago):
    """Letters of any script included."""
    name = "币安人生USDT"
    binance_sandbox.add(n=3, at=hour_ago, dataset=dataset.name)
    mine = binance_sandbox.add(n=2, at=hour_ago, isolated_symbol=name, dataset=dataset.name)
    window = {"startTime": hour_ago, "endTime": hour_ago + 9}

    assert len(ask.rows(dataset, **window)) == 3
    assert sorted(map(str, ask.rows(dataset, **window, **{dataset.pair: name}))) == sorted(map(str, mine))
    assert ask.rows(dataset, **window, **{dataset.pair: "BTCUSDT"}) == []
    assert code(ask(dataset, **window, **{dataset.pair: "BNBUSDT"})) == (400, -11001)
    assert code(ask(dataset, **window, **{dataset.pair: "NOSUCH"})) == (400, -1121)
    other = "isolatedSymbol" if dataset.pair == "symbol" else "symbol"
    assert code(ask(dataset, **window, **{other: name})) == (400, -1104)
    binance_sandbox.settings.change(unfiltered="all")
    assert len(ask.rows(dataset, **window)) == binance_sandbox.count(hour_ago, hour_ago + 9, dataset=dataset.name) == 5


def test_what_has_no_isolated_rows_takes_none(ask, binance_sandbox):
    dataset = DATASETS["liquidation_loan_repayment"]

    with pytest.raises(ValueError, match="no isolated"):
        binance_sandbox.add(isolated_symbol="ETHUSDT", dataset=dataset.name)
    assert code(ask(dataset, isolatedSymbol="ETHUSDT")) == (400, -1104)


@pytest.mark.parametrize(
    ("name", "params", "days", "refusal"),
    [
        ("interest", {}, 30, (-1127, "More than 720 hours between startTime and endTime.")),
        ("borrow", {}, 7, (-1127, "More than 168 hours between startTime and endTime.")),
        ("repay", {"asset": "BTC"}, 30, (-1127, "More than 720 hours between startTime and endTime.")),
        ("transfer", {}, 30, (-1127, "More than 720 hours between startTime and endTime.")),
        ("capital_flow", {}, 7, (-4047, "Time interval must be within 0-7 days")),
    ],
)
def test_a_window_has_a_longest(ask, binance_sandbox, name, params, days, refusal):
    dataset, now = DATASETS[name], binance_sandbox.now_ms()
    longest = {"startTime": now - days * DAY, "endTime": now}

    assert ask(dataset, **longest, **params).status_code == 200
    refused = ask(dataset, **{**longest, "startTime": now - days * DAY - 1}, **params)
    assert (refused.json()["code"], refused.json()["msg"]) == refusal
    binance_sandbox.settings.change(max_span_ms=DAY)
    assert code(ask(dataset, **longest, **params)) == (400, dataset.too_long)


@pytest.mark.parametrize("name", ["force_liquidation", "liquidation_loan_repayment"])
def test_a_window_may_be_of_any_length(ask, binance_sandbox, name):
    now = binance_sandbox.now_ms()

    assert ask(DATASETS[name], startTime=now - 1000 * DAY, endTime=now).status_code == 200


@pytest.mark.parametrize("name", [each.name for each in EACH if each.memory])
def test_what_is_forgotten_is_left_out_in_silence(ask, binance_sandbox, name):
    """An older start is moved up, and nothing tells."""
    dataset, now = DATASETS[name], binance_sandbox.now_ms()
    edge = now - dataset.memory
    binance_sandbox.add(at=edge - 12 * HOUR, dataset=name)
    (young,) = binance_sandbox.add(at=edge + 12 * HOUR, dataset=name)

    assert ask.rows(dataset, startTime=edge - 20 * HOUR, endTime=edge + 20 * HOUR) == [young]
    assert ask.rows(dataset, startTime=edge - 30 * HOUR, endTime=edge - 11 * HOUR) == []
    assert binance_sandbox.count(dataset=name) == 2
    binance_sandbox.settings.change(retention_ms=1000 * DAY)
    assert len(ask.rows(dataset, startTime=edge - 20 * HOUR, endTime=edge + 20 * HOUR)) == 2


@pytest.mark.parametrize(
    ("name", "sent", "found"),
    [
        *[(each.name, {}, [6, 1]) for each in WEEKLY],
        ("force_liquidation", {"startTime": 40}, [39, 29, 8, 6, 1]),
        ("interest", {"startTime": 40}, [29, 8, 6, 1]),
        ("capital_flow", {"startTime": 40}, [39]),
        ("transfer", {"startTime": 10}, [8, 6, 1]),
        *[(each.name, {"endTime": 5}, [8, 6]) for each in WEEKLY],
    ],
)
def test_a_window_that_is_not_said(ask, binance_sandbox, name, sent, found):
    """Seven days by default; a start alone means another window on each endpoint. All in days ago."""
    dataset, now = DATASETS[name], binance_sandbox.now_ms()
    for days in (39, 29, 8, 6, 1):
        binance_sandbox.add(at=now - days * DAY, dataset=name)

    answer = ask.rows(dataset, **{key: now - days * DAY for key, days in sent.items()})

    ages = sorted((round((now - dataset.ms(row)) / DAY) for row in answer), reverse=True)
    assert ages == found


@pytest.mark.parametrize("name", ["borrow", "repay"])
def test_loans_are_asked_for_by_type(ask, binance_sandbox, name, hour_ago):
    """It must be sent; the row does not say which it is."""
    dataset = DATASETS[name]
    (row,) = binance_sandbox.add(at=hour_ago, dataset=name)

    assert ask.rows(dataset) == [row]
    assert ask.rows(DATASETS["repay" if name == "borrow" else "borrow"]) == []
    assert row["type"] not in {"BORROW", "REPAY"}
    assert "'type'" in ask(dataset, type=None).json()["msg"]
    assert code(ask(dataset, type="LEND")) == (400, -1102)
    assert binance_sandbox.requests[0].dataset == name


@pytest.mark.parametrize(
    ("name", "field", "value", "other"),
    [
        ("interest", "asset", "BTC", "ETH"),
        ("borrow", "asset", "BTC", "ETH"),
        ("repay", "asset", "BTC", "ETH"),
        ("transfer", "asset", "BTC", "ETH"),
        ("transfer", "type", "ROLL_OUT", "ROLL_IN"),
        ("capital_flow", "asset", "BTC", "ETH"),
        ("capital_flow", "type", "LIQUIDATION_FEE", "BORROW"),
    ],
)
def test_filters_filter(ask, binance_sandbox, name, field, value, other, hour_ago):
    dataset = DATASETS[name]
    wanted = binance_sandbox.add(n=12, at=hour_ago, step_ms=1000, dataset=name, **{field: value})
    binance_sandbox.add(n=5, at=hour_ago, dataset=name, **{field: other})

    answer = ask(dataset, **{field: value, dataset.paging: 10})

    assert rows(answer) == wanted[:1:-1]
    if not dataset.is_list:
        assert answer.json()["total"] == 12
    if field == "type":
        assert code(ask(dataset, type="NONE_SUCH")) == (400, -1102)


def test_an_id_takes_precedence_over_the_window(ask, binance_sandbox, hour_ago):
    borrow = DATASETS["borrow"]
    (row, _) = binance_sandbox.add(n=2, at=hour_ago - 300 * DAY, dataset="borrow")

    assert ask.rows(borrow, txId=row["txId"], startTime=hour_ago) == [row]


def test_repayments_that_failed_are_not_told(ask, binance_sandbox, hour_ago):
    dataset = DATASETS["liquidation_loan_repayment"]
    for status in ("SUCCESS", "FAILED", "PENDING"):
        binance_sandbox.add(at=hour_ago, status=status, dataset=dataset.name)

    assert [row["status"] for row in ask.rows(dataset)] == ["SUCCESS", "PENDING"]
    assert ask(dataset).json()["total"] == 2


def test_transfers_are_in_seconds_unless_set(ask, binance_sandbox, hour_ago):
    transfer = DATASETS["transfer"]
    binance_sandbox.add(at=hour_ago + 999, dataset="transfer")
    binance_sandbox.settings.change(time_unit="ms")
    binance_sandbox.add(at=hour_ago + 1999, dataset="transfer")
    binance_sandbox.add(at=hour_ago + 1999, dataset="borrow")

    assert [row["timestamp"] for row in ask.rows(transfer)] == [hour_ago + 1999, hour_ago // 1000]
    assert ask.rows(DATASETS["borrow"])[0]["timestamp"] == hour_ago + 1999


def ledger(ask, start, end, **params):
    return [row["id"] for row in ask.rows(LEDGER, startTime=start, endTime=end, **params)]


def test_the_ledger_is_the_newest_rows_or_those_after_an_id(ask, binance_sandbox, hour_ago):
    """Newest first inside a page, pages from the oldest on; ties in whole seconds; one transaction is several rows."""
    added = binance_sandbox.add(n=25, at=hour_ago, step_ms=300, dataset="capital_flow")
    ids = [row["id"] for row in added]
    window = (hour_ago, hour_ago + 60_000)

    assert ledger(ask, *window) == ids[::-1]
    assert ledger(ask, *window, limit=10) == ids[:14:-1]
    assert ledger(ask, *window, limit=10, fromId=0) == ids[9::-1]
    assert ledger(ask, *window, limit=10, fromId=ids[9]) == ids[19:9:-1]
    assert ledger(ask, *window, limit=10, fromId=ids[24]) == []
    binance_sandbox.settings.change(from_id="from")
    assert ledger(ask, *window, limit=10, fromId=ids[9]) == ids[18:8:-1]
    assert len({row["timestamp"] for row in added}) < 10
    assert len({row["tranId"] for row in added}) < 15
    assert code(ask(LEDGER, limit=1001)) == (400, -1102)


def test_ids_of_the_ledger_need_not_rise_with_time(ask, binance_sandbox, hour_ago):
    """After a cursor come the least ids, or the earliest rows: both leave the other's reader short."""
    binance_sandbox.settings.change(mixed_ids=True)
    added = binance_sandbox.add(n=40, at=hour_ago, step_ms=1000, dataset="capital_flow")
    ids = [row["id"] for row in added]
    window = (hour_ago, hour_ago + 60_000)

    assert ids != sorted(ids)
    assert len(set(ids)) == 40
    assert ledger(ask, *window) == ids[::-1]
    assert sorted(ledger(ask, *window, limit=10, fromId=0)) == sorted(ids)[:10]
    binance_sandbox.settings.change(cursor_order="time")
    assert ledger(ask, *window, limit=10, fromId=0) == ids[9::-1]


def test_a_full_day_of_the_ledger_answers_in_no_time(ask, binance_sandbox, hour_ago):
    """Ten thousand rows of one window are read by their cursor."""
    added = binance_sandbox.add(n=10_000, at=hour_ago, step_ms=100, dataset="capital_flow")
    seen, cursor = [], 0
    while page := ledger(ask, hour_ago, hour_ago + HOUR, limit=1000, fromId=cursor):
        seen, cursor = [*seen, *page[::-1]], max(page)

    assert seen == [row["id"] for row in added]


@named(EACH)
def test_weight_is_counted_for_whom_it_is_documented(ask, binance_sandbox, dataset):
    """By address or by account, under the header of that kind; over the limit 429, insisting 418."""
    header, other = "x-sapi-used-ip-weight-1m", "x-sapi-used-uid-weight-1m"
    if dataset.whose == "UID":
        header, other = other, header
    limit = "uid_limit" if dataset.whose == "UID" else "limit"
    binance_sandbox.settings.change(**{limit: 2 * dataset.weight})
    binance_sandbox.clock_offset_ms = 60_000 - binance_sandbox.now_ms() % 60_000

    first, second = ask(dataset), ask(dataset)
    of_another = ask(dataset, key="second")

    assert [answer.headers[header] for answer in (first, second)] == [str(dataset.weight), str(2 * dataset.weight)]
    assert other not in first.headers
    assert of_another.status_code == (200 if dataset.whose == "UID" else 429)
    if dataset.whose == "UID":
        assert ask(dataset).status_code == 429
    assert ask(dataset).status_code == 418
    assert ask(dataset, key="second").status_code == 418


@named(EACH)
def test_two_accounts_have_nothing_in_common(ask, binance_sandbox, dataset, hour_ago):
    """Keys of one account see the same, that of another sees its own."""
    mine = binance_sandbox.add(n=2, at=hour_ago, dataset=dataset.name)
    theirs = binance_sandbox.add(n=3, at=hour_ago, dataset=dataset.name, account="second")

    assert [len(ask.rows(dataset, key=key)) for key in ("hmac", "second")] == [2, 3]
    assert binance_sandbox.keys["rsa"].account == binance_sandbox.keys["hmac"].account
    assert binance_sandbox.records(dataset=dataset.name) == mine
    assert binance_sandbox.records(dataset=dataset.name, account="second") == theirs
    binance_sandbox.clear(account="second")
    assert [len(ask.rows(dataset, key=key)) for key in ("hmac", "second")] == [2, 0]


@named(EACH)
def test_another_process_can_do_the_same(binance_sandbox, dataset, hour_ago):
    control, name = SandboxControl(binance_sandbox.url), dataset.name
    added = control.add(n=3, at=hour_ago, dataset=name)
    window = (hour_ago - HOUR, hour_ago + HOUR)

    assert control.records(*window, dataset=name) == added == binance_sandbox.records(dataset=name)
    assert control.load(added, dataset=name, account="second") == 3
    assert control.count(*window, dataset=name, account="second") == 3
    control.clear(dataset=name, account="second")
    assert control.count(*window, dataset=name, account="second") == 0
    assert control.count(*window, dataset=name) == 3
    if dataset.pair:
        control.add(at=hour_ago, isolated_symbol="ETHUSDT", dataset=name)
        assert control.count(*window, "ETHUSDT", dataset=name) == 1
        assert control.count(*window, dataset=name) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"order_id": 7},
        {"isolatedSymbol": "ETHUSDT"},
        {"current": 2},
        {"symbol": "BTCUSDT", "isolated_symbol": "ETHUSDT"},
        {"dataset": "transfer", "transTo": "SPOT", "transFrom": "SPOT", "isolated_symbol": "ETHUSDT"},
        {"dataset": "transfer", "symbol": "ETHUSDT"},
        {"dataset": "interest", "isIsolated": True, "isolatedSymbol": ""},
        {"dataset": "none"},
        {"account": "third"},
    ],
    ids=str,
)
def test_what_would_be_another_record_is_refused(binance_sandbox, wrong):
    """A misspelt option, a parameter for a field, or fields that contradict each other: nothing is added."""
    with pytest.raises(ValueError):
        SandboxControl(binance_sandbox.url).add(**wrong)
    for name in DATASETS:
        assert binance_sandbox.count(dataset=name) == 0


# faults

NOT_OF_LISTS = {name for name, kind in KINDS.items() if kind.to in {"pages", "total"}}
OPTIONS = {"slow-head": {"seconds": 0.01}, "slow-body": {"seconds": 0.01}}


@named(EACH)
@pytest.mark.parametrize("name", KINDS)
def test_every_fault_happens_to_each_dataset_or_is_refused(ask, binance_sandbox, name, dataset, hour_ago):
    """And to that dataset alone, in its answer or among its records."""
    for each in EACH:
        binance_sandbox.add(n=15, at=hour_ago, step_ms=1000, dataset=each.name)
    before = {each.name: binance_sandbox.records(dataset=each.name) for each in EACH}
    window = {"startTime": hour_ago, "endTime": hour_ago + 60_000}
    paging = {"limit": 10, "fromId": 0} if dataset.is_list else {"size": 10, "current": 2}
    right = ask(dataset, **window, **paging)
    if dataset.is_list and name in NOT_OF_LISTS:
        with pytest.raises(ValueError, match=rf"'{name}' .*{dataset.name}"):
            binance_sandbox.fault(name, dataset=dataset.name)
        return
    binance_sandbox.fault(name, dataset=dataset.name, **OPTIONS.get(name, {}))

    others = [ask(each, **window).status_code for each in EACH if each is not dataset]
    try:
        wrong = ask(dataset, **window, **paging)
    except httpx.HTTPError:
        wrong = None

    after = {each.name: binance_sandbox.records(dataset=each.name) for each in EACH}
    assert others == [200] * (len(EACH) - 1)
    assert binance_sandbox.requests[-1].fault == name
    assert {each for each in after if after[each] != before[each]} <= {dataset.name}
    if name in {"enter", "leave", "update", "swap"}:
        assert after[dataset.name] != before[dataset.name]
    elif not name.startswith("slow") and name not in {"second-answer", "gzip"}:
        assert wrong is None or (wrong.status_code, wrong.text) != (200, right.text)
    for row in after[dataset.name]:
        assert list(row) == [field for field in dataset.fields if field in row]


@named(ISOLATED)
def test_records_that_enter_are_of_what_is_asked_for(ask, binance_sandbox, dataset):
    """Of the pair, and with the value that is filtered by."""
    wanted = {dataset.pair: "ETHUSDT", **({"asset": "BTC"} if "asset" in dataset.filters else {})}
    binance_sandbox.fault("enter", n=3, dataset=dataset.name)

    assert len(ask.rows(dataset, **wanted)) == 3


def test_a_fault_that_cannot_happen_is_refused(binance_sandbox):
    for name, options in (
        ("short", {"path": "/api/v3/time"}),
        ("leave", {"path": "/sapi/v1/nowhere"}),
        ("leave", {"dataset": "none"}),
        ("leave", {"dataset": "interest", "path": DATASETS["transfer"].path}),
        ("429", {"dataset": "capital_flow", "current": 2}),
    ):
        with pytest.raises(ValueError):
            binance_sandbox.fault(name, **options)


def test_a_fault_of_no_path_happens_wherever_it_can(ask, binance_sandbox, hour_ago):
    """With `path=None` it is not one of a dataset: what has no total keeps its answer, what has no records too."""
    for each in EACH:
        binance_sandbox.add(n=3, at=hour_ago, dataset=each.name)
    binance_sandbox.fault("total", path=None, times=None, value=7)

    answers = [ask(each) for each in EACH]
    time = ask.http.get(f"{binance_sandbox.url}/api/v3/time")

    assert [answer.json()["total"] for answer in answers if isinstance(answer.json(), dict)] == [7] * len(PAGED)
    assert "serverTime" in time.json()
    binance_sandbox.fault("-1021", path=None)
    assert ask.http.get(f"{binance_sandbox.url}/api/v3/ping").json()["code"] == -1021


def test_a_path_is_enough_to_say_which_dataset(ask, binance_sandbox, hour_ago):
    binance_sandbox.add(n=3, at=hour_ago, dataset="interest")
    binance_sandbox.add(n=3, at=hour_ago)
    binance_sandbox.fault("leave", path=DATASETS["interest"].path)

    assert [len(ask.rows(DATASETS[name])) for name in ("interest", "force_liquidation")] == [2, 3]


# readings of what is not documented


@pytest.fixture
def read(ask, binance_sandbox):
    """Reads a window of a dataset: ids and total of each page, until a page is empty or repeats."""

    def read(dataset, start, end, size=10, **settings):
        binance_sandbox.settings.change(**settings)
        pages = []
        for current in range(1, 8):
            content = ask(dataset, startTime=start, endTime=end, size=size, current=current).json()
            pages.append(
                ([row[dataset.ids[-1 if len(dataset.ids) == 1 else 1]] for row in content["rows"]], content["total"])
            )
        return pages

    return read


@named(PAGED)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ([24, 14], 25, [10, 10, 5])),
        ({"start_exclusive": True}, ([24, 14], 24, [10, 10, 4])),
        ({"end_exclusive": True}, ([23, 13], 24, [10, 10, 4])),
        ({"total_cap": 12}, ([24, 14], 12, [10, 10, 5])),
        ({"list_cap": 12}, ([24, 14], 25, [10, 2, 0])),
        ({"total_cap": 12, "list_cap": 12}, ([24, 14], 12, [10, 2, 0])),
        ({"size_cap": 7}, ([24, 17], 25, [7, 7, 7, 4])),
        ({"size_fixed": 12}, ([24, 12], 25, [12, 12, 1])),
        ({"total_of": "page"}, ([24, 14], None, [10, 10, 5])),
        ({"total_of": "account"}, ([24, 14], 40, [10, 10, 5])),
        ({"beyond": "last"}, ([24, 14], 25, [10, 10, 5, 5])),
        ({"order": "oldest"}, ([0, 10], 25, [10, 10, 5])),
        ({"order": "id"}, ([24, 14], 25, [10, 10, 5])),
        ({"window_grain_ms": 10_000}, ([20, 10], 21, [10, 10, 1])),
        ({"created_lag_ms": 10_000}, None),
    ],
    ids=str,
)
def test_the_page_can_be_read_otherwise(read, binance_sandbox, dataset, settings, expected):
    """Each reading: the first ids of two pages, the total, the lengths of pages."""
    at = binance_sandbox.now_ms() // 10_000 * 10_000 - HOUR
    ids = [
        row[dataset.ids[-1 if len(dataset.ids) == 1 else 1]]
        for row in binance_sandbox.add(n=40, at=at, step_ms=1000, dataset=dataset.name)
    ]
    if not dataset.newest_first and "order" not in settings:
        settings = {**settings, "order": "newest"}

    pages = read(dataset, at, at + 24_000, **settings)

    if expected is None:
        found = [each for page, _ in pages for each in page]
        assert set(found) - set(ids[:25])
        assert len(found) == len(set(found)) == pages[0][1]
        return
    firsts, total, lengths = expected
    assert [page[0][0] for page in pages[:2]] == [ids[first] for first in firsts]
    assert [len(page) for page, _ in pages[: len(lengths)]] == lengths
    assert {stated for _, stated in pages} == ({10, 5, 0} if total is None else {total})


def test_readings_hold_for_the_ledger_too(ask, binance_sandbox, hour_ago):
    ids = [row["id"] for row in binance_sandbox.add(n=20, at=hour_ago, step_ms=1000, dataset="capital_flow")]
    window = (hour_ago, hour_ago + 19_000)

    for settings, expected in (
        ({"start_exclusive": True}, ids[:0:-1]),
        ({"end_exclusive": True}, ids[18::-1]),
        ({"list_cap": 5}, ids[:14:-1]),
        ({"size_cap": 5}, ids[:14:-1]),
        ({"size_fixed": 5}, ids[:14:-1]),
        ({"order": "oldest"}, ids),
    ):
        binance_sandbox.reset()
        binance_sandbox.add(n=0)
        binance_sandbox.load(records(ids, hour_ago), dataset="capital_flow")
        binance_sandbox.settings.change(**settings)
        assert ledger(ask, *window) == expected


def records(ids, at):
    base = {"tranId": 1, "asset": "BTC", "type": "BORROW", "amount": "1"}
    return [{"id": each, **base, "timestamp": at + 1000 * place} for place, each in enumerate(ids)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_exclusive": 1},
        {"end_exclusive": None},
        {"total_cap": 0},
        {"list_cap": -1},
        {"total_cap": True},
        {"total_of": "all"},
        {"total_of": None},
        {"beyond": "error"},
        {"order": "random"},
        {"window_grain_ms": 0},
        {"window_grain_ms": None},
        {"created_lag_ms": -1},
        {"from_id": "with"},
        {"cursor_order": None},
        {"mixed_ids": "yes"},
        {"time_unit": "us"},
        {"uid_limit": "1"},
        {"minute": 0},
        {"order": ["id"]},
    ],
    ids=str,
)
def test_a_reading_that_is_none_is_refused(binance_sandbox, wrong):
    """And nothing is changed, also not what was right beside it."""
    before = vars(binance_sandbox.settings).copy()

    with pytest.raises(ValueError):
        binance_sandbox.settings.change(latency=3.0, **wrong)

    assert vars(binance_sandbox.settings) == before


def test_every_setting_dataset_and_story_is_documented():
    """By name, with what it can be."""
    text = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()

    names = [*inspect.signature(Settings).parameters, *DATASETS, *STORIES]
    assert not [name for name in names if f"`{name}`" not in text]
    words = [word for choices in CHOICES.values() for word in choices if isinstance(word, str)]
    assert not [word for word in words if f"`{word}`" not in text]
