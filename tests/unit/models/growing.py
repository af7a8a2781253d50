"""Growing texts for every image-text model with a causal tower, and the comparison with its own encoder."""

import torch

_LONG = [f"word{i % 7} and {i}," for i in range(40)]  # four or five CLIP tokens each, so 77 are reached on the way

# steps of two rows with three candidates each
GROWING = {
    "plain_growth": [
        [["a", "the", "two"], ["a man", "a men", "a"]],
        [["a dog", "a cat", "a red"], ["a man on", "a man in", "a man"]],
        [["a cat is", "a cat.", "a cat"], ["a man in a", "a man in the", "a man in!"]],
    ],
    "last_word_rewritten": [
        [["a sk", "a s", "a skate"], ["umb", "u", "um"]],
        [["a skate", "a sky", "a skateboard"], ["umbr", "umbrella", "umbrel"]],
        [["a skateboarder", "a skateboarding", "a skateboard ramp"], ["umbrellas", "umbrella,", "umbrella's"]],
    ],
    "text_shrinks": [
        [["one two three four five", "one two three four six", "one two"], ["a b c", "a b d", "a b"]],
        [["one two", "one", "one three"], ["z", "y", "a b c d e"]],
        [["one two three four five six", "", "one"], ["a b c", "q", "a"]],
    ],
    "empty_text": [
        [["", "", ""], ["", "a", "b"]],
        [["a", "", "b"], ["", "", ""]],
        [["a b", "a c", "a"], ["x", "x", "x"]],
    ],
    "same_text_for_all": [
        [["a dog"] * 3, ["a", "b", "a"]],
        [["a dog"] * 3, ["a a", "a a", "a b"]],
        [["a dog runs", "a dog", "a dog"], ["a a"] * 3],
    ],
    "rows_meet_and_part": [
        [["a", "the", "two"], ["two", "a", "the"]],
        [["a dog", "a cat", "a sk"], ["a dog", "a cat", "a sk"]],
        [["a dog is", "a dog.", "a dog"], ["a skate", "a sk", "a sky"]],
        [["a sky is", "a sky", "a skateboard"], ["a sky", "a skateboard", "a sky is"]],
    ],
    "tails_begin_alike": [
        [["a dog runs", "a dog sits", "a cat"], ["a dog", "a dog dog dog", "a dog dog"]],
        [["a dog runs", "a dog runs a", "a dog"], ["a dog dog", "a dog dog dog a", "a dog a"]],
    ],
    "truncated": [
        [[" ".join(_LONG[:n]), " ".join(_LONG[: n + 1]), " ".join([*_LONG[:n], "dog"])], ["a " * n, "a " * n + "b", "a"]]
        for n in (10, 14, 16, 18, 30, 12)
    ],
}


@torch.inference_mode()
def largest_difference(model, session, texts: list[list[str]]) -> float:
    """Largest difference of the normalised features of B x K texts from those of the model's own encoder."""
    unit = torch.nn.functional.normalize
    own = torch.stack([model.encode_texts(row) for row in texts])
    got = session.encode(texts)
    assert got.shape == own.shape and got.dtype == torch.float32
    return float((unit(got, dim=-1) - unit(own, dim=-1)).abs().max())
