"""Find out by trying which way of looking ahead a model can do: numbers decide, not a list of families."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError
from magic_cli.models.language.bodies import is_plain_head
from magic_cli.models.language.lookahead import LookAhead, RepeatedCache, TreeStep
from magic_cli.models.language.network import Network
from magic_cli.models.language.positions import usable_positions
from magic_cli.models.language.recompute import Recompute

log = logging.getLogger(__name__)

WAYS: dict[str, type[LookAhead]] = {way.name: way for way in (TreeStep, RepeatedCache, Recompute)}

# Largest error of hidden states, relative to their largest entry, that rounding explains. A wrong mask or position
# shows as an error of order 1e-2 or more.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.bfloat16: 6e-2, torch.float16: 1e-2}


@torch.inference_mode()
def choose_look_ahead(network: Network, *, decoding_len: int, num_candidates: int, wanted: str = "auto") -> LookAhead:
    """The fastest way that gives the model's own hidden states at the longest length a run can reach.

    Args:
        network: The model; its ``head_is_plain`` is set on the way.
        decoding_len: Longest sequence of the run, in tokens.
        num_candidates: Candidates a step (k).
        wanted: ``auto``, or the name of a way, which must then pass.

    Raises:
        MagicError: The wanted way does not give the model's own hidden states, or the model cannot read so many tokens at all.
    """
    decoding_len = _within_context(network, decoding_len)
    generator = torch.Generator().manual_seed(0)
    vocab_size = min(network.head.weight.shape[0], network.num_embeddings)
    draw = lambda *shape: torch.randint(vocab_size, shape, generator=generator).to(network.device)
    long, short = draw(decoding_len - 2), draw(max(1, decoding_len // 2))
    depends_on_length = _depends_on_length(network, draw(decoding_len))
    network.head_is_plain = _head_is_plain(network, short)
    names = list(WAYS) if wanted == "auto" else [wanted]
    reasons = []
    for name in names:
        way = WAYS[name](network)
        if name == Recompute.name:
            return way  # it is the reference
        if depends_on_length:
            reasons.append(f"{name}: what the model makes of the first tokens depends on how many follow")
            log.info("look-ahead %s", reasons[-1])
            continue
        try:
            error = _error(way, [long, short], draw(2, 2, num_candidates))
        except Exception as failure:  # whatever a foreign model raises means: not this way
            reasons.append(f"{name}: {type(failure).__name__}: {failure}")
            continue
        if error <= _tolerance(network):
            return way
        reasons.append(f"{name}: hidden states differ by {error:.1e}")
        log.info("look-ahead %s", reasons[-1])
    raise MagicError(f"language_model.look_ahead={wanted} does not work with this model ({'; '.join(reasons)}); use auto")


def _error(way: LookAhead, prompts: list[Tensor], candidates: Tensor) -> float:
    """Largest relative error over two steps (peek, commit, peek) of a ragged batch against plain forward passes.

    In the second step one row wants all candidates and the other only its last.
    """
    sequences = [prompt.tolist() for prompt in prompts]
    state = way.prefill([Prompt(sequence) for sequence in sequences])
    worst = 0.0
    few = torch.ones_like(candidates[1], dtype=torch.bool)
    few[1, :-1] = False
    for ids, wanted in zip(candidates, (None, few), strict=True):  # (2, K)
        peeked = way.peek(state, ids, wanted)
        for row, sequence in enumerate(sequences):
            for candidate in {0, ids.shape[1] // 2, ids.shape[1] - 1}:
                if wanted is not None and not wanted[row, candidate]:
                    continue
                tokens = torch.tensor([[*sequence, int(ids[row, candidate])]], device=ids.device)
                expected = way.network.hidden(tokens, use_cache=False)[0][0, -1]
                difference = (peeked[row, candidate] - expected).abs().amax() / expected.abs().amax()
                worst = max(worst, float(difference.nan_to_num(nan=torch.inf)))
        choice = torch.full((len(sequences),), ids.shape[1] - 1, device=ids.device)
        way.commit(state, choice)
        for row, sequence in enumerate(sequences):
            sequence.append(int(ids[row, -1]))
    return worst


def _depends_on_length(network: Network, tokens: Tensor) -> bool:
    """Whether a prefix has other hidden states by itself than in the whole text.

    So it is where a rotary embedding takes other frequencies from some length on (longrope): rows of a batch would decide for
    each other which, and what is cached would keep the old ones.

    Raises:
        MagicError: The model cannot read the whole text.
    """
    try:
        whole, _ = network.hidden(tokens[None], use_cache=False)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each model raises its own kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MagicError(
            f"language_model: the model cannot read {len(tokens)} tokens ({reason}); lower decoding.decoding_len, or name another one"
        ) from error
    length = len(tokens) // 2
    while length > 1:
        alone, _ = network.hidden(tokens[None, :length], use_cache=False)
        if _differ(network, alone, whole[:, :length]):
            return True
        length //= 2
    return False


def _differ(network: Network, hidden: Tensor, expected: Tensor) -> bool:
    """Whether hidden states differ by more than rounding; NaN, which is reported where it is met, does not."""
    return bool((hidden - expected).abs().amax() > _tolerance(network) * expected.abs().amax())


def _tolerance(network: Network) -> float:
    return _TOLERANCE.get(network.model.dtype, 1e-4)


def _head_is_plain(network: Network, tokens: Tensor) -> bool:
    """Whether the head alone gives the model's own logits."""
    hidden, _ = network.hidden(tokens[None], use_cache=False)
    own = network.own_logits(tokens[None], use_cache=False)
    return is_plain_head(network.head, hidden[:, -1], own, tolerance=_tolerance(network), score=network.logits)


def _within_context(network: Network, decoding_len: int) -> int:
    """The probed length; a run longer than the model's context is refused.

    Raises:
        MagicError: ``decoding.decoding_len`` exceeds the model's positions.
    """
    limit = usable_positions(network.model)
    if limit is not None and decoding_len > limit:
        raise MagicError(f"decoding.decoding_len must be at most the language model's {limit} positions, got {decoding_len}")
    return max(3, decoding_len)
