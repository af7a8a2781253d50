"""CLIPRe goes through the same door as every method."""

import pytest
import torch

from magic_cli.decoding.generate import generate
from magic_cli.errors import SettingsError
from magic_cli.image_features.viewers import Circumstances, Viewer, Viewers
from magic_cli.models.work_counter import WorkCounter
from magic_cli.retrieval.clipre import CaptionRetrieval
from tests.tiny_models import CAPTIONS

FACTS = {"family": "huggingface_clip", "files": {"model.safetensors": "ab"}}


@pytest.fixture
def opened(clip, tmp_path):
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    settings = CaptionRetrieval(
        captions="mine", captions_file=str(tmp_path / "captions.txt"), features="float32", folder=str(tmp_path / "index")
    )
    method, viewers = settings.load(), Viewers(None, Circumstances(torch.device("cpu"), torch.float32, 1, None, WorkCounter()))
    viewers.list.append(Viewer(clip, FACTS, 0))
    facts = method.open(viewers)["captions"]
    assert (facts["name"], facts["count"]) == ("mine", len(CAPTIONS)) and vars(settings).keys() == vars(
        CaptionRetrieval()
    ).keys(), "settings hold no index"
    return method


def test_generate_finds_what_a_slow_search_finds(opened, clip, image_features):
    written = generate(None, opened, [[]] * 6, [opened.image_guide(clip, image_features)])
    for one, image in zip(written, image_features, strict=True):
        cosines = [float(torch.cosine_similarity(image, text, dim=0)) for text in clip.encode_texts(CAPTIONS)]
        best = sorted(range(len(CAPTIONS)), key=lambda i: -cosines[i])[:5]
        assert one.ids == [] and one.text == CAPTIONS[best[0]]
        assert [found["caption"] for found in one.details["retrieved"]] == [CAPTIONS[i] for i in best]
        assert [found["score"] for found in one.details["retrieved"]] == pytest.approx([cosines[i] for i in best], abs=1e-5)


def test_no_image_is_refused(opened):
    with pytest.raises(SettingsError, match="^decoding: CaptionRetrieval looks at an image, but none was given$"):
        generate(None, opened, [[]])
