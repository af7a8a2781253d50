"""The embedded matcher's text side as a small causal tower of CLIP's architecture, distilled from MiniLM and its text head.

Being causal, it reads growing texts incrementally (``causal_text.py``), which a sentence encoder such as MiniLM cannot.
`scripts/distil_embedded_text_tower.py` trains it.

Shapes: N texts, E image-text embedding.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from magic_cli.data.json_files import read_json_object
from magic_cli.errors import MagicError
from magic_cli.files import sha256
from magic_cli.models.embedded.clip_text import ClipText
from magic_cli.models.faults import refuse
from magic_cli.models.image_text.causal_text import CausalTextTower
from magic_cli.models.image_text.huggingface_clip import read_text_tower
from magic_cli.models.image_text.image_text_model import pad_tokens
from magic_cli.models.language.bodies import num_embeddings
from magic_cli.models.tokenizers import beyond_faults
from magic_cli.models.weights import read_pretrained

WEIGHTS, NOTES, TEACHER = "model.safetensors", "training.json", "heads_sha256"
_FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", NOTES)
_TEXTS_AT_ONCE = 64


class _UnitLength(nn.Module):
    """(..., E) to float32 of length 1."""

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.normalize(states.float(), dim=-1)


class TextTower:
    """Texts -> the embedding that is compared with photos.

    Attributes:
        network: A ``ClipText``, or the ``CLIPTextModelWithProjection`` of transformers.
        tokenizer: Of lower-cased text.
        length: The longest text in tokens, start and end included: half of the positions, because training puts unfinished
            versions of a text behind it.
    """

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer
        self._unit_length = _UnitLength()
        self.length = network.config.max_position_embeddings // 2

    @classmethod
    def load(cls, folder: Path, *, heads: Path) -> Self:
        """Read a tower from a folder that ``save`` wrote.

        Args:
            folder: Holds the network, its tokenizer and notes on its training.
            heads: File of the matcher's heads; the tower must have been distilled from these.

        Raises:
            MagicError: A file or weights are missing, weights are no numbers, or it was distilled from others.
        """
        from transformers import AutoTokenizer

        remedy = "make it anew with scripts/distil_embedded_text_tower.py"
        for name in _FILES:
            if not (folder / name).is_file():
                raise MagicError(f"{folder}: no {name}; {remedy}")
        if read_json_object(folder / NOTES, remedy=remedy).get(TEACHER) != sha256(heads):
            raise MagicError(f"{folder}: distilled from other heads than {heads}; delete it, or {remedy}")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        where = {"pretrained_model_name_or_path": folder}
        network, _, faults = read_pretrained(ClipText, where, dtype=torch.float32)
        refuse([*faults, *beyond_faults(tokenizer, num_embeddings(network))])
        return cls(network.eval().requires_grad_(False), tokenizer)

    def save(self, folder: Path, *, heads: Path, notes: dict[str, Any]) -> None:
        """Write the network (fp16), its tokenizer, and notes on its training, which get the hash of the heads it was distilled from."""
        folder.mkdir(parents=True, exist_ok=True)
        copy.deepcopy(self.network).half().save_pretrained(folder)
        (folder / WEIGHTS).chmod(0o644)  # safetensors leaves a file that only its owner can read
        self.tokenizer.save_pretrained(folder)
        file = folder / "tokenizer.json"  # on its many lines it takes twice as much of the wheel
        file.write_text(
            json.dumps(json.loads(file.read_text("utf-8")), ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
        )
        (folder / NOTES).write_text(json.dumps(notes | {TEACHER: sha256(heads)}, indent=2) + "\n", encoding="utf-8")

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, lower-cased, white space collapsed, with start and end token; what is too long is cut.

        The first word gets a space in front as every other has, so that it is the same token wherever it stands.
        """
        if not texts:
            return []
        start, end = self.network.config.bos_token_id, self.network.config.eos_token_id
        rows = self.tokenizer([" ".join(["", *text.lower().split()]) for text in texts], add_special_tokens=False)["input_ids"]
        rows = [row[: row.index(end)] if end in row else row for row in rows]  # a text may spell the end token
        return [[start, *row[: self.length - 2], end] for row in rows]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32, rows of length 1. Texts of like length go together, so that little padding is computed."""
        device, end = self.network.device, self.network.config.eos_token_id
        features = torch.empty(len(texts), self.network.config.projection_dim, device=device)
        rows = self.tokenize(texts)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        for chosen in (order[i : i + _TEXTS_AT_ONCE] for i in range(0, len(order), _TEXTS_AT_ONCE)):
            ids = pad_tokens([rows[row] for row in chosen], end_id=end, device=device)
            features[chosen] = self._unit_length(self.network(input_ids=ids).text_embeds)
        return features

    def read(self) -> CausalTextTower:
        """The parts of the network, for growing texts."""
        tower = read_text_tower(self.network.text_model, self.network.text_projection, self._unit_length)
        return replace(tower, positions=tower.positions[: self.length])
