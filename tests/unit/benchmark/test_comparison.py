"""The core beside the released algorithm on tiny models: agreement, counts, ratios."""

from dataclasses import dataclass, replace

import pytest

from magic_cli.benchmark.comparison import compare, steps_of_comparison
from magic_cli.benchmark.report import build_tables
from magic_cli.benchmark.settings import BenchSettings, SearchSettings
from magic_cli.benchmark.workloads import Workload
from magic_cli.decoding.request import is_lazy
from magic_cli.reports.tables import render

SEARCH = SearchSettings(k=6, alpha=0.1, beta=2.0, decoding_len=12)


@pytest.fixture
def settings():
    return BenchSettings(texts=4, checked_texts=3, batch_sizes=[1, 4], repeats=2, captions=SEARCH)


def test_core_agrees_with_the_released_algorithm_and_does_less_work(workload, settings):
    steps = []
    section = compare(workload, SEARCH, settings, lambda *note: steps.append(1))
    assert len(steps) == steps_of_comparison(settings)
    assert (section["identical"], section["checked"], section["same_in_all_ways"]) == (3, 3, True)
    released, (alone, together, *remembering) = section["released"], section["core"]
    assert [(core["batch_size"], core["step_memory"]) for core in section["core"]] == [(1, 0), (4, 0), (1, 128), (4, 128)]
    assert [core["work_per_text"]["steps_remembered"] > 0 for core in section["core"]] == [False, False, True, False]
    assert remembering[0]["work_per_text"]["texts_encoded"] < alone["work_per_text"]["texts_encoded"]
    assert released["work_per_text"]["lm_positions"] == 1 + 6 * 11
    assert released["work_per_text"]["texts_encoded"] == 6 * 11
    for core in (alone, together):
        assert core["work_per_text"]["lm_positions"] < released["work_per_text"]["lm_positions"]
        assert core["work_per_text"]["text_tokens"] < released["work_per_text"]["text_tokens"] / 2
        assert core["gflop_per_text"] < released["gflop_per_text"] / 2
        assert core["speedup"] == pytest.approx(released["seconds_per_text"] / core["seconds_per_text"])
    for core in (released, *section["core"]):
        assert core["loop_to_bare"] == pytest.approx(core["seconds_per_text"] / core["bare_seconds_per_text"])
        share = core["gflop_per_text"] / core["seconds_per_text"] / section["peak_gflops"]
        assert core["share_of_peak"] == pytest.approx(share) and 0 < share < 1
    assert len(released["samples"]) == len(alone["samples"]) == len(alone["bare_samples"]) == 2
    assert section["examples"] == workload.texts(workload.decode(4))[:3]


@dataclass
class Wrong(Workload):
    """A core whose last text has another second token."""

    def decode(self, batch_size, **options):
        ids = super().decode(batch_size, **options)
        ids[2] = [ids[2][0], ids[2][1] + 1, *ids[2][2:]]
        return ids


def test_difference_is_found_when_one_token_of_one_text_differs(workload, settings):
    once = replace(settings, batch_sizes=[4], repeats=1)
    section = compare(Wrong(**vars(workload)), SEARCH, once, lambda *note: None)
    assert section["identical"] == 2


def test_texts_end_early_only_when_settled(workload):
    settled, endless = workload.decode(4), workload.decode(4, until_settled=False, number=2)
    end = workload.model.end_id
    assert [len(ids) for ids in endless] == [11, 11]
    for short, whole in zip(settled, endless, strict=False):
        assert whole[: len(short)] == short
        assert len(short) == 11 or short[-1] == end


def test_core_leaves_candidates_out_where_a_run_does_and_says_so(workload, settings):
    section = compare(workload, SEARCH, settings, lambda *note: None)
    assert all(core["lazy"] for core in section["core"])

    class OnGPU(Workload):
        def is_lazy(self, batch_size):
            return is_lazy("cuda", batch_size)

    there = OnGPU(**{name: value for name, value in vars(workload).items() if name != "packed_text_model"})

    def positions(side):
        before = workload.work.counts["lm_positions"]
        side.decode(4)
        return workload.work.counts["lm_positions"] - before

    assert there.decode(4) == workload.decode(4)
    assert positions(there) > positions(workload), "four are too few to be lazy there"
    section = compare(there, SEARCH, settings, lambda *note: None)
    assert not any(core["lazy"] for core in section["core"])
    table = render(build_tables({"captions": {"natural": section}}), "markdown")
    assert "magic, batch 4 (run.lazy=false)" in table and "magic, batch 4 |" not in table
