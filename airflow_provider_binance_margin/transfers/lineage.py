"""What a run read and wrote, in OpenLineage's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_binance_margin.transfers.load import Progress

_NAMESPACE = "binance://api.binance.com"


def lineage_of(path: str, tally: Progress | None) -> Any:
    """The endpoint as input, the objects written (at most `load.MOST_NAMED`) with rows and size as outputs.

    :return: an `OperatorLineage`; it imports OpenLineage, which costs most of a second
    """
    from airflow.providers.common.compat.openlineage.facet import (
        Dataset,
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(
        inputs=[Dataset(namespace=_NAMESPACE, name=path.lstrip("/"))],
        outputs=[
            OutputDataset(
                namespace=f"s3://{tally.bucket}",
                name=made.key,
                outputFacets={
                    "outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=made.records, size=made.size)
                },
            )
            for made in (tally.named if tally else [])
            if tally and made.key
        ],
    )
