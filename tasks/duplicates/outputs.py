"""What an election among duplicates writes; dedup and semantic declare it."""

from __future__ import annotations

from infra.stage import Output


def outputs_of_election(clusters: str) -> tuple[Output, ...]:
    """The files of clusters, which are of `clusters`, and of every document's fate."""
    return (
        Output(
            "clusters.parquet",
            f"one row per cluster of {clusters}",
            {
                "representative": "string",
                "source": "string",
                "crawl": "string",
                "size": "int64",
                "exact": "int64",
                "near": "int64",
                "members": "list<element: struct<id: string, source: string, kind: string, "
                "similarity: float>>",
            },
        ),
        Output(
            "*/part-*.parquet",
            "one folder per source, row-aligned with its documents",
            {"duplicate_of": "string", "similarity": "float", "kind": "string"},
        ),
    )
