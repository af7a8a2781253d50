"""The released strip changes the queries of exactly 7 of ROCStories' 1,500 test titles."""

from pathlib import Path

import pytest

from magic_cli.retrieval.queries import load_queries, released_title

TITLES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "magic_released" / "story" / "rocstories_test.txt"


@pytest.mark.skipif(not TITLES.exists(), reason="needs ../shared/data")
def test_seven_titles_lose_letters():
    titles = [query["query"] for query in load_queries([str(TITLES)], [])]
    changed = {title: released_title(title) for title in titles if released_title(title) != title}
    assert len(titles) == 1500 and len(changed) == 7
    assert all(title.endswith(cut) and len(title) - len(cut) < 5 for title, cut in changed.items())
