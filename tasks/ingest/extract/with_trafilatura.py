"""Extraction by trafilatura (Barbaresi, ACL 2021) instead of ours: `extractor: trafilatura`.

An optional dependency, about ten times as slow. Pages pass the limits of `tasks.ingest.page` first,
which bound its time too.
"""

from __future__ import annotations

from infra.stage import StageError


def trafilatura_text(page: str) -> str:
    """Main content of a decoded page as plain text; "" where trafilatura finds none. Comments are
    left out, as they are by ours.

    Raises StageError where trafilatura is not installed.
    """
    try:
        from trafilatura import extract
    except ImportError as error:
        raise StageError(
            "extractor trafilatura needs the package of that name: pip install "
            "'puna[trafilatura]', or set extractor to puna"
        ) from error
    return extract(page, include_comments=False) or ""
