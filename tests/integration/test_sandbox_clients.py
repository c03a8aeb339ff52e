"""Clients that others wrote for the real exchange work with the sandbox as they are."""

import pytest

client = pytest.importorskip("binance_sdk_margin_trading.margin_trading")

pytest_plugins = ["airflow_provider_binance_margin.sandbox.pytest_plugin"]

AT = 1_760_000_000_000
# python-binance imports a name that websockets has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy between two sockets of this machine."""
    monkeypatch.setenv("NO_PROXY", "*")


def official(sandbox, name):
    """The exchange's own client, with one of the sandbox's keys."""
    key = sandbox.keys[name]
    signer = {"private_key": key.private_key} if key.private_key else {"api_secret": key.secret}
    config = client.ConfigurationRestAPI(
        api_key=key.api_key, base_path=sandbox.url, timeout=10_000, retries=0, **signer
    )
    return client.MarginTrading(config_rest_api=config).rest_api


@pytest.fixture
def python_binance(binance_sandbox):
    import binance

    key = binance_sandbox.keys["hmac"]
    client = binance.Client(key.api_key, key.secret, ping=False)
    client.MARGIN_API_URL = binance_sandbox.url + "/sapi"
    yield client
    client.close_connection()


@pytest.mark.parametrize("name", ["hmac", "rsa", "ed25519"])
def test_the_official_client_reads_all_pages(binance_sandbox, name):
    """Signed with each kind of key."""
    added = binance_sandbox.add(n=250, at=AT)
    client = official(binance_sandbox, name)

    pages = [
        client.get_force_liquidation_record(start_time=AT, end_time=AT + 249, current=page, size=100).data()
        for page in (1, 2, 3)
    ]

    assert [row.order_id for page in pages for row in page.rows] == [each["orderId"] for each in reversed(added)]
    assert {page.total for page in pages} == {250}
    assert {entry.key for entry in binance_sandbox.requests} == {name}


@pytest.mark.parametrize("name", ["hmac", "rsa", "ed25519"])
def test_the_official_client_asks_for_a_chinese_pair(binance_sandbox, name):
    binance_sandbox.add(n=2, at=AT, symbol="币安人生USDT", isolated=True)

    answer = official(binance_sandbox, name).get_force_liquidation_record(
        start_time=AT, end_time=AT + 1, isolated_symbol="币安人生USDT", recv_window=5000
    )

    assert [row.symbol for row in answer.data().rows] == ["币安人生USDT"] * 2


def test_the_official_client_lists_the_pairs(binance_sandbox):
    answer = official(binance_sandbox, "ed25519").query_isolated_margin_account_info()

    assert "ETHUSDT" in str(answer.data())


def test_the_official_client_is_refused_with_another_secret(binance_sandbox):
    client = official(binance_sandbox, "hmac")
    client.configuration.api_secret = "another"

    with pytest.raises(Exception, match="Signature for this request is not valid"):
        client.get_force_liquidation_record()


def test_python_binance_reads_all_pages(binance_sandbox, python_binance):
    added = binance_sandbox.add(n=120, at=AT)

    pages = [
        python_binance.get_margin_force_liquidation_rec(startTime=AT, endTime=AT + 119, size=100, current=page)
        for page in (1, 2)
    ]

    assert [row for page in pages for row in page["rows"]] == added[::-1]


def test_python_binance_cannot_sign_a_chinese_pair(binance_sandbox, python_binance):
    """As with the exchange since 2026: it signs before it encodes."""
    binance_sandbox.add(at=AT, symbol="币安人生USDT", isolated=True)

    with pytest.raises(Exception, match="Signature for this request is not valid") as caught:
        python_binance.get_margin_force_liquidation_rec(isolatedSymbol="币安人生USDT")

    assert caught.value.code == -1022
