"""Load any window of forced liquidations by hand, from a form.

The window must consist of whole UTC days. The objects are those that the daily DAG
writes.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

with DAG(
    "binance_force_liquidation_by_hand",
    description="Forced liquidations of a window chosen in the form",
    schedule=None,
    params={
        "start": Param(
            "2026-11-01T00:00:00Z",
            type="string",
            format="date-time",
            title="Start",
            description="Inclusive, UTC midnight",
        ),
        "end": Param(
            "2026-11-02T00:00:00Z",
            type="string",
            format="date-time",
            title="End",
            description="Exclusive, UTC midnight",
        ),
        "allow_shrink": Param(
            False,  # noqa: FBT003 - the default of a form's field
            type="boolean",
            title="Allow fewer records",
            description="Replace an object even by one that holds fewer records",
        ),
    },
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    ForceLiquidationToS3Operator(
        task_id="load",
        s3_bucket="{{ var.value.get('binance_lake_bucket', 'my-lake') }}",
        grain="day",
        start="{{ params.start }}",
        end="{{ params.end }}",
        allow_shrink="{{ params.allow_shrink }}",
    )
