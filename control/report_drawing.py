"""The report's pictures as SVG and PNG: line charts, the course of the run, maps of the bed, the part in its layers.

Everything is drawn here from numbers, so that a page needs no script and no network. Colours are the page's CSS
variables, which know light and dark ground.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from slicer.job_layer import JobLayer

Array = NDArray[Any]
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760.0, 58.0, 14.0, 12.0, 26.0
BUCKETS = 640  # a curve is drawn with the lowest and the highest value of each
SOLID_LAYERS_MAX = 60
SOLID_EDGES_MAX = 6000

# dark to light, so that a print in grey still reads; (0, 0, 0, 0) is where there is no value
HEAT = ("#120b24", "#4b1259", "#932362", "#d2483a", "#f38b2c", "#fbcf5b", "#fdf6d3")
DENSE = ("#1b2348", "#27517c", "#2f7f8d", "#55a87f", "#a3c96b", "#f3e48a")


@dataclass(frozen=True)
class Curve:
    """One line of a chart: seconds, values, what it is called and the CSS class that paints it."""

    name: str
    style: str
    t_s: Array
    values: Array


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(span_s: float) -> tuple[list[float], float, str]:
    """Round places on a time axis of `span_s`, the seconds in its unit, and the unit."""
    for unit, seconds in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if span_s >= 3 * seconds:
            return [tick * seconds for tick in nice_ticks(0.0, span_s / seconds, 8)], seconds, unit
    return nice_ticks(0.0, span_s, 8), 1.0, "s"


def line_chart(
    curves: Sequence[Curve], span_s: float, unit: str, breaks_s: Sequence[float], label: str, *, over: str = "time"
) -> Markup:
    """Curves over the run's time, or `over` metres of way ("m"). `breaks_s`: where one session ended."""
    height = 190.0
    curves = [curve for curve in curves if np.isfinite(curve.values).any()]
    if not curves or span_s <= 0:
        return Markup("")
    low = min(float(np.nanmin(curve.values)) for curve in curves)
    high = max(float(np.nanmax(curve.values)) for curve in curves)
    pad = max((high - low) * 0.06, abs(high) * 0.01, 0.5)
    low, high = (0.0 if 0 <= low < 0.4 * high else low - pad), high + pad
    x_scale = (WIDTH - LEFT - RIGHT) / span_s
    y_scale = (height - TOP - BOTTOM) / (high - low)
    out = [f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}">']
    for tick in nice_ticks(low, high, 4):
        y = height - BOTTOM - (tick - low) * y_scale
        out.append(f'<path class="grid" d="M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}"/>')
        out.append(f'<text class="tick" x="{LEFT - 7:g}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    out.append(_axis(span_s, x_scale, height, over))
    for at_s in breaks_s:
        x = LEFT + at_s * x_scale
        out.append(f'<path class="break" d="M{x:.1f} {TOP:g}V{height - BOTTOM:g}"/>')
    out.append(f'<text class="unit" x="4" y="{TOP + 4:g}">{escape(unit)}</text>')
    for curve in curves:
        path = _curve_path(curve, x_scale, y_scale, low, height, breaks_s)
        out.append(f'<path class="curve {escape(curve.style)}" d="{path}"><title>{escape(curve.name)}</title></path>')
    out.append("</svg>")
    return Markup("".join(out))


def _axis(span_s: float, x_scale: float, height: float, over: str = "time") -> str:
    ticks, seconds, unit = time_ticks(span_s) if over == "time" else (nice_ticks(0.0, span_s, 8), 1.0, over)
    words = [f'<path class="axis" d="M{LEFT:g} {height - BOTTOM:g}H{WIDTH - RIGHT:g}"/>']
    for tick in ticks:
        x = LEFT + tick * x_scale
        suffix = f" {unit}" if tick == ticks[-1] else ""
        words.append(f'<path class="axis" d="M{x:.1f} {height - BOTTOM:g}v4"/>')
        anchor = "end" if x > WIDTH - 30 else "middle"
        words.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 9:g}" text-anchor="{anchor}">'
            f"{tick / seconds:g}{suffix}</text>"
        )
    return "".join(words)


def _curve_path(
    curve: Curve, x_scale: float, y_scale: float, low: float, height: float, breaks_s: Sequence[float]
) -> str:
    """The lowest and the highest value of each bucket, in the order in which they came, so that no peak is lost."""
    keep = np.isfinite(curve.values)
    t_s, values = curve.t_s[keep], curve.values[keep]
    if len(t_s) > 2 * BUCKETS:
        edges = np.linspace(0, len(t_s), BUCKETS + 1).astype(int)
        picked = set()
        for a, b in pairwise(edges.tolist()):
            picked |= {a + int(values[a:b].argmin()), a + int(values[a:b].argmax())}
        order = np.array(sorted(picked))
        t_s, values = t_s[order], values[order]
    session = np.searchsorted(np.asarray(breaks_s, float), t_s, side="right")
    words, before = [], -1
    for t, value, number in zip(t_s.tolist(), values.tolist(), session.tolist(), strict=True):
        x, y = LEFT + t * x_scale, height - BOTTOM - (value - low) * y_scale
        words.append(f"{'L' if number == before else 'M'}{x:.1f} {y:.1f}")
        before = number
    return "".join(words)


def course(
    phases: Sequence[tuple[float, float, str, str]],
    marks: Sequence[tuple[float, str, str]],
    span_s: float,
    breaks_s: Sequence[float],
) -> Markup:
    """The run as one lane of phases (start s, end s, style, words) with marks (s, level, words) over it."""
    if span_s <= 0:
        return Markup("")
    height, lane = 92.0, 34.0
    x_scale = (WIDTH - LEFT - RIGHT) / span_s
    out = [f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="Course of the run">']
    out.append(f'<text class="tick" x="{LEFT - 7:g}" y="{lane + 15:g}" text-anchor="end">phase</text>')
    for start_s, end_s, style, words in phases:
        x, width = LEFT + start_s * x_scale, max((end_s - start_s) * x_scale, 0.6)
        out.append(
            f'<rect class="phase {escape(style)}" x="{x:.2f}" y="{lane:g}" width="{width:.2f}" height="24" rx="1.5">'
            f"<title>{escape(words)}</title></rect>"
        )
    for at_s, level, words in marks:
        x = LEFT + at_s * x_scale
        out.append(
            f'<path class="mark {escape(level)}" d="M{x:.1f} {lane - 2:g}v-9m-4 -6h8l-4 6z">'
            f"<title>{escape(words)}</title></path>"
        )
    for at_s in breaks_s:
        x = LEFT + at_s * x_scale
        out.append(f'<path class="break" d="M{x:.1f} 6V{height - BOTTOM:g}"/>')
    out.append(_axis(span_s, x_scale, height))
    out.append("</svg>")
    return Markup("".join(out))


# ---- maps


def data_url(kind: str, data: bytes) -> str:
    """Bytes as a data: URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def indexed_png(indices: NDArray[np.uint8], palette: Array) -> bytes:
    """An 8-bit palette picture, (rows, columns) u1 and (n, 3) u1; index 0 is transparent."""

    def block(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content) & 0xFFFFFFFF)
        )

    rows, columns = indices.shape
    raw = np.zeros((rows, columns + 1), np.uint8)
    raw[:, 1:] = indices
    return (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0))
        + block(b"PLTE", np.asarray(palette, np.uint8).tobytes())
        + block(b"tRNS", b"\x00")
        + block(b"IDAT", zlib.compress(raw.tobytes(), 9))
        + block(b"IEND", b"")
    )


def _palette(anchors: Sequence[str]) -> Array:
    """256 colours, the first one (no value) apart."""
    stops = np.array([list(bytes.fromhex(anchor[1:])) for anchor in anchors], float)
    place = np.linspace(0, len(stops) - 1, 255)
    colours = np.stack([np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)], axis=1)
    return np.vstack([[0, 0, 0], np.rint(colours)]).astype(np.uint8)


def bed_map(
    values: Array,
    x_mm: Array,
    y_mm: Array,
    *,
    colours: Sequence[str],
    unit: str,
    label: str,
    outline: JobLayer | None = None,
    y_name: str = "y",
) -> Markup:
    """A map (ny, nx) of cell centres in mm, y upwards, with a colour bar; the part's outline over it where given."""
    finite = values[np.isfinite(values)]
    if not len(finite) or values.shape != (len(y_mm), len(x_mm)):
        return Markup("")
    low, high = float(finite.min()), float(finite.max())
    span = high - low if high - low > 1e-9 else 1.0
    share = np.clip((np.nan_to_num(values, nan=low) - low) / span, 0, 1)
    indices = np.where(np.isfinite(values), 1 + np.rint(share * 254), 0).astype(np.uint8)[::-1]
    step_x = float(x_mm[1] - x_mm[0]) if len(x_mm) > 1 else 1.0
    step_y = float(y_mm[1] - y_mm[0]) if len(y_mm) > 1 else 1.0
    x0, y0 = float(x_mm[0]) - step_x / 2, float(y_mm[0]) - step_y / 2
    wide, tall = step_x * len(x_mm), step_y * len(y_mm)
    scale = min(235.0 / wide, 210.0 / tall)
    width, height = wide * scale, tall * scale
    left, top = 44.0, 22.0
    out = [
        f'<svg class="map" viewBox="0 0 {left + width + 74:.0f} {top + height + 36:.0f}" role="img"'
        f' aria-label="{escape(label)}">',
        f'<image x="{left:g}" y="{top:g}" width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none"'
        f' href="{data_url("image/png", indexed_png(indices, _palette(colours)))}"/>',
        f'<rect class="frame" x="{left:g}" y="{top:g}" width="{width:.2f}" height="{height:.2f}"/>',
    ]
    if outline is not None:
        out.append(f'<path class="outline" d="{_outline(outline, x0, y0, left, top, scale, height)}"/>')
    for tick in nice_ticks(x0, x0 + wide, 4):
        x = left + (tick - x0) * scale
        out.append(f'<path class="axis" d="M{x:.1f} {top + height:.1f}v4"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{top + height + 16:.1f}" text-anchor="middle">{tick:g}</text>')
    out.append(
        f'<text class="unit" x="{left + width / 2:.1f}" y="{top + height + 31:.1f}" text-anchor="middle">x, mm</text>'
    )
    for tick in nice_ticks(y0, y0 + tall, 4):
        y = top + height - (tick - y0) * scale
        out.append(f'<path class="axis" d="M{left:g} {y:.1f}h-4"/>')
        out.append(f'<text class="tick" x="{left - 7:g}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    out.append(f'<text class="unit" x="2" y="11">{escape(y_name)}, mm</text>')
    out.append(_colour_bar(colours, low, low + span, unit, left + width + 16, top, max(height, 60.0)))
    out.append("</svg>")
    return Markup("".join(out))


def _colour_bar(colours: Sequence[str], low: float, high: float, unit: str, x: float, top: float, height: float) -> str:
    name = f"g{zlib.crc32(f'{colours}{x}{top}{height}'.encode()):x}"
    stops = "".join(
        f'<stop offset="{1 - n / (len(colours) - 1):.3f}" stop-color="{colour}"/>'
        for n, colour in reversed(list(enumerate(colours)))
    )
    words = [
        f'<linearGradient id="{name}" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient>',
        f'<rect class="frame" style="fill:url(#{name})" x="{x:.1f}" y="{top:g}" width="12" height="{height:.1f}"/>',
    ]
    for tick in nice_ticks(low, high, 5):
        y = top + height * (1 - (tick - low) / (high - low))
        words.append(f'<text class="tick" x="{x + 17:.1f}" y="{y + 3.5:.1f}">{tick:g}</text>')
    words.append(f'<text class="unit" x="{x:.1f}" y="{top + height + 16:.1f}">{escape(unit)}</text>')
    return "".join(words)


def _outline(job_layer: JobLayer, x0: float, y0: float, left: float, top: float, scale: float, height: float) -> str:
    words = []
    for a, b in pairwise(job_layer.layer.loop_starts.tolist()):
        corners = " ".join(
            f"{left + (x - x0) * scale:.1f},{top + height - (y - y0) * scale:.1f}"
            for x, y in job_layer.layer.points_mm[a:b].tolist()
        )
        words.append(f"M{corners}Z" if b > a else "")
    return "".join(words)


# ---- the part


def solid(layers: Sequence[JobLayer], committed: set[int], flagged: set[int]) -> Markup:
    """The part in its layers, seen from the front right and above: what is committed solid, what is missing a ghost."""
    layers = [job_layer for job_layer in layers if len(job_layer.layer.points_mm)]
    if not layers:
        return Markup("")
    step = max(1, -(-len(layers) // SOLID_LAYERS_MAX))
    groups = [layers[n : n + step] for n in range(0, len(layers), step)]
    points = np.concatenate([group[0].layer.points_mm for group in groups])
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    base_mm = layers[0].layer.z_mm - layers[0].layer.thickness_mm
    tall_mm = layers[-1].layer.z_mm - base_mm
    turn, tilt = math.radians(-32.0), math.radians(30.0)
    reach = float(np.hypot(*(high - low))) or 1.0
    lift = max(1.0, 0.22 * reach / max(tall_mm, 1e-6)) if tall_mm < 0.2 * reach else 1.0
    lift = min(lift, 3.0)

    def seen(xy: Array, z: float) -> tuple[Array, Array]:
        x, y = (xy - centre).T
        u = x * math.cos(turn) - y * math.sin(turn)
        v = x * math.sin(turn) + y * math.cos(turn)
        return np.stack([u, -v * math.sin(tilt) - (z - base_mm) * lift * math.cos(tilt)], axis=1), v

    pieces: list[str] = []
    ends: list[Array] = []
    skip = max(1, -(-len(points) // SOLID_EDGES_MAX))
    for group in groups:
        first, last = group[0].layer, group[-1].layer
        numbers = {job_layer.layer.index for job_layer in group}
        style = "ghost" if not numbers <= committed else "hurt" if numbers & flagged else "made"
        z0, z1 = first.z_mm - first.thickness_mm, last.z_mm
        walls: list[tuple[float, str]] = []
        top: list[str] = []
        for a, b in pairwise(first.loop_starts.tolist()):
            loop = first.points_mm[a:b][::skip]
            if len(loop) < 3:
                continue
            under, depth = seen(loop, z0)
            over, _ = seen(loop, z1)
            ends += [under, over]
            for m in range(len(loop)):
                n = (m + 1) % len(loop)
                edge = loop[n] - loop[m]
                # the outward normal of a ccw outer or cw inner loop is to the right of the edge
                facing = -(edge[1] * math.sin(turn) - edge[0] * math.cos(turn))
                if facing <= 0:
                    continue
                quad = np.stack([under[m], under[n], over[n], over[m]])
                shade = "a" if edge[0] * math.cos(turn) > abs(edge[1]) * 0.9 else "b"
                walls.append((-(depth[m] + depth[n]), f'<path class="{style} {shade}" d="M{_corners(quad)}Z"/>'))
            top.append(f"M{_corners(over)}Z")
        pieces += [wall for _, wall in sorted(walls, key=lambda pair: pair[0])]
        pieces.append(f'<path class="{style} top" d="{"".join(top)}"/>')
    if not ends:
        return Markup("")
    every = np.concatenate(ends)
    left, up = every.min(axis=0)
    right, down = every.max(axis=0)
    pad = 0.03 * max(right - left, down - up, 1.0)
    box = f"{left - pad:.2f} {up - pad:.2f} {right - left + 2 * pad:.2f} {down - up + 2 * pad:.2f}"
    words = f"The part in {len(layers)} layers" + (f", heights drawn {lift:.1f} times" if lift > 1.01 else "")
    return Markup(
        f'<svg class="solid" viewBox="{box}" role="img" aria-label="{words}"><title>{words}</title>'
        f"{''.join(pieces)}</svg>"
    )


def _corners(points: Array) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points.tolist())
