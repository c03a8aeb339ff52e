"""Plugin for Airflow's UI: the page of the lake's coverage. Every Airflow process imports this, so it is light."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

PREFIX = "binance-margin"


class BinanceMarginPlugin(AirflowPlugin):
    """An entry in the menu, and the application behind it, which only the API server asks for."""

    name = "binance_margin"
    external_views: list[Any] = [  # noqa: RUF012 - declared by Airflow; since 3.1
        {
            "name": "Binance margin",
            # no leading slash: relative to wherever the UI is mounted
            "href": f"{PREFIX}/page",
            "url_route": PREFIX,
            "destination": "nav",
            "category": "browse",
            "icon": f"{PREFIX}/icon.svg",
            "icon_dark_mode": f"{PREFIX}/icon-dark.svg",
        }
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """FastAPI and the database models, which no scheduler, worker or DAG processor needs."""
        from airflow_provider_binance_margin.plugins.coverage_app import create_app

        return [{"app": create_app(), "url_prefix": f"/{PREFIX}", "name": "Binance margin"}]
