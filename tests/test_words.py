"""Are times and hints said as people say them?"""

from __future__ import annotations

import pytest

from slicer.words import did_you_mean, duration, encodable


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (8.14, "8.1 s"),
        (99.49, "99.5 s"),
        (99.5, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (8690.0, "2 h 25 min"),
        (48 * 3600 - 31.0, "47 h 59 min"),
        (48 * 3600 - 29.0, "2 d 00 h"),
        (364_000.0, "4 d 05 h"),
    ],
)
def test_a_time_is_rounded_to_its_smaller_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_known_word_that_is_most_like_the_given_one_is_named() -> None:
    assert did_you_mean("hach", ["hatch", "order"]) == " (did you mean 'hatch'?)"
    assert did_you_mean("zzz", ["hatch", "order"]) == ""


def test_what_cannot_be_encoded_is_written_out_and_all_else_stays() -> None:
    assert encodable("a\ud800b") == "a\\ud800b" and encodable("Löß 😀\x1b") == "Löß 😀\x1b"
