"""Recipes: how a powder is exposed, with the unit in each key, a range for each number and the evidence behind it.

A recipe is a TOML file. The shipped ones (presets) stand in `slicer/presets`; a user's own is given by its path. Every
number says where it comes from: *published* (a source gives it), *derived* (computed from what a source gives) or
*assumed* (a guess that says it is one).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from slicer import strategy as strategies
from slicer.errors import SlicerError
from slicer.strategy import PLAIN, Strategy, StrategyError
from slicer.words import did_you_mean

PRESETS = Path(__file__).parent / "presets"
FILE_BYTES_MAX = 256 * 1024

# Heating regolith from 100 K to 1373 K costs 1.26 MJ/kg; to 1473 K and through the melt (latent heat 0.4 MJ/kg)
# 1.79 MJ/kg. Cp of Biele et al. 2022, eq. 24 (doi 10.1007/s10765-022-03046-5). Less cannot make a solid.
ENERGY_FLOOR_J_KG = {"sintered": 1.26e6, "melted": 1.79e6}

PROCESSES = ("sintered", "melted")
ATMOSPHERES = ("vacuum", "air", "argon", "nitrogen")
RESUME_POLICIES = ("re_expose", "stop")
EVIDENCE_KINDS = ("published", "derived", "assumed")

# key -> (smallest, largest, unit)
RANGES: dict[str, tuple[float, float, str]] = {
    "power_w": (0.1, 20_000.0, "W"),
    "spot_mm": (0.02, 200.0, "mm"),
    "scan_speed_mm_s": (0.01, 2000.0, "mm/s"),
    "jump_speed_mm_s": (0.1, 2000.0, "mm/s"),
    "hatch_spacing_mm": (0.01, 200.0, "mm"),
    "hatch_rotation_deg": (-360.0, 360.0, "deg"),
    "layer_thickness_mm": (0.01, 50.0, "mm"),
    "contours": (0, 50, ""),
    "contour_power_w": (0.1, 20_000.0, "W"),
    "contour_speed_mm_s": (0.01, 2000.0, "mm/s"),
    "absorptivity": (0.01, 1.0, ""),
    "density_kg_m3": (500.0, 4000.0, "kg/m3"),
    "bed_temp_c": (-250.0, 1200.0, "degC"),
}
WORDS: dict[str, tuple[str, ...]] = {
    "atmosphere": ATMOSPHERES,
    "process": PROCESSES,
    "resume_policy": RESUME_POLICIES,
}
NO_HATCH = "none"
SET_BY_USER = "set by the user"
"""The source of a number that `--set` gave."""

KEYS = ("name", "description", *WORDS, *RANGES, "evidence", "strategy")
STRATEGY_KEYS = (*strategies.WORDS, *strategies.RANGES, *strategies.LISTS)


class RecipeError(SlicerError):
    """A recipe that is unknown, incomplete, out of range or physically impossible."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a number comes from: `kind` published, derived or assumed, and the source or reasoning in words."""

    kind: Literal["published", "derived", "assumed"]
    source: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Process parameters of one way to make a solid out of regolith.

    Attributes:
        power_w, scan_speed_mm_s: beam power and speed along hatch vectors; contour_power_w, contour_speed_mm_s: along
            contours. jump_speed_mm_s: between vectors, beam off.
        spot_mm: beam diameter; outlines are drawn half of it inside the part's edge.
        hatch_spacing_mm: distance of neighbouring hatch lines; None is no hatch: one closed centre-line track.
        hatch_rotation_deg: the hatch turns by this much from one layer to the next.
        contours: outlines drawn per layer, one hatch spacing apart inwards.
        absorptivity: absorbed share of the beam, 0..1; density_kg_m3: of the made solid; bed_temp_c: preheat.
        resume_policy: what a print does with vectors that may or may not have been exposed when it was interrupted.
        evidence: key -> Evidence for each number.
        strategy: how a plan lays all this.
    """

    name: str
    description: str
    atmosphere: str
    process: str
    power_w: float
    spot_mm: float
    scan_speed_mm_s: float
    jump_speed_mm_s: float
    hatch_spacing_mm: float | None
    hatch_rotation_deg: float
    layer_thickness_mm: float
    contours: int
    contour_power_w: float
    contour_speed_mm_s: float
    absorptivity: float
    density_kg_m3: float
    bed_temp_c: float
    resume_policy: str
    evidence: Mapping[str, Evidence]
    strategy: Strategy = PLAIN

    @property
    def track_width_mm(self) -> float:
        """The width of solid that one track stands for: the hatch spacing, or the whole spot where nothing overlaps."""
        return self.spot_mm if self.hatch_spacing_mm is None else self.hatch_spacing_mm

    def to_dict(self) -> dict[str, Any]:
        """The recipe as TOML and JSON know it: no None (`"none"` for no hatch), evidence and strategy as tables."""
        table: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("evidence", "strategy")
        }
        if self.hatch_spacing_mm is None:
            table["hatch_spacing_mm"] = NO_HATCH
        table["evidence"] = {key: {"kind": e.kind, "source": e.source} for key, e in self.evidence.items()}
        if chosen := self.strategy.to_dict():
            table["strategy"] = chosen
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], where: str = "recipe") -> Recipe:
        """Check a table of keys and make the recipe. `where` names the file in sentences.

        Raises:
            RecipeError: an unknown or missing key, a value of the wrong kind or out of range, evidence that is not
                understood, nothing to expose, or less absorbed energy than the process needs.
        """
        _check_keys(table, KEYS, where)
        missing = [key for key in ("name", *WORDS, *RANGES) if key not in table]
        if missing:
            raise RecipeError(f"{where}: {missing[0]} is missing" + _also(missing[1:]))
        values: dict[str, Any] = {"name": _text(table, "name", where), "description": ""}
        if "description" in table:
            values["description"] = _text(table, "description", where, length_min=0, length_max=2000)
        values.update({key: _word(key, table[key], where) for key in WORDS})
        values.update({key: _number(key, table[key], where) for key in RANGES})
        values["evidence"] = _evidence(table.get("evidence", {}), where)
        values["strategy"] = _strategy(table.get("strategy", {}), where)
        recipe = cls(**values)
        if recipe.hatch_spacing_mm is None and recipe.contours == 0:
            raise RecipeError(f"{where}: neither hatch nor contour is asked for, so nothing would be exposed")
        _check_tiles(recipe, where)
        _check_energy_floor(recipe, where)
        return recipe


def preset_names() -> list[str]:
    """The names of the shipped recipes."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """A recipe by the name of a preset or by the path of a TOML file.

    Args:
        name_or_path: a preset's name, or a path that ends in `.toml`.
        overrides: key -> text as a user typed it; each is range-checked and its evidence becomes "assumed: set by
            the user".

    Raises:
        RecipeError: unknown name or key (the nearest is named), unreadable file, value out of range, or absorbed
            energy under the physical floor.
    """
    path, where = _recipe_path(name_or_path)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise RecipeError(f"{where}: the file has more than {FILE_BYTES_MAX // 1024} KiB; that is no recipe")
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{where}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: is not valid TOML: {error}") from error
    if overrides:
        table = _with_overrides(table, overrides, where)
    return Recipe.from_dict(table, where)


def absorbed_energy_j_kg(recipe: Recipe) -> float:
    """Absorbed energy per mass of made solid, J/kg: A P / (v w t rho), w the hatch spacing (or the track's width)."""
    if recipe.hatch_spacing_mm is None:
        return _absorbed_j_kg(recipe, recipe.contour_power_w, recipe.contour_speed_mm_s)
    return _absorbed_j_kg(recipe, recipe.power_w, recipe.scan_speed_mm_s)


def without_evidence(recipe: Recipe) -> list[str]:
    """The numbers of a recipe for which it gives no evidence; a preset must have none."""
    return [key for key in RANGES if key not in recipe.evidence]


def with_bounds_of(recipe: Recipe, *, power_w_max: float, speed_mm_s_max: float) -> list[str]:
    """One sentence for each number of the recipe that a machine with these limits cannot give; empty if it can."""
    powers, speeds = {"contour_power_w": recipe.contour_power_w}, {"contour_speed_mm_s": recipe.contour_speed_mm_s}
    if recipe.hatch_spacing_mm is not None:
        powers, speeds = {"power_w": recipe.power_w} | powers, {"scan_speed_mm_s": recipe.scan_speed_mm_s} | speeds
        for side in ("up", "down") if recipe.strategy.skin_layers else ():
            powers[f"{side}_skin_power_w"], speeds[f"{side}_skin_speed_mm_s"] = recipe.strategy.skin_exposure(
                side, recipe.power_w, recipe.scan_speed_mm_s
            )
    sentences = []
    for key, power_w in powers.items():
        if power_w > power_w_max:
            sentences.append(
                f"recipe {recipe.name} asks for a beam of {power_w:g} W ({key}), this machine's gives"
                f" {power_w_max:g} W at most: use a machine with a stronger beam (--machine FILE.toml)"
            )
            break
    for key, speed_mm_s in speeds.items():
        if speed_mm_s > speed_mm_s_max:
            sentences.append(
                f"recipe {recipe.name} scans at {speed_mm_s:g} mm/s ({key}), this machine's gantry reaches"
                f" {speed_mm_s_max:g} mm/s: use a faster machine (--machine FILE.toml)"
            )
            break
    return sentences


# ---- the file and the overrides


def _recipe_path(name_or_path: str | Path) -> tuple[Path, str]:
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"recipe file {text} does not exist")
        return path, f"recipe {text}"
    presets = preset_names()
    if text in presets:
        return PRESETS / f"{text}.toml", f"recipe {text}"
    raise RecipeError(
        f"there is no recipe named {text!r}{did_you_mean(text, presets)}; shipped are {', '.join(presets)},"
        " or give the path of a .toml file"
    )


def _with_overrides(table: dict[str, Any], overrides: Mapping[str, str], where: str) -> dict[str, Any]:
    changed = dict(table)
    evidence = dict(table.get("evidence", {})) if isinstance(table.get("evidence", {}), dict) else {}
    strategy = dict(table["strategy"]) if isinstance(table.get("strategy"), dict) else {}
    for key, text in overrides.items():
        if key in STRATEGY_KEYS:
            try:
                strategy[key] = strategies.of_text(key, text)
            except StrategyError as error:
                raise RecipeError(str(error)) from None
            continue
        if key not in RANGES and key not in WORDS:
            near = did_you_mean(key, (*RANGES, *WORDS, *STRATEGY_KEYS))
            raise RecipeError(f"--set {key}: a recipe has no such key{near}")
        if key in WORDS:
            changed[key] = _word(key, text, f"--set {key}={text}")
            continue
        value: Any = text
        if not (key == "hatch_spacing_mm" and text == NO_HATCH):
            try:
                value = int(text) if key == "contours" else float(text)
            except ValueError:
                raise RecipeError(f"--set {key}={text}: {text!r} is not {_kind_of(key)}") from None
        _number(key, value, f"--set {key}={text}")
        changed[key] = value
        evidence[key] = {"kind": "assumed", "source": SET_BY_USER}
    changed["evidence"] = evidence
    if strategy:
        changed["strategy"] = strategy
    return changed


# ---- checks, each where the value is read


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = tuple(known)
    for key in table:
        if key not in known:
            raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")


def _text(table: Mapping[str, Any], key: str, where: str, length_min: int = 1, length_max: int = 64) -> str:
    value = table[key]
    if not isinstance(value, str) or not length_min <= len(value) <= length_max or not value.isprintable():
        raise RecipeError(f"{where}: {key} must be a printable text of {length_min} to {length_max} characters")
    return value


def _word(key: str, value: Any, where: str) -> str:
    if value not in WORDS[key]:
        near = did_you_mean(value, WORDS[key]) if isinstance(value, str) else ""
        raise RecipeError(f"{where}: {key} is {value!r}{near}; it must be one of {', '.join(WORDS[key])}")
    return str(value)


def _number(key: str, value: Any, where: str) -> float | int | None:
    if key == "hatch_spacing_mm" and value == NO_HATCH:
        return None
    whole = key == "contours"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
        raise RecipeError(f"{where}: {key} is {value!r}, which is not {_kind_of(key)}")
    low, high, unit = RANGES[key]
    if not low <= value <= high:
        raise RecipeError(f"{where}: {key} is {value:g}, outside its range of {low:g} to {high:g} {unit}".rstrip())
    return int(value) if whole else float(value)


def _kind_of(key: str) -> str:
    if key == "contours":
        return "a whole number"
    return "a finite number" + (f" (or {NO_HATCH!r})" if key == "hatch_spacing_mm" else "")


def _evidence(table: Any, where: str) -> dict[str, Evidence]:
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where}: [evidence] must be a table of key = {{ kind, source }}")
    _check_keys(table, RANGES, f"{where}: [evidence]")
    evidence = {}
    for key, entry in table.items():
        if not isinstance(entry, Mapping) or set(entry) != {"kind", "source"}:
            raise RecipeError(f"{where}: the evidence for {key} must have exactly the keys kind and source")
        kind, source = entry["kind"], entry["source"]
        if kind not in EVIDENCE_KINDS:
            kinds = ", ".join(EVIDENCE_KINDS)
            raise RecipeError(f"{where}: the evidence for {key} is {kind!r}; it must be one of {kinds}")
        if not isinstance(source, str) or not 0 < len(source) <= 1000:
            raise RecipeError(f"{where}: the evidence for {key} names no source")
        evidence[key] = Evidence(kind, source)
    return evidence


def _strategy(table: Any, where: str) -> Strategy:
    try:
        return Strategy.from_dict(table, f"{where}: [strategy]")
    except StrategyError as error:
        raise RecipeError(str(error)) from None


def _absorbed_j_kg(recipe: Recipe, power_w: float, speed_mm_s: float) -> float:
    solid_kg_s = speed_mm_s * recipe.track_width_mm * recipe.layer_thickness_mm * 1e-9 * recipe.density_kg_m3
    return recipe.absorptivity * power_w / solid_kg_s


def _check_tiles(recipe: Recipe, where: str) -> None:
    spacing, strategy = recipe.hatch_spacing_mm, recipe.strategy
    if spacing is not None and strategy.hatch in strategies.TILED and strategy.tile_mm < spacing:
        raise RecipeError(
            f"{where}: tile_mm is {strategy.tile_mm:g}, finer than the lines that shall fill it (hatch_spacing_mm is"
            f" {spacing:g}): give tiles of several lines"
        )


def _check_energy_floor(recipe: Recipe, where: str) -> None:
    floor = ENERGY_FLOOR_J_KG[recipe.process]
    passes = []
    if recipe.hatch_spacing_mm is not None:
        passes.append(("hatch", recipe.power_w, recipe.scan_speed_mm_s))
    if recipe.contours or recipe.hatch_spacing_mm is None:
        passes.append(("contour", recipe.contour_power_w, recipe.contour_speed_mm_s))
    for side in ("up", "down") if recipe.strategy.skin_layers and recipe.hatch_spacing_mm is not None else ():
        power_w, speed_mm_s = recipe.strategy.skin_exposure(side, recipe.power_w, recipe.scan_speed_mm_s)
        passes.append((f"{side}-skin", power_w, speed_mm_s))
    for what, power_w, speed_mm_s in passes:
        absorbed = _absorbed_j_kg(recipe, power_w, speed_mm_s)
        if absorbed < floor:
            raise RecipeError(
                f"{where}: the {what} gives the powder too little energy to be {recipe.process}:"
                f" {recipe.absorptivity:g} x {power_w:g} W / ({speed_mm_s:g} mm/s x {recipe.track_width_mm:g} mm"
                f" x {recipe.layer_thickness_mm:g} mm x {recipe.density_kg_m3:g} kg/m3) = {absorbed / 1e6:.2f} MJ/kg"
                f" absorbed, and {floor / 1e6:.2f} MJ/kg is the least: more power, a slower scan, a closer hatch or a"
                f" thinner layer"
            )


def _also(rest: list[str]) -> str:
    return f" (and {', '.join(rest)})" if rest else ""
