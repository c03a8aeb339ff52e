"""Provider metadata. Every Airflow process calls it, so it imports nothing."""

UI_FIELD_BEHAVIOUR = {
    "hidden-fields": ["schema", "extra"],
    "relabeling": {"host": "Base URL", "login": "API key", "password": "API secret (HMAC keys only)"},
    "placeholders": {
        "host": "https://api.binance.com",
        "port": "443",
        "login": "the API key",
        "password": "leave empty when a private key is given",
    },
}

CONN_FIELDS = {
    "private_key": {
        "label": "Private key (Ed25519 or RSA)",
        "description": "PEM or base64 of its DER, instead of the API secret",
        "schema": {"type": ["string", "null"], "format": "multiline"},
    },
    "key_file": {
        "label": "Key file",
        "description": "Path on the worker to the private key, for mounted secrets",
        "schema": {"type": ["string", "null"]},
    },
    "private_key_passphrase": {
        "label": "Passphrase",
        "description": "Of an encrypted private key",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "recv_window": {
        "label": "recvWindow (ms)",
        "description": "How long a request stays valid; 5000 if empty",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 59999},
    },
    "timeout": {
        "label": "Timeout (s)",
        "description": "For one answer; 15 if empty",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 600},
    },
    "weight_share": {
        "label": "Share of the limits",
        "description": "Part of each documented limit of weight that is used; 0.6 if empty",
        "schema": {"type": ["number", "null"], "minimum": 0.05, "maximum": 0.95},
    },
}


def get_provider_info():  # type: ignore[no-untyped-def]  # noqa: ANN201 - a type would have to be imported
    """Return the metadata in the form of Airflow's provider.yaml."""
    package = "airflow_provider_binance_margin"
    names = ("margin_history", "force_liquidation")

    def modules(*paths: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return [{"integration-name": "Binance", "python-modules": [f"{package}.{path}" for path in paths]}]

    return {
        "package-name": "airflow-provider-binance-margin",
        "name": "Binance Margin",
        "description": "The history of your Binance margin account, each record once and exact, in S3.",
        "integrations": [
            {
                "integration-name": "Binance",
                "external-doc-url": "https://developers.binance.com/docs/margin_trading/trade",
                "tags": ["service"],
            }
        ],
        "hooks": modules("hooks.binance"),
        "transfers": [
            {
                "source-integration-name": "Binance",
                "target-integration-name": "Amazon Simple Storage Service (S3)",
                "python-module": f"{package}.transfers.{name}_to_s3",
            }
            for name in names
        ],
        "sensors": modules(*(f"sensors.{name}" for name in names)),
        "triggers": modules(*(f"triggers.{name}" for name in names)),
        "operators": modules(*(f"operators.{name}_audit" for name in names), "operators.liquidation_report"),
        "connection-types": [
            {
                "connection-type": "binance",
                "hook-name": "Binance",
                "hook-class-name": f"{package}.hooks.binance.BinanceHook",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "extra-links": [
            f"{package}.transfers.margin_history_to_s3.S3ConsoleLink",
            f"{package}.coverage.CoverageLink",
        ],
    }
