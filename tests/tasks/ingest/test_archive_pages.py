"""Real archives: every one is read or refused in words, and has the pages that FastWARC finds."""

from pathlib import Path

import pytest

from tests.tasks.ingest.archive_pages import EXPLAINED, archives, fastwarc_pages, outcomes


@pytest.mark.real
def test_pages_agree_with_fastwarc_or_the_difference_is_explained(real_data: Path) -> None:
    differences, refused, pages = {}, [], 0
    for path in archives(real_data):
        found, theirs = outcomes(path), fastwarc_pages(path)
        pages += found["page"]
        if any(kind.startswith("refused") for kind in found):
            refused.append(path)
        if found["page"] != theirs:
            differences[path.name] = (found["page"], theirs)
    assert differences == {name: row[:2] for name, row in EXPLAINED.items()}
    assert pages > 100
    others = [path.name for path in refused if ".arc" not in path.suffixes]
    assert others == ["CC-MAIN-2024-22.warc.paths.gz"]  # a list of archives
