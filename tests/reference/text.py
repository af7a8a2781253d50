"""Captions and stories cut out of token ids as the released code does it; the pad token, which it kept, stands in no text of ours."""

START, PAD, END = "<-start_of_text->", "<-pad->", "<|endoftext|>"


def decode(tokenizer, ids: list[int]) -> str:
    """Decoded text, special tokens included, cleaned up as tokenizers did by default when the models were released."""
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    for before, after in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")):
        text = text.replace(before, after)
    return text.replace(" 's", "'s").replace(" 've", "'ve").replace(" 're", "'re")


def caption(tokenizer, ids: list[int]) -> str:
    """The caption in ids that begin with the start token."""
    return " ".join(_between_ends(tokenizer, ids)[0].split())


def story(tokenizer, ids: list[int]) -> str:
    """The story in ids that begin with a title and the separator."""
    pieces = " ".join(_between_ends(tokenizer, ids)[1].split()).split(".")
    if len(pieces) > 5:
        return ".".join(pieces[:5]).strip(".") + "."
    return ".".join(pieces).strip(".")


def _between_ends(tokenizer, ids: list[int]) -> list[str]:
    start, pad = tokenizer.convert_tokens_to_ids([START, PAD])
    return decode(tokenizer, [i for i in ids if i not in (start, pad)]).split(END)
