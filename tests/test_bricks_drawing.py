"""Does the picture show the brick in front of what it hides, and its neighbours apart from it?"""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from control.cli import cli
from slicer.bricks import KINDS, make_brick
from slicer.bricks.drawing import BRICK, NEIGHBOUR, PAPER, _foremost, _view, draw_laid, write_picture
from slicer.errors import SlicerError

COARSE = {"osteomorphic": {"chord_tolerance_mm": 0.25}}


def share_like(picture, colour):
    """Part of the pixels whose hue is a lit or shaded colour's."""
    pixels = picture.reshape(-1, 3) / (picture.reshape(-1, 3).max(axis=1, keepdims=True) + 1e-9)
    return (np.abs(pixels - np.array(colour) / max(colour)).max(axis=1) < 0.03).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_brick_and_its_neighbours_are_seen(kind):
    picture = draw_laid(make_brick(kind, COARSE.get(kind)), width_px=180, height_px=120)
    assert picture.shape == (120, 180, 3) and picture.dtype == np.uint8
    assert share_like(picture, BRICK) > 0.02 and share_like(picture, NEIGHBOUR) > 0.05
    assert (picture[0] == PAPER[0]).all() and (picture[-1] == PAPER[0]).all()


def test_the_nearer_triangle_hides_the_farther_one():
    wide = np.array([(0.0, 0.0), (20.0, 0.0), (0.0, 20.0)])
    far, near = (np.column_stack([wide * scale, np.full(3, depth)]) for scale, depth in ((1.0, 0.0), (0.5, 1.0)))
    for order in ((0, 1), (1, 0)):
        face = _foremost(np.stack([(far, near)[i] for i in order]), 20, 20)
        assert face[2, 2] == order.index(1) and face[2, 15] == order.index(0) and face[19, 19] == 2
        assert (face == order.index(1)).sum() == pytest.approx(50, abs=6)
        assert (face == order.index(0)).sum() == pytest.approx(150, abs=12)


def test_triangles_that_cross_are_parted_where_they_do():
    base = np.array([(0.0, 0.0), (40.0, 0.0), (0.0, 40.0)])
    rising, falling = (np.column_stack([base, sign * (base[:, 0] - 10.0)]) for sign in (1, -1))
    face = _foremost(np.stack([rising, falling]), 20, 20)
    assert (face[:, :9] == 1).all() and (face[:, 11:] == 0).all()


def test_the_view_keeps_lengths_and_hands():
    np.testing.assert_allclose(_view() @ _view().T, np.eye(3), atol=1e-12)
    assert np.linalg.det(_view()) == pytest.approx(1)
    assert (_view() @ (0, 0, 1))[1] > 0.8  # up is up


def test_the_command_writes_the_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["brick", "abeille", "--picture", "laid.png"])
    assert done.exit_code == 0, done.stderr
    assert "laid.png: the brick and its neighbours, drawn apart" in done.stdout
    assert (tmp_path / "laid.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(cli, ["brick", "abeille", "--picture", "laid.gif"]).exit_code == 2


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(SlicerError, match=r"\.png or \.jpg"):
        write_picture(make_brick("abeille"), tmp_path / "laid.gif")
    assert list(tmp_path.iterdir()) == []
