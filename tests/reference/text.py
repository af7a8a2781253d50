"""Captions and stories cut out of token ids as the released code does it."""

START, END = "<-start_of_text->", "<|endoftext|>"


def decode(tokenizer, ids: list[int]) -> str:
    """Decoded text, special tokens included, cleaned up as tokenizers did by default when the models were released."""
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    for before, after in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")):
        text = text.replace(before, after)
    return text.replace(" 's", "'s").replace(" 've", "'ve").replace(" 're", "'re")


def caption(tokenizer, ids: list[int]) -> str:
    """The caption in ids that begin with the start token."""
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    kept = []
    for i in ids:
        if i == end:
            break
        if i != start:
            kept.append(i)
    return " ".join(decode(tokenizer, kept).split())


def story(tokenizer, ids: list[int]) -> str:
    """The story in ids that begin with a title and the separator."""
    between = decode(tokenizer, ids).split(END)[1]
    pieces = " ".join(between.split()).split(".")
    if len(pieces) > 5:
        return ".".join(pieces[:5]).strip(".") + "."
    return ".".join(pieces).strip(".")
