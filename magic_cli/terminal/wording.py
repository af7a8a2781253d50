"""How messages count."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun; words that change with the number may follow the noun.

    Args:
        number: How many, at least 0.
        one: What stands behind 1.
        many: What stands behind any other number; None: ``one`` with an s, or with ies for its y.

    >>> counted(1, "image"), counted(0, "image"), counted(2, "story")
    ('1 image', '0 images', '2 stories')
    >>> counted(1, "image was read", "images were read")
    '1 image was read'
    """
    if number == 1:
        return f"{number} {one}"
    return f"{number} {many or (one.removesuffix('y') + 'ies' if one.endswith('y') else one + 's')}"
