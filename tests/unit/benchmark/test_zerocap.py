"""ZeroCap beside MAGIC: every side does the work that it should, and both kinds of ZeroCap write the same."""

import pytest

from magic_cli.benchmark.report import build_tables
from magic_cli.benchmark.settings import BenchSettings, SearchSettings, ZeroCapSettings
from magic_cli.benchmark.zerocap import compare_with_magic, steps_of_zerocap


@pytest.fixture
def section(workload, monkeypatch):
    from magic_cli.decoding.zerocap.method import ZeroCap

    # the tiny tokenizer lacks "Image", and would need more tokens for it than a caption has
    method = ZeroCap(decoding_len=6, prompt="<|endoftext|>A man", num_iterations=2, num_texts=9, step_size=0.6)
    monkeypatch.setattr(ZeroCapSettings, "method", lambda self: method)
    search = SearchSettings(k=6, alpha=0.1, beta=2.0, decoding_len=12)
    settings = BenchSettings(captions=search, texts=8, zerocap=ZeroCapSettings(captions=3, repeats=2))
    steps = []
    found = compare_with_magic(workload, settings, lambda *note: steps.append(1))
    assert len(steps) == steps_of_zerocap(settings)
    return found


def test_sides_do_the_work_of_their_algorithms(section):
    work = {name: side["work_per_text"] for name, side in section["sides"].items()}
    tokens = section["new_tokens_per_text"]
    assert work["zerocap_published"]["texts_encoded"] == pytest.approx(9 * 2 * tokens["published"])
    assert 9 * tokens["cached"] <= work["zerocap_cached"]["texts_encoded"] < work["zerocap_published"]["texts_encoded"]
    assert work["zerocap_published"]["head_rows"] == pytest.approx(3 * tokens["published"])
    assert work["magic_released"]["texts_encoded"] == 6 * 11
    assert work["magic"]["texts_encoded"] <= 6 * 11
    assert section["identical"] == section["captions"] == 3 and tokens["published"] == tokens["cached"]
    assert all(side["seconds_per_text"] > 0 and len(side["samples"]) == 2 for side in section["sides"].values())
    assert section["times_magic"]["magic"] == section["times_magic_released"]["magic_released"] == 1


def test_table_has_a_line_for_every_side(section):
    (table,) = build_tables({"zerocap": section})
    assert [row.cells[0].text for row in table.rows] == [
        "ZeroCap, as published", "ZeroCap, magic's caching", "MAGIC, released algorithm", "MAGIC, magic, batch 1",
    ]  # fmt: skip
    assert any("identical in 3 of 3 captions" in note for note in table.notes)
