"""Numbers, times and speeds in messages."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun; other words that depend on the number may follow the noun.

    Args:
        number: How many, at least 0.
        one: The words after 1.
        many: The words after any other number; None: ``one`` with an s, or with ies for its y.

    >>> counted(1, "image"), counted(0, "image"), counted(2, "story")
    ('1 image', '0 images', '2 stories')
    >>> counted(1, "image was read", "images were read")
    '1 image was read'
    """
    if number == 1:
        return f"{number} {one}"
    return f"{number} {many or plural(one)}"


def plural(one: str) -> str:
    """The noun after any number but 1.

    >>> plural("image"), plural("story"), plural("batch")
    ('images', 'stories', 'batches')
    """
    if one.endswith("y"):
        return f"{one[:-1]}ies"
    return f"{one}es" if one.endswith("ch") else f"{one}s"


def duration(seconds: float) -> str:
    """A time in the words of a message.

    >>> duration(0.04), duration(5.4), duration(100), duration(7260)
    ('0.04 s', '5 s', '1 min 40 s', '2 h 1 min')
    """
    minutes, hours = round(seconds) // 60, round(seconds / 60) // 60
    if hours:
        return f"{hours} h {round(seconds / 60) % 60} min"
    if minutes:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{seconds:.2g} s" if 0 < seconds < 1 else f"{round(seconds)} s"


def speed(number: float, seconds: float, one: str) -> str:
    """A speed: how many per second, or the time for each if that is more than a second.

    Args:
        number: How many, more than 0.
        seconds: Time for all of them.
        one: What one is called.

    >>> speed(12, 8, "caption"), speed(2, 50, "story")
    ('1.5 captions/s', '25.0 s per story')
    """
    each = max(seconds, 1e-9) / number
    return f"{1 / each:.1f} {plural(one)}/s" if each <= 1 else f"{each:.1f} s per {one}"
