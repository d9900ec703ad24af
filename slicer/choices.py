"""What a recipe asks for in vain, and what it asks for that makes another part than was drawn: a sentence each.

None of it is refused: a recipe may be a trial. But nobody should have to find it in a brick.
"""

from __future__ import annotations

from collections.abc import Iterator

from slicer.envelope import Envelope
from slicer.fill import track_distances_mm
from slicer.recipe import SET_BY_USER, Recipe
from slicer.strategy import TILED

SKINS = ("up_skin_power_w", "up_skin_speed_mm_s", "down_skin_power_w", "down_skin_speed_mm_s")
OF_HATCH = (
    "hatch", "tile_mm", "tile_overlap_mm", "hatch_angles_deg", "sweep_deg", "contour_order", "hatch_overlap_mm",
    "focus_mm", "skin_layers", *SKINS, "hatch_rotation_deg",
)  # fmt: skip
"""Keys that say how a hatch is laid, and nothing else. (A return time is kept by contours, too.)"""

IN_ONE_PIECE = ("meander", "one_way")
"""Hatches whose lines are one tile, so that an order of tiles has nothing to order."""

RINGS = ("concentric", "concentric_outward")
"""Hatches that follow the outline, whatever the angle."""

COMPENSATION_PART = 0.1
"""Of half the spot: a track that runs farther inside than half the spot by more than this is told of."""

SAME_PART = 1e-9


def idle(recipe: Recipe) -> list[str]:
    """A sentence for each choice that changes nothing, or less than its name says, because of the others."""
    strategy = recipe.strategy
    numbers = [key for key, evidence in recipe.evidence.items() if evidence.source == SET_BY_USER]
    chosen = [*strategy.to_dict(), *numbers]
    hatched = recipe.hatch_spacing_mm is not None
    needs: list[tuple[tuple[str, ...], bool, str]] = [
        (OF_HATCH, hatched, "a hatch, and hatch_spacing_mm is none"),
        (("order",), hatched or strategy.order == "return_time", "a hatch, and hatch_spacing_mm is none"),
        (("power_w",), hatched, "a hatch, and hatch_spacing_mm is none; tracks have contour_power_w"),
        (("scan_speed_mm_s",), hatched, "a hatch, and hatch_spacing_mm is none; tracks have contour_speed_mm_s"),
        (("tile_mm", "tile_overlap_mm"), strategy.hatch in TILED, "a hatch of stripes, islands or hexagons"),
        (
            ("order",),
            strategy.order != "farthest" or strategy.hatch not in IN_ONE_PIECE,
            f"a hatch in tiles, and {strategy.hatch} is one",
        ),
        (("sweep_deg",), strategy.order == "sweep", 'order = "sweep"'),
        (("return_radius_mm",), strategy.order == "return_time", 'order = "return_time"'),
        (("stitch_mm", "head_reach_mm"), strategy.heads > 1, "heads of 2 or more"),
        (SKINS, strategy.skin_layers > 0, "skin_layers of 1 or more"),
    ]
    why: dict[str, str] = {}
    for keys, works, what in needs:
        for key in keys:
            if key in chosen and not works:
                why.setdefault(key, what)
    said = [f"{key} changes nothing here: it needs {why[key]}." for key in chosen if key in why]
    return [*said, *(_changed_by_others(recipe) if hatched else _of_one_track(recipe))]


def _of_one_track(recipe: Recipe) -> Iterator[str]:
    if recipe.contours != 1:
        yield (
            f"contours = {recipe.contours} changes nothing here: hatch_spacing_mm is none, so there is one track along"
            " each outline."
        )


def _changed_by_others(recipe: Recipe) -> Iterator[str]:
    """What a hatch does otherwise than it was told, because of another choice."""
    strategy = recipe.strategy
    if strategy.hatch_angles_deg and strategy.hatch in RINGS:
        yield f"hatch_angles_deg turns no track of hatch = {strategy.hatch}: it only says where a ring begins."
    if strategy.hatch == "one_way" and strategy.order in ("nearest", "return_time"):
        yield (
            f"hatch = one_way is run both ways here: order = {strategy.order} begins each line at either end. Only the"
            " orders as_hatched and sweep keep lines in one direction."
        )


def doubts(recipe: Recipe, envelope: Envelope) -> list[str]:
    """A sentence, with the numbers, for each choice that leaves powder in the part, or melts it beside the part; and
    for a speed that the machine does not have."""
    return [*_between_lines(recipe), *_at_the_outline(recipe), *_overlap(recipe), *_jumps(recipe, envelope)]


def _between_lines(recipe: Recipe) -> Iterator[str]:
    spacing, spot = recipe.hatch_spacing_mm, recipe.spot_mm
    if spacing is not None and spacing > spot * (1.0 + SAME_PART):
        yield (
            f"hatch_spacing_mm is {spacing:g} and the spot {spot:g} mm wide: between two lines {spacing - spot:.3g} mm"
            " get no beam."
        )


def _at_the_outline(recipe: Recipe) -> Iterator[str]:
    half = 0.5 * recipe.spot_mm
    if not recipe.contours and recipe.hatch_spacing_mm is not None:
        yield (
            f"contours is 0: what the last line of the hatch does not reach, up to {recipe.hatch_spacing_mm:g} mm along"
            " the outline, gets no beam."
        )
    for key, where in (("compensation_mm", "of the part"), ("hole_compensation_mm", "around holes")):
        inside = getattr(recipe.strategy, key)
        if inside is not None and inside < half * (1.0 - COMPENSATION_PART):
            beyond = half - inside
            yield (
                f"{key} is {inside:g}, and half the spot {half:g} mm: the beam reaches {beyond:.3g} mm beyond the"
                f" outline {where}, and slits under {2.0 * beyond:.3g} mm close."
            )
        if inside is not None and inside > half * (1.0 + COMPENSATION_PART):
            yield (
                f"{key} is {inside:g}, and half the spot {half:g} mm: the outermost {inside - half:.3g} mm {where} get"
                f" no beam, and walls under {2.0 * inside:.3g} mm no contour."
            )


def _overlap(recipe: Recipe) -> Iterator[str]:
    spacing, overlap = recipe.hatch_spacing_mm, recipe.strategy.hatch_overlap_mm
    if spacing is None:
        return
    strip = spacing if recipe.contours else 0.0
    if overlap <= strip * (1.0 + SAME_PART):
        return
    _, inside = track_distances_mm(recipe, recipe.strategy)
    assert inside is not None, "there is a spacing"
    beyond = 0.5 * recipe.spot_mm - inside
    contour = f"the strip of the last contour is {strip:g} mm wide" if recipe.contours else "there is no contour"
    outside = f", and its beam reaches {beyond:.3g} mm beyond it" if beyond > SAME_PART * recipe.spot_mm else ""
    yield (
        f"hatch_overlap_mm is {overlap:g}, and {contour}: the hatch begins {inside:.3g} mm inside the outline{outside}."
    )


def _jumps(recipe: Recipe, envelope: Envelope) -> Iterator[str]:
    if recipe.jump_speed_mm_s > envelope.speed_mm_s_max * (1.0 + SAME_PART):
        yield (
            f"jump_speed_mm_s is {recipe.jump_speed_mm_s:g}, and this machine's gantry reaches"
            f" {envelope.speed_mm_s_max:g} mm/s: jumps are planned at that."
        )
