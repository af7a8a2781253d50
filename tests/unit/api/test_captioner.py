"""Captions and stories from Python are those of the commands, to the token."""

import contextlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

import magic_cli
from magic_cli.cli.main import main
from tests.files import lines
from tests.tiny_models import CAPTIONS
from tests.unit.api.conftest import SETTINGS

MAGIC = SETTINGS
SAMPLED = {"decoding_len": 10}


def predictions(command, words, tmp_path):
    assert main([command, *words, "run.dir=run"]) == 0
    return lines(tmp_path / "run" / "predictions.jsonl")


def as_words(settings):
    return [f"decoding.{name}={value}" for name, value in settings.items()]


@pytest.mark.parametrize(
    ("method", "settings", "seed"),
    [
        ("magic", MAGIC, None),
        ("contrastive", {"k": 5, "alpha": 0.6, "decoding_len": 10}, None),
        ("beam", {"num_beams": 3, "decoding_len": 8}, None),
        ("nucleus", SAMPLED, 3),
        ("rerank", {"num": 3, **SAMPLED}, 5),
        ("zerocap", {"num_iterations": 1, "num_texts": 16, "decoding_len": 5}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_captions_are_those_of_the_command(captioner, words, files, tmp_path, capsys, method, settings, seed):
    seeded = [] if seed is None else [f"run.seed={seed}"]
    wanted = predictions(
        "caption", ["--images", str(files[0].parent), f"decoding={method}", *words, *as_words(settings), *seeded], tmp_path
    )
    found = captioner.caption(files, method, seed=seed, **settings)
    assert [one.id for one in found] == [one["id"] for one in wanted]
    assert [one.text for one in found] == [one["caption"] for one in wanted]
    assert [list(one.token_ids) for one in found] == [one["token_ids"] for one in wanted]
    assert [one.image for one in found] == [one["image"] for one in wanted]
    assert len({one.text for one in found}) > 1 or method in ("contrastive", "greedy", "beam"), "the image counts"


def test_guides_are_chosen_by_name(captioner, words, files, tmp_path, capsys):
    records = [{"image": "x.jpg", "caption": text} for text in CAPTIONS]
    (tmp_path / "captions.json").write_text(json.dumps(records))
    memory = {"guides.memory.captions_file": "captions.json", "guides.memory.neighbours": 3, "guides.memory.folder": "index"}
    asked = [f"{name}={value}" for name, value in memory.items()]
    wanted = predictions(
        "caption",
        ["--images", str(files[0].parent), *words, *as_words(MAGIC), "decoding.guides=[image,memory]", *asked],
        tmp_path,
    )
    found = captioner.caption(files, **MAGIC, guides=["image", "memory"], settings=memory)
    assert [one.text for one in found] == [one["caption"] for one in wanted]
    assert [one.text for one in found] != [one.text for one in captioner.caption(files, **MAGIC)]
    assert captioner.models["guides.memory"]["count"] == len(CAPTIONS)


@pytest.mark.parametrize(("method", "settings"), [("magic", MAGIC), ("nucleus", SAMPLED), ("rerank", {"num": 3, **SAMPLED})])
def test_stories_are_those_of_the_command(captioner, words, files, tmp_path, capsys, method, settings):
    longer = {**settings, "decoding_len": 24}
    titles = [word for title in ("A day", "A man") for word in ("--title", title)]
    wanted = predictions(
        "story",
        [*titles, "--image", str(files[1]), f"decoding={method}", *words, *as_words(longer), "run.seed=2", "prompt={title} was"],
        tmp_path,
    )
    looks = pytest.warns(UserWarning, match="looks at no image") if method == "nucleus" else contextlib.nullcontext()
    with looks:
        found = captioner.story(["A day", "A man"], files[1], method, seed=2, prompt="{title} was", **longer)
    assert [(one.id, one.title, one.text, list(one.token_ids)) for one in found] == [
        (one["id"], one["title"], one["story"], one["token_ids"]) for one in wanted
    ]


def test_image_in_memory_is_captioned_as_its_file(captioner, files):
    forms = [files[0], str(files[0]), Image.open(files[0]), np.asarray(Image.open(files[0]).convert("RGB"))]
    texts = [captioner.caption(form, **MAGIC) for form in forms]
    assert len({one.text for one in texts}) == 1 and {one.token_ids for one in texts} == {texts[0].token_ids}
    assert [one.id for one in texts] == [files[0].name] * 3 + ["image-1"]
    assert captioner.caption([forms[3], forms[1]], **MAGIC)[1].text == texts[0].text
    floats = np.asarray(forms[3], dtype=np.float64) / 255
    assert captioner.caption(floats, **MAGIC).text == texts[0].text
    assert captioner.caption({"mine": forms[2]}, **MAGIC)[0].id == "mine"


def test_method_is_changed_back_and_forth_without_a_trace_of_the_other(captioner, files):
    first = captioner.caption(files[0], **MAGIC)
    captioner.caption(files[0], "contrastive", k=3, alpha=0.6, decoding_len=14)
    assert captioner.caption(files[0], **MAGIC) == first


def test_streams_take_turns_and_join_to_the_captions(captioner, files):
    wanted = [captioner.caption(file, **MAGIC) for file in files[:2]]
    streams = [captioner.stream(files[0], **MAGIC), captioner.stream(files[1], **MAGIC)]
    steps = [[], []]
    while any(streams):
        for number, stream in enumerate(streams):
            step = next(stream, None) if stream else None
            streams[number] = stream if step else None
            steps[number] += [step] if step else []
        captioner.caption(files[2], "contrastive", k=3, alpha=0.1, decoding_len=6)
    for caption, of_one in zip(wanted, steps, strict=True):
        assert "".join(map(str, of_one)) == caption.text == of_one[-1].text
        assert tuple(step.chosen.token_id for step in of_one) == caption.token_ids


def test_stream_keeps_the_settings_that_it_was_asked_for(captioner, files):
    wanted = [captioner.caption(files[0], "nucleus", seed=seed, **SAMPLED) for seed in (1, 2)]
    streams = [captioner.stream(files[0], "nucleus", seed=seed, **SAMPLED) for seed in (1, 2)]
    captioner.caption(files[1], "nucleus", seed=7, **SAMPLED)
    assert [tuple(step.chosen.token_id for step in steps) for steps in streams] == [one.token_ids for one in wanted]
    traced = captioner.stream(files[0], **MAGIC)
    captioner.caption(files[1], **MAGIC)
    assert all(one.score is not None for step in traced for one in step.candidates), "not as a run without trace leaves them out"


def test_stop_text_that_is_longer_than_the_text_so_far_holds_all_of_it_back(captioner, files):
    settings = {"decoding_len": 24, "prompt": "A man"}
    whole = captioner.caption(files[0], "greedy", **settings).text
    rules = {"rules.stop_texts": [whole[:12]]}
    text = captioner.caption(files[0], "greedy", **settings, settings=rules).text
    assert "".join(step.new_text for step in captioner.stream(files[0], "greedy", **settings, settings=rules)) == text


@pytest.mark.parametrize("method", ["greedy", "nucleus", "contrastive"])
def test_stream_is_the_text_of_each_method_with_and_without_stop_texts(captioner, files, method):
    settings = {"seed": 1, "decoding_len": 24, "prompt": "A man"}
    whole = captioner.caption(files[0], method, **settings).text
    for rules in ({}, {"rules.stop_texts": [whole[len(whole) // 2 :][:3]]}):
        text = captioner.caption(files[0], method, **settings, settings=rules).text
        steps = list(captioner.stream(files[0], method, **settings, settings=rules))
        assert "".join(step.new_text for step in steps) == text
        assert (len(text) < len(whole)) == bool(rules)
        assert sum(map(bool, map(str, steps))) > 1, "it comes in parts"


def test_story_is_streamed_when_a_title_is_given(captioner, files):
    settings = {**MAGIC, "decoding_len": 30, "prompt": "{title} was"}
    steps = list(captioner.stream(files[0], title="A day", **settings))
    assert "".join(map(str, steps)) == captioner.story("A day", files[0], **settings).text
    told = list(captioner.stream(title="A day", method="greedy", decoding_len=30, prompt="{title} was"))
    assert "".join(map(str, told)) == captioner.story("A day", method="greedy", decoding_len=30, prompt="{title} was").text


def test_steps_add_up_and_are_those_of_the_trace(captioner, words, files, tmp_path, capsys):
    predictions("caption", ["--image", str(files[0]), *words, *as_words(MAGIC), "run.trace=true"], tmp_path)
    wanted = lines(tmp_path / "run" / "trace.jsonl")
    caption = captioner.caption(files[0], trace=True, **MAGIC)
    assert len(caption.steps) == len(wanted) == len(caption.token_ids)
    assert [step.token for step in caption.steps] == list(caption.tokens)
    for step, line in zip(caption.steps, wanted, strict=True):
        assert [one.score for one in step.candidates] == line["score"] and step.chosen.token_id == line["choice"]
        assert step.chosen.score == max(one.score for one in step.candidates)
        for one in step.candidates:
            assert one.score == pytest.approx(0.7 * one.confidence - 0.3 * one.penalty + 2 * one.image_score, abs=1e-5)
    assert list(captioner.stream(files[0], **MAGIC))[1].candidates == caption.steps[1].candidates
    assert captioner.caption(files[0], **MAGIC).steps == ()


def test_broken_image_stops_all_before_anything_is_written_or_is_skipped(captioner, files, tmp_path):
    broken = tmp_path / "broken.jpg"
    [noise] = [file.read_bytes() for file in files if file.name == "noise.jpg"]
    broken.write_bytes(noise[: len(noise) // 2])
    cut = Image.open(broken)
    for bad in (broken, cut):
        with pytest.raises(magic_cli.MagicError, match=r"no caption for .*broken\.jpg: .*; leave it out, or set on_error='skip'"):
            captioner.caption([files[0], bad], **MAGIC)
    found = captioner.caption([broken, files[0], tmp_path / "none.jpg"], on_error="skip", **MAGIC)
    assert [one.text is None for one in found] == [True, False, True] and found[2].error == "no such file"
    assert found[1].text == captioner.caption(files[0], **MAGIC).text
    assert str(found[0]) == "" and captioner.caption([broken], on_error="skip", **MAGIC)[0].error


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda c, f: c.caption(f, "magi"), r"decoding=magi is unknown; did you mean magic\?"),
        (lambda c, f: c.caption(f, aplha=1), r"unknown setting decoding\.aplha; did you mean alpha\?"),
        (lambda c, f: c.caption(f, alpha=3), r"decoding\.alpha must be in \[0, 1\], got 3"),
        (lambda c, f: c.caption(f, alpha=float("nan")), r"decoding\.alpha must be a finite number"),
        (lambda c, f: c.caption(f, alpha=object()), r"decoding\.alpha: a setting is a text, a number"),
        (lambda c, f: c.caption(f, settings={"run.device": "cpu"}), r"run\.device: models .* by magic_cli\.load"),
        (lambda c, f: c.caption(f, settings={"run.dir": "x"}), r"run\.dir: belongs to the command line"),
        (lambda c, f: c.caption(f, settings=["x"]), r"settings must be a dict"),
        (lambda c, f: c.caption(f, on_error="ignore"), r"on_error must be 'raise' or 'skip'"),
        (lambda c, f: c.caption(f, "clipre", trace=True), r"decoding=clipre takes no steps"),
        (lambda c, f: c.caption([]), r"images: there are none"),
        (lambda c, f: c.caption(None), r"images: .* got NoneType"),
        (lambda c, f: c.caption(np.zeros((3, 8, 8))), r"images: .* got shape \(3, 8, 8\)"),
        (lambda c, f: c.caption(f.read_bytes()), r"images: .* got bytes; open the bytes of a file with PIL\.Image\.open"),
        (lambda c, f: c.caption([f.open("rb")]), r"images: .* got BufferedReader; open the bytes"),
        (lambda c, f: c.caption([f, 3]), r"images: .* got int$"),
        (lambda c, f: c.caption([[f]]), r"images: .* got list$"),
        (lambda c, f: c.caption(""), r"images: '' is the name of no file"),
        (lambda c, f: c.caption(Image.new("RGB", (0, 0))), r"no caption for image-1: 0 x 0 pixels: there are none"),
        (lambda c, f: c.caption(f, ""), r"decoding= is unknown; allowed: beam, "),
        (lambda c, f: c.caption(f, beta=10**400), r"decoding\.beta is too large a number"),
        (lambda c, f: c.caption(f, prompt="\ud800"), r"prompt=.*: some of its bytes are not UTF-8"),
        (lambda c, f: c.caption(f, settings={"rules.stop_texts": ["\ud800"]}), r"rules\.stop_texts=.*: some of its bytes are not UTF-8"),
        (lambda c, f: c.caption(f, settings={3: 4}), r"settings: names must be texts, .* got 3"),
        (lambda c, f: c.caption(f, settings={"run.devices": 2}), r"run\.devices: belongs to the command line"),
        (lambda c, f: c.story(3, f), r"titles: give a title, or a list of them, got int"),
        (lambda c, f: magic_cli.load(settings="x"), r"settings must be a dict"),
        (lambda c, f: c.caption(np.full((8, 8), 300.0)), r"an array must hold uint8, or floats from 0 to 1, got .* from 300 to 300"),
        (lambda c, f: c.stream(f, "beam"), r"decoding=beam: chooses a whole text at its end and cannot be streamed"),
        (lambda c, f: c.stream("none.jpg"), r"no caption for none\.jpg: no such file"),
        (lambda c, f: c.stream([f, f]), r"stream: give one image, or a title"),
        (lambda c, f: c.story("A day"), r"images: decoding=magic needs an image for each title"),
        (lambda c, f: c.story(["a", "b", "c"], [f, f]), r"one for each of the 3 titles, or one for all, got 2"),
        (lambda c, f: c.story(" ", f), r"titles: the title is empty"),
        (lambda c, f: magic_cli.load("embeded"), r"language_model=embeded is unknown; did you mean embedded\?"),
        (lambda c, f: magic_cli.load("/no/such"), r"language_model\.path=/no/such: no such"),
        (lambda c, f: magic_cli.load(settings={"run.dtype": "float8"}), r"run\.dtype"),
        (lambda c, f: c.caption(f, settings={"run.shard": "1/2"}), r"run\.shard=1/2: belongs to run folders"),
        (lambda c, f: c.caption(f, settings={"run.batch_size": "auto"}), r"run\.batch_size=auto: .*; give a number"),
        (lambda c, f: magic_cli.load(device="gpu"), r"run\.device must be auto, cpu, cuda"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_setting(captioner, files, ask, answer):
    with pytest.raises(magic_cli.MagicError, match=answer) as caught:
        ask(captioner, files[0])
    assert "\n" not in str(caught.value)


def test_setting_without_use_is_told(captioner, files):
    with pytest.warns(UserWarning, match="guides.memory: is set and not used"):
        captioner.caption(files[0], **MAGIC, settings={"guides.memory.neighbours": 3})


def test_images_that_are_given_twice_stand_twice_and_a_folder_stands_for_all(captioner, files):
    twice = captioner.caption([files[0], files[1], files[0]], **MAGIC)
    assert twice[0] == twice[2] != twice[1]
    assert [one.text for one in captioner.caption(files[0].parent, **MAGIC)] == [
        one.text for one in captioner.caption(files, **MAGIC)
    ]
    same_name = captioner.caption([Image.open(files[0]), files[0], Image.open(files[0])], **MAGIC)
    assert [one.id for one in same_name] == [files[0].name, f"{files[0].name} (2)", f"{files[0].name} (3)"]


def test_loading_starts_no_more_threads_than_the_quota_allows(tiny_language_model_folder, tiny_clip_folder, monkeypatch):
    monkeypatch.setattr("magic_cli.models.threads.usable_cores", lambda: 2)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        magic_cli.load(tiny_language_model_folder, tiny_clip_folder, device="cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
