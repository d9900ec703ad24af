"""Is a damaged JPEG told from a whole one, where the decoder takes both without a word?"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.scene import Scene, SceneMaps, jpeg
from vision.jpeg_check import jpeg_flaw
from vision.opencv import decode

LEVEL = SceneMaps(np.zeros((15, 25)), pitch_mm=10.0)
RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 256, (61, 83, 3), dtype=np.uint8)


@lru_cache(maxsize=1)
def bed() -> bytes:
    return jpeg(Scene().picture(LEVEL, shot=1, powder=1))


@lru_cache(maxsize=1)
def small() -> bytes:
    return packed(cv2.resize(np.asarray(decode(bed())), (160, 120)), [cv2.IMWRITE_JPEG_QUALITY, 92])


def packed(image: np.ndarray, how: list[int]) -> bytes:
    return cv2.imencode(".jpg", image, how)[1].tobytes()


@pytest.mark.parametrize("image", [NOISE, NOISE[:, :, 0], NOISE[:8, :8], NOISE * 0, NOISE * 0 + 255])
@pytest.mark.parametrize(
    "how",
    [
        [cv2.IMWRITE_JPEG_QUALITY, 100],
        [cv2.IMWRITE_JPEG_QUALITY, 3],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411],
    ],
)
def test_a_whole_file_has_no_flaw(image: np.ndarray, how: list[int]) -> None:
    assert jpeg_flaw(packed(image, how)) == ""
    assert jpeg_flaw(packed(image, how) + b"\0" * 40) == "", "cameras pad behind the end mark"


def test_a_picture_of_the_bed_has_no_flaw() -> None:
    assert jpeg_flaw(bed()) == ""


@given(st.integers(2, 10**6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_file_that_ends_early_is_never_whole(at: int, patched: bool) -> None:
    """With an end mark put behind it, the decoder paints the rest grey and says nothing."""
    whole = small()
    cut = whole[: 2 + at % (len(whole) - 4)] + (b"\xff\xd9" if patched else b"")
    assert jpeg_flaw(cut)


@pytest.mark.parametrize("what", ["gone", "zeros", "twice", "garbled"])
def test_a_piece_of_a_packet_s_size_that_is_lost_doubled_blank_or_another_is_found(what: str) -> None:
    rng, whole, size = np.random.default_rng(7), bed(), 512
    for _ in range(40):
        at = int(rng.integers(700, len(whole) - size - 2))
        middle = {"gone": b"", "zeros": bytes(size), "twice": whole[at : at + size] * 2, "garbled": rng.bytes(size)}
        assert jpeg_flaw(whole[:at] + middle[what] + whole[at + size :]), at


def test_of_single_flipped_bits_a_fifth_is_found_and_most_others_change_little() -> None:
    """The residual, as docs/reliability.md states it: a file whose codes are in step is whole, whatever they say."""
    rng, whole = np.random.default_rng(8), bed()
    true = np.asarray(decode(whole), np.int16).mean(axis=2)
    found, changed_share = 0, []
    for _ in range(120):
        data = bytearray(whole)
        data[int(rng.integers(700, len(data) - 2))] ^= 1 << int(rng.integers(8))
        if jpeg_flaw(bytes(data)):
            found += 1
        else:
            off = np.abs(np.asarray(decode(bytes(data)), np.int16).mean(axis=2) - true)
            changed_share.append(float((off > 8.0).mean()))
    assert 0.15 < found / 120 < 0.6
    assert np.quantile(changed_share, 0.8) < 1e-3


@given(st.binary(max_size=400), st.integers(0, 700))
@settings(max_examples=300, deadline=None)
def test_no_bytes_at_all_make_it_raise(data: bytes, keep: int) -> None:
    assert isinstance(jpeg_flaw(data), str)
    assert isinstance(jpeg_flaw(small()[:keep] + data), str)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"\xff\xd8", b"\xff\xd7", "does not begin as a JPEG"),
        (b"\xff\xc0", b"\xff\xc3", "no decoder here knows"),
        (b"\xff\xc0", b"\xff\xfe", "no frame header"),
        (b"\xff\xc4\x00\x1f\x00", b"\xff\xc4\x00\x1f\x70", "a table of codes is none"),
        (b"\xff\xdb\x00\x43\x00", b"\xff\xdb\x00\x43\x05", "a quantisation table is none"),
        (b"\xff\xda\x00\x0c\x03\x01", b"\xff\xda\x00\x0c\x03\x09", "names what is not there"),
    ],
)
def test_a_damaged_header_is_named(old: bytes, new: bytes, says: str) -> None:
    assert old in small()
    assert says in jpeg_flaw(small().replace(old, new, 1))
