"""Words for people: times, the known word that was probably meant, and nothing that cannot be written down."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def duration(seconds: float) -> str:
    """A time for people: 8.1 s, 12 min 05 s, 6 h 50 min, 3 d 04 h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the known word that is most like the given one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def encodable(text: str) -> str:
    """A text that files can hold: a lone surrogate, which decoding bytes may leave behind, is written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
