"""Strategy: how the vectors of a recipe are laid, ordered and corrected. Every choice has a default.

A recipe says what the powder needs, with the evidence for each number; a strategy says how a plan gives it, so its
numbers are choices and need no evidence. In a recipe file it is the table `[strategy]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from slicer.errors import SlicerError
from slicer.words import did_you_mean

HATCH_NAMES = (
    "meander",
    "one_way",
    "stripes",
    "islands",
    "hexagons",
    "concentric",
    "concentric_outward",
    "spiral",
    "hilbert",
)
TILED = ("stripes", "islands", "hexagons")
ORDER_NAMES = ("as_hatched", "nearest", "sweep", "farthest", "return_time")
WORDS: dict[str, tuple[str, ...]] = {
    "hatch": HATCH_NAMES,
    "order": ORDER_NAMES,
    "contour_order": ("first", "last"),
    "thin_walls": ("track", "report"),
    "fill_rule": ("positive", "non_zero", "even_odd"),
}
AUTO = "auto"
WHOLE = ("skin_layers", "heads")
ANGLES_MAX = 1000
LISTS: dict[str, tuple[float, float, int, str]] = {"hatch_angles_deg": (-360.0, 360.0, ANGLES_MAX, "deg")}
"""key -> (smallest, largest, how many at most, unit)"""

# key -> (smallest, largest, unit); those in AUTOMATIC may also be "auto" (None here)
RANGES: dict[str, tuple[float, float, str]] = {
    "tile_mm": (0.05, 1000.0, "mm"),
    "tile_overlap_mm": (0.0, 50.0, "mm"),
    "sweep_deg": (-360.0, 360.0, "deg"),
    "return_time_s": (0.0, 600.0, "s"),
    "return_radius_mm": (0.0, 100.0, "mm"),
    "compensation_mm": (0.0, 100.0, "mm"),
    "hole_compensation_mm": (0.0, 100.0, "mm"),
    "hatch_overlap_mm": (0.0, 50.0, "mm"),
    "focus_mm": (-100.0, 100.0, "mm"),
    "contour_focus_mm": (-100.0, 100.0, "mm"),
    "skin_layers": (0, 50, ""),
    "up_skin_power_w": (0.1, 20_000.0, "W"),
    "up_skin_speed_mm_s": (0.01, 2000.0, "mm/s"),
    "down_skin_power_w": (0.1, 20_000.0, "W"),
    "down_skin_speed_mm_s": (0.01, 2000.0, "mm/s"),
    "cusp_mm": (0.001, 50.0, "mm"),
    "layer_thickness_min_mm": (0.01, 50.0, "mm"),
    "heads": (1, 16, ""),
    "stitch_mm": (0.0, 50.0, "mm"),
    "head_reach_mm": (1.0, 5000.0, "mm"),
}
AUTOMATIC = frozenset(
    {
        "compensation_mm", "hole_compensation_mm", "head_reach_mm", "up_skin_power_w", "up_skin_speed_mm_s",
        "down_skin_power_w", "down_skin_speed_mm_s", "cusp_mm", "layer_thickness_min_mm",
    }
)  # fmt: skip


class StrategyError(SlicerError):
    """A strategy that is unknown, out of range or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a plan is laid. None is "auto".

    Attributes:
        hatch: name of the hatch (`slicer.hatching.HATCHES`). tile_mm: width of stripes, edge of islands, width across
            the flats of hexagons; tile_overlap_mm: how far neighbouring tiles reach into each other.
        hatch_angles_deg: angles that the hatch of one layer after the other has, over and over, turned by the recipe's
            hatch_rotation_deg once a round; without any it turns by that from layer to layer.
        order: name of the order in which vectors are exposed (`slicer.ordering.ORDERS`). sweep_deg: where the gas or
            the dust drifts, against x. return_time_s: the least time between neighbouring exposures, neighbours being
            nearer than return_radius_mm.
        contour_order: contours before the hatch or after it.
        compensation_mm: how far inside the outline the outermost contour runs; auto is half the spot.
            hole_compensation_mm: the same around holes; auto is compensation_mm. hatch_overlap_mm: how far the hatch
            reaches into the strip of the last contour.
        focus_mm, contour_focus_mm: shift of the focus for hatch and contours, positive upwards.
        skin_layers: how many layers of solid there must be above (and below) for a place to be no skin; 0 is no skins.
            up_skin_..., down_skin_...: power and speed there; auto is the hatch's.
        thin_walls: what is narrower than the contour's way around it gets a single track, or is only reported.
        cusp_mm: the largest step that the layers may leave on a slope; auto is layers of one thickness. With it layers
            are between layer_thickness_min_mm (auto: a quarter) and the recipe's thickness.
        fill_rule: what is inside where surfaces overlap.
        heads: how many beams share the plate; head_reach_mm: how much of it along x each reaches, evenly side by side
            (auto: all of it); stitch_mm: how wide seams are exposed twice.
    """

    hatch: str = "meander"
    tile_mm: float = 5.0
    tile_overlap_mm: float = 0.0
    hatch_angles_deg: tuple[float, ...] = ()
    order: str = "as_hatched"
    sweep_deg: float = 0.0
    return_time_s: float = 0.0
    return_radius_mm: float = 0.0
    contour_order: str = "first"
    compensation_mm: float | None = None
    hole_compensation_mm: float | None = None
    hatch_overlap_mm: float = 0.0
    focus_mm: float = 0.0
    contour_focus_mm: float = 0.0
    skin_layers: int = 0
    up_skin_power_w: float | None = None
    up_skin_speed_mm_s: float | None = None
    down_skin_power_w: float | None = None
    down_skin_speed_mm_s: float | None = None
    thin_walls: str = "track"
    cusp_mm: float | None = None
    layer_thickness_min_mm: float | None = None
    fill_rule: str = "positive"
    heads: int = 1
    stitch_mm: float = 0.0
    head_reach_mm: float | None = None

    def skin_exposure(self, side: str, power_w: float, speed_mm_s: float) -> tuple[float, float]:
        """Power (W) and speed (mm/s) of the "up" or "down" skin: its own where there are any, or those given."""
        own_power_w = getattr(self, f"{side}_skin_power_w")
        own_speed_mm_s = getattr(self, f"{side}_skin_speed_mm_s")
        return (
            power_w if own_power_w is None else own_power_w,
            speed_mm_s if own_speed_mm_s is None else own_speed_mm_s,
        )

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as TOML and JSON know it."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {key: list(value) if key in LISTS else value for key, value in chosen.items()}

    @classmethod
    def from_dict(cls, table: Any, where: str = "strategy") -> Strategy:
        """Check a table of keys and make the strategy. `where` names the file in sentences.

        Raises:
            StrategyError: an unknown key, a value of the wrong kind or out of range, a return time without a radius
                or with several heads, or the smallest layer thickness without a cusp height.
        """
        if not isinstance(table, Mapping):
            raise StrategyError(f"{where}: it must be a table of key = value")
        known = [f.name for f in fields(cls)]
        for key in table:
            if key not in known:
                raise StrategyError(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")
        strategy = cls(**{key: _value(key, value, where) for key, value in table.items()})
        if strategy.order == "return_time" and not (strategy.return_time_s > 0 and strategy.return_radius_mm > 0):
            raise StrategyError(f"{where}: order return_time needs return_time_s and return_radius_mm, both over 0")
        if strategy.order != "return_time" and strategy.return_time_s > 0:
            raise StrategyError(
                f'{where}: return_time_s is kept by order = "return_time" only, not by {strategy.order}'
            )
        if strategy.order == "return_time" and strategy.heads > 1:
            raise StrategyError(f"{where}: a return time can only be kept by one head; set heads = 1 or another order")
        if strategy.layer_thickness_min_mm is not None and strategy.cusp_mm is None:
            raise StrategyError(f"{where}: layer_thickness_min_mm says nothing without cusp_mm; give both or neither")
        return strategy


PLAIN = Strategy()
"""Every choice at its default."""


def of_text(key: str, text: str) -> Any:
    """A value as a user typed it, as TOML would have it. Raises StrategyError."""
    if key in WORDS or (key in AUTOMATIC and text == AUTO):
        return text
    if key in LISTS:
        try:
            return [float(word) for word in text.split(",")] if "," in text else [float(word) for word in text.split()]
        except ValueError:
            raise StrategyError(f"--set {key}={text}: {text!r} is no list of numbers like 0,90") from None
    try:
        return int(text) if key in WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if key in WHOLE else "a number"
        raise StrategyError(f"--set {key}={text}: {text!r} is not {kind}") from None


def shown(value: Any) -> str:
    """A value as a user would write it."""
    return (
        ",".join(map(shown, value))
        if isinstance(value, list | tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def unit_of(key: str) -> str:
    """The unit of a key's numbers; empty where they have none."""
    return RANGES[key][2] if key in RANGES else LISTS[key][3] if key in LISTS else ""


def _value(key: str, value: Any, where: str) -> Any:
    if key in WORDS:
        if value not in WORDS[key]:
            near = did_you_mean(str(value), WORDS[key])
            raise StrategyError(f"{where}: {key} is {value!r}{near}; it must be one of {', '.join(WORDS[key])}")
        return value
    if key in AUTOMATIC and value == AUTO:
        return None
    if key in LISTS:
        return _numbers(key, value, where)
    whole = key in WHOLE
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
        raise StrategyError(f"{where}: {key} is {value!r}, which is not {'a whole' if whole else 'a finite'} number")
    low, high, unit = RANGES[key]
    if not low <= value <= high:
        raise StrategyError(f"{where}: {key} is {value:g}, outside its range of {low:g} to {high:g} {unit}".rstrip())
    return int(value) if whole else float(value)


def _numbers(key: str, values: Any, where: str) -> tuple[float, ...]:
    low, high, most, unit = LISTS[key]
    if not isinstance(values, list | tuple) or len(values) > most:
        raise StrategyError(f"{where}: {key} must be a list of up to {most} numbers, such as [0, 90]")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # NaN fails too
            raise StrategyError(f"{where}: {key} holds {value!r}; give numbers from {low:g} to {high:g} {unit}")
    return tuple(map(float, values))
