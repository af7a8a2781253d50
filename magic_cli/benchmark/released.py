"""The released algorithm, written from its description (Su et al. 2022): the baseline of all measurements.

It handles one image at a time. Every step repeats the key-value cache k times and runs k rows through the language model and
its head. Then it decodes, tokenises and encodes the whole text of all k candidates. It never stops before ``decoding_len``.
It is as fast as code of this kind can be (candidates in one batch, no gradients, fused attention), and shares no code with
``magic_cli.decoding``.

    encode_texts = clip_text_encoder(clip.model.text_model, clip.model.text_projection, clip.tokenizer, work)
    search = ReleasedSearch(network, tokenizer, encode_texts, work=work)
    ids = search.generate([start_id], image, MagicSearch(k=45, alpha=0.1, beta=2.0, decoding_len=16))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from magic_cli.models.language.tokens import clean_up_spaces
from magic_cli.models.work_counter import WorkCounter

WINDOW = 60
"""Only the last tokens, so many of them, are scored against the image."""

EncodeTexts = Callable[[list[str]], Tensor]


class ReleasedSearch:
    """MAGIC search without any of the shortcuts of ``magic_cli.decoding``.

    Args:
        network: Hugging Face causal LM in eval mode.
        tokenizer: Its tokenizer.
        encode_texts: k texts -> (k, E) features.
        logit_scale: Factor on the cosine before the softmax.
        work: Counts phases and work.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        encode_texts: EncodeTexts,
        *,
        logit_scale: float = 100.0,
        work: WorkCounter | None = None,
    ) -> None:
        self.network, self.tokenizer, self.encode_texts = network, tokenizer, encode_texts
        self.logit_scale = logit_scale
        self.work = work or WorkCounter()

    @torch.inference_mode()
    def generate(self, prompt: Sequence[int], image: Tensor, method: Any) -> list[int]:
        """Exactly ``decoding_len - len(prompt)`` token ids for one image.

        Args:
            prompt: Token ids, at least one.
            image: (E,) feature.
            method: The settings: ``k`` candidates per step, weights ``alpha`` of the degeneration penalty and ``beta`` of the
                magic score, ``decoding_len`` tokens in all, prompt included.
        """
        from transformers import DynamicCache

        cache = DynamicCache()
        generated: list[int] = []
        logits, history = self._read(torch.tensor([list(prompt)], device=self.network.device), cache)  # (1, V), (1, T, H)
        for _ in range(method.decoding_len - len(prompt)):
            candidates = logits[0].topk(method.k).indices
            confidence = logits[0].softmax(dim=-1)[candidates]
            cache.batch_repeat_interleave(method.k)
            all_logits, states = self._read(candidates[:, None], cache)  # (k, V), (k, 1, H)
            penalty = (normalize(states[:, 0].float(), dim=-1) @ normalize(history[0].float(), dim=-1).T).amax(dim=-1)
            magic = self._magic_score([[*generated, i] for i in candidates.tolist()], image)
            score = (1 - method.alpha) * confidence - method.alpha * penalty + method.beta * magic
            best = score.argmax()
            generated.append(int(candidates[best]))
            cache.batch_select_indices(best[None])
            logits, history = all_logits[best][None], torch.cat([history, states[best][None]], dim=1)
        return generated

    def _read(self, ids: Tensor, cache: Any) -> tuple[Tensor, Tensor]:
        """Logits (B, V) after ``ids`` (B, T), and the last layer's hidden states (B, T, H); ``cache`` grows."""
        with self.work.phase("language_model"):
            self.work.add("lm_positions", ids.numel())
            self.work.add("head_rows", ids.shape[0])
            out = self.network(ids, past_key_values=cache, use_cache=True, output_hidden_states=True, logits_to_keep=1)
        return out.logits[:, -1].float(), out.hidden_states[-1]

    def _magic_score(self, sequences: list[list[int]], image: Tensor) -> Tensor:
        with self.work.phase("text"):
            texts = self.tokenizer.batch_decode(
                [ids[-WINDOW:] for ids in sequences], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            texts = [clean_up_spaces(text) for text in texts]
        features = normalize(self.encode_texts(texts).float(), dim=-1)
        return (self.logit_scale * (features @ normalize(image.float(), dim=-1))).softmax(dim=-1)


def clip_text_encoder(text_model: Any, project: Any, tokenizer: Any, work: WorkCounter) -> EncodeTexts:
    """Encode whole texts with CLIP's text tower, padded to the longest text of the call.

    Args:
        text_model: The text model of Hugging Face's ``CLIPModel``.
        project: Its projection.
        tokenizer: Its tokenizer.
        work: Counts phases, texts and tokens (with padding, because it is computed).
    """

    def encode(texts: list[str]) -> Tensor:
        with work.phase("text"):
            length = text_model.config.max_position_embeddings
            ids = tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")["input_ids"]
        with work.phase("image_text_model"):
            work.add("texts_encoded", ids.shape[0])
            work.add("text_tokens", ids.numel())
            # no mask is needed: attention is causal, so nothing looks at padding after the end token
            return project(text_model(input_ids=ids.to(project.weight.device)).pooler_output)

    return encode
