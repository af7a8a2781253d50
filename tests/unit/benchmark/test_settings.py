"""Settings of magic bench: what the nulls stand for, and what is refused."""

import pytest

from magic_cli.benchmark.settings import LANGUAGE_MODELS, PARTS, BenchSettings, GrowthSettings, SearchSettings, ZeroCapSettings
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import SettingsError


def test_nulls_stand_for_little_unless_full():
    quick, full = BenchSettings(), BenchSettings(full=True)
    assert (quick.parts, quick.language_models, quick.checked_texts, quick.repeats) == (["captions"], ["natural"], 1, 3)
    assert (full.parts, full.language_models, full.checked_texts, full.repeats) == (list(PARTS[:-1]), list(LANGUAGE_MODELS), 8, 5)
    assert PARTS[-1] == "zerocap", "slow, and so only by name"
    assert BenchSettings(full=True, parts=["memory"], repeats=1).parts == ["memory"]


def test_defaults_are_the_paper_s_settings():
    settings = BenchSettings()
    assert vars(settings.captions) == {"k": 45, "alpha": 0.1, "beta": 2.0, "decoding_len": 16}
    assert vars(settings.stories) == {"k": 5, "alpha": 0.6, "beta": 0.15, "decoding_len": 100}
    zerocap = settings.zerocap.method()
    assert zerocap == ZeroCap() and (zerocap.num_texts, zerocap.num_iterations, zerocap.decoding_len) == (512, 5, 17)
    assert vars(settings.captions.method()) | vars(settings.captions) == vars(settings.captions.method())


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: BenchSettings(parts=["caption"]), "parts: did you mean captions?"),
        (lambda: BenchSettings(parts=[]), "parts must name at least one of captions, "),
        (lambda: BenchSettings(variants=["int8"]), "variants: allowed: bfloat16, compile, got 'int8'"),
        (lambda: BenchSettings(batch_sizes=[0]), "batch_sizes must be numbers of at least 1, got [0]"),
        (lambda: BenchSettings(texts=4), "texts must be at least the largest of batch_sizes, 8, got 4"),
        (lambda: BenchSettings(checked_texts=9), "checked_texts must be at most texts, 8, got 9"),
        (lambda: BenchSettings(repeats=0), "repeats must be at least 1, got 0"),
        (lambda: BenchSettings(captions=SearchSettings(alpha=2)), "captions.alpha must be in [0, 1], got 2"),
        (lambda: BenchSettings(stories=SearchSettings(beta=0)), "stories.beta must be greater than 0, got 0"),
        (lambda: BenchSettings(zerocap=ZeroCapSettings(captions=9)), "zerocap.captions must be at most texts, 8, got 9"),
        (lambda: BenchSettings(zerocap=ZeroCapSettings(num_texts=0)), "zerocap.num_texts must be at least 1, got 0"),
        (lambda: GrowthSettings(k=[]), "growth.k must be numbers of at least 1, got []"),
    ],
)
def test_wrong_value_is_refused_in_one_line(build, line):
    with pytest.raises(SettingsError) as refusal:
        build()
    assert str(refusal.value).startswith(line) and "\n" not in str(refusal.value)
