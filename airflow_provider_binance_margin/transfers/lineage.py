"""OpenLineage of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_binance_margin.transfers.progress import Progress

_NAMESPACE = "binance://api.binance.com"


def lineage_of(paths: Iterable[str], progress: Progress | None) -> Any:
    """An `OperatorLineage`: the endpoints as inputs, the objects written (at most 1,000) as outputs.

    It imports OpenLineage, which costs most of a second.
    """
    from airflow.providers.common.compat.openlineage.facet import (
        Dataset,
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(
        inputs=[Dataset(namespace=_NAMESPACE, name=path.lstrip("/")) for path in dict.fromkeys(paths)],
        outputs=[
            OutputDataset(
                namespace=f"s3://{progress.bucket}",
                name=result.key,
                outputFacets={
                    "outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=result.records, size=result.size)
                },
            )
            for result in (progress.named if progress else [])
            if progress and result.key
        ],
    )
