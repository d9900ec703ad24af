"""What `pytest.mark.hil(...)` says of a test: its keys and values, checked at collection; a mistake is a sentence.

The plugin loads this file in every pytest run, so that it imports nothing heavy.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pytest

from hil_sim.harness.time_span import seconds_of

SEEDS_MAX = 1_000_000
CELLS_MM = (0.1, 20.0)
"""How finely and how coarsely a bed is solved: a scenario's own bounds, which are too heavy to import."""
BAD_VERDICTS = ("SILENT", "HANG", "UNSAFE")
UNJUDGED = "none"
"""The verdict of a run that did not come to its end; a mark allows with it that nothing was judged."""
ALLOWED = (*BAD_VERDICTS, UNJUDGED)


def marked(node: pytest.Item) -> dict[str, Any]:
    """The marks of a test together; the nearest one wins. Raises pytest.UsageError for what none can say."""
    found: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("hil"))):
        if mark.args:
            raise pytest.UsageError(f"{node.nodeid}: pytest.mark.hil takes keywords alone: {', '.join(_REFUSALS)}")
        for key in mark.kwargs:
            if key not in _REFUSALS:
                hint = _hint(key, _REFUSALS)
                raise pytest.UsageError(f"{node.nodeid}: pytest.mark.hil does not know {key!r}{hint}")
        found |= mark.kwargs
    for key, value in found.items():
        if sentence := _REFUSALS[key](value):
            raise pytest.UsageError(f"{node.nodeid}: {key}={value!r}; {sentence}")
    return found


def allowed(mark: dict[str, Any]) -> tuple[str, ...]:
    """The words of a mark's `allow`."""
    allow = mark.get("allow", ())
    return (allow,) if isinstance(allow, str) else tuple(allow)


def marked_seeds(mark: dict[str, Any]) -> list[int]:
    """The seeds that a mark asks for; 0 alone where it does not say."""
    seeds = mark.get("seeds", 1)
    return list(range(seeds)) if isinstance(seeds, Integral) else [int(seed) for seed in seeds]


# ---- what is wrong with a value, a sentence; None: nothing


def _file(value: object) -> str | None:
    if value is None or (isinstance(value, str | Path) and str(value)):
        return None
    return "give a name or a path, as text"


def _host(value: object) -> str | None:
    if value is None or callable(value) or (isinstance(value, str) and value.strip()):
        return None
    if isinstance(value, list | tuple) and value and all(isinstance(word, str) for word in value):
        return None
    return "give a callable, 'package.module:name', or a command line"


def _seeds(value: object) -> str | None:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return None if 1 <= int(value) <= SEEDS_MAX else "give 1 or more, or a list of them"
    if not isinstance(value, Iterable) or isinstance(value, Iterator):  # one that is used up by the first look
        return "give how many, a whole number from 1 on, or a list of seeds"
    seeds = list(value)
    if not seeds:
        return "without a seed nothing is run: name one or more, or leave it out"
    odd = [seed for seed in seeds if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0]
    return f"a seed is a whole number, 0 or more, and {odd[0]!r} is none" if odd else None


def _limit(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return "give a span of time: 90 (in seconds), '90 s', '1.5 min' or '6 h'"
    try:
        span_s = seconds_of(value)  # type: ignore[arg-type] # Real is what float means to a caller
    except ValueError as error:
        return str(error)
    return None if span_s > 0 else "a run takes time: give more than 0"


def _cell(value: object) -> str | None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if value is None or (is_number and CELLS_MM[0] <= value <= CELLS_MM[1]):  # type: ignore[operator]
        return None
    return f"give how finely the bed is solved, in millimetres: a number from {CELLS_MM[0]:g} to {CELLS_MM[1]:g}"


def _allow(value: object) -> str | None:
    if not isinstance(value, Iterable) or isinstance(value, Iterator):
        return f"give one or several of {', '.join(ALLOWED)}, or leave it out"
    for word in [value] if isinstance(value, str) else value:
        if word not in ALLOWED:
            return f"{word!r} is nothing that needs leave{_hint(str(word), ALLOWED)}"
    return None


def _allow_idle(value: object) -> str | None:
    return None if isinstance(value, bool) else "give True or False"


def _hint(word: str, known: Iterable[str]) -> str:
    """What may have been meant, in whatever case it was written; else all that is known."""
    words = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), words, 1)
    return f" (did you mean {words[near[0]]}?)" if near else f"; it knows {', '.join(words.values())}"


_REFUSALS: dict[str, Callable[[object], str | None]] = {
    "machine": _file,
    "world": _file,
    "scenario": _file,
    "job": _file,
    "host": _host,
    "seeds": _seeds,
    "limit": _limit,
    "cell_xy_mm": _cell,
    "allow": _allow,
    "allow_idle": _allow_idle,
}
