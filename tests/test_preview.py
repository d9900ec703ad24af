"""Do the pictures show what the job holds, and does the page stand alone?"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from job_helpers import BENCH, head, square_layer, wire_small, write_small_job

import slicer.preview
from slicer.job import Job
from slicer.job_layer import JobError, JobLayer
from slicer.job_writing import write_job
from slicer.layers import Layer
from slicer.page_data import vector_times_s
from slicer.pictures import COLOURS, KIND_COLOURS, layer_png, layer_svg
from slicer.preview import write_html
from slicer.quality import layer_quality, recipe_return_times_s
from slicer.scan import KINDS, ScanPath

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = (("vectors", "<u2"), ("points", "<u2"), ("starts", "<u4"), ("begin", "<u4"), ("lasting", "<u2"),
           ("back", "<u2"), ("kind", "u1"), ("power", "u1"), ("speed", "u1"), ("beam", "u1"))  # fmt: skip
EMPTY = JobLayer(Layer(0, 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64)), ScanPath.empty())


def layers_of(page):
    """(figures, packed bytes) of each layer in the page."""
    found = re.findall(r"<script type=\"text/plain\" class=\"layer\" data-figures='(.*?)'>(.*?)</script>", page)
    return [(json.loads(figures), base64.b64decode(data)) for figures, data in found]


def unpacked(figures, data):
    """The columns of a layer, read as `slicer.page_data` tells, by other code than the page's."""
    n = figures["vectors"]
    sizes = {"vectors": 4 * n, "points": 2 * figures["points"], "starts": figures["loops"] + 1}
    columns, at = {}, 0
    for name, dtype in NUMBERS:
        columns[name] = np.frombuffer(data, dtype, sizes.get(name, n), at)
        at += columns[name].nbytes
    assert at == len(data), "nothing is left over"
    return columns


def test_the_svg_has_outline_contour_hatch_and_jumps_with_y_up():
    root = ElementTree.fromstring(layer_svg(square_layer(0), BENCH))
    paths = {path.get("class"): path.get("d") for path in root.iter(f"{SVG}path")}
    assert set(paths) == {"part", "contour", "hatch", "jump"}
    assert paths["contour"].count("M") == 1, "a closed contour is one run"
    assert paths["hatch"].count("M") == 3 and paths["jump"].count("M") == 3
    first = [float(v) for v in re.findall(r"[\d.]+", paths["hatch"])[:4]]
    assert first == [3.0, 11.0, 11.0, 11.0], "the lowest line on the machine is the lowest in the picture"


def test_the_png_shows_the_colours_where_the_beam_goes():
    picture = cv2.imdecode(np.frombuffer(layer_png(square_layer(0), BENCH), np.uint8), cv2.IMREAD_COLOR)
    assert max(picture.shape) == 1600
    scale = 1600 / 14.0

    def at(x_mm, y_mm):
        return tuple(int(v) for v in picture[round(picture.shape[0] - (y_mm - 48) * scale), round((x_mm - 48) * scale)])

    def bgr(name):
        return tuple(reversed(bytes.fromhex(COLOURS[name][0][1:])))

    assert at(55, 50) == bgr("contour") and at(55, 52) == bgr("hatch")
    assert at(55, 57) == bgr("part") and at(48.5, 48.5) == bgr("ground")


def test_an_empty_layer_is_an_empty_plate():
    assert 'width="250.000mm"' in layer_svg(EMPTY, BENCH)
    assert cv2.imdecode(np.frombuffer(layer_png(EMPTY, BENCH), np.uint8), cv2.IMREAD_COLOR).shape[:2] == (960, 1600)


def test_every_kind_of_vector_has_its_colour_in_the_pictures():
    layer = square_layer(0)
    path = replace(layer.path, kind=np.array([0, 1, 2, 3, 4, 0, 0], np.uint8))
    root = ElementTree.fromstring(layer_svg(replace(layer, path=path), BENCH))
    classes = [shape.get("class") for shape in root.iter(f"{SVG}path")]
    assert classes == ["part", "jump", "hatch", "up-skin", "down-skin", "contour", "thin-wall"]
    assert set(KIND_COLOURS) == set(range(len(KINDS)))


def back_times(path):
    return recipe_return_times_s(path, wire_small())


@pytest.fixture
def page(tmp_path):
    with Job.open(write_small_job(tmp_path / "square.kiln", layers=3)) as job:
        write_html(job, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_the_page_asks_the_network_for_nothing(page):
    assert not re.search(r"(?:src|href)\s*=|https?://|@import|url\(|fetch\(|XMLHttpRequest", page)


def test_the_page_holds_every_layer_within_its_rounding(page):
    view = json.loads(re.search(r"const VIEW = (\{.*?\});", page).group(1))
    found = layers_of(page)
    assert len(found) == 3
    for index, (figures, data) in enumerate(found):
        layer = square_layer(index)
        path, columns = layer.path, unpacked(figures, data)
        assert figures["number"] == index + 1 and figures["vectors"] == len(path)
        shown = columns["vectors"].reshape(-1, 4) * view["span"] / 65535 + [view["x"], view["y"]] * 2
        np.testing.assert_allclose(shown, path.vectors_mm, atol=0.51 * view["span"] / 65535)
        np.testing.assert_array_equal(columns["starts"], layer.layer.loop_starts)
        np.testing.assert_array_equal(columns["kind"], path.kind)
        np.testing.assert_allclose(np.array(figures["powers_w"])[columns["power"]], path.power_w)
        np.testing.assert_allclose(np.array(figures["speeds_mm_s"])[columns["speed"]], path.speed_mm_s)
        begin_s, end_s = vector_times_s(path, BENCH, layer.jump_speed_mm_s)
        np.testing.assert_allclose(columns["begin"] * figures["layer_s"] / (2**32 - 1), begin_s, atol=1e-8)
        lasting = columns["lasting"] * figures["longest_s"] / 65535
        np.testing.assert_allclose(lasting, end_s - begin_s, atol=0.51 * figures["longest_s"] / 65535)
        back_s = back_times(path)
        never = np.isinf(back_s)
        assert never.any() and not never.all(), "both are tried"
        np.testing.assert_array_equal(columns["back"] == view["never"], never)
        shown_s = view["backLeast"] * 10 ** (columns["back"][~never] / view["backSteps"])
        np.testing.assert_allclose(shown_s, back_s[~never], rtol=3e-4)


def test_the_page_shows_the_report_that_is_returned(tmp_path):
    with Job.open(write_small_job(tmp_path / "square.kiln", layers=2)) as job:
        plan = write_html(job, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert plan.books.area_in_mm2 == pytest.approx(200.0) and len(plan.layers) == 2
    for sentence in plan.sentences():
        assert sentence in page
    assert plan.features and page.count("data-feature=") == len(plan.features)
    assert f"{plan.books.area_hatched_mm2:,.1f}</td>" in page
    listed = json.loads(re.search(r'id="features">(.*?)</script>', page).group(1))
    assert [feature["x"] for feature in listed] == [feature.x_mm for feature in plan.features]
    assert page.count("<rect x=") == len(plan.return_times.length_mm) + 1


def test_the_energy_map_in_the_page_is_the_layers(page):
    for index, (figures, _) in enumerate(layers_of(page)):
        shown = figures["map"]
        found = np.frombuffer(base64.b64decode(shown["data"]), np.uint8).reshape(shown["rows"], shown["columns"])
        layer = square_layer(index)
        window = (50.0, 50.0, 10.0, 10.0)
        expected = layer_quality(layer.layer, layer.path, wire_small(), window_mm=window).energy_map.j_mm2
        np.testing.assert_array_equal(found == 0, np.isnan(expected))
        values = shown["least"] + (found[found > 0] - 1.0) * (shown["most"] - shown["least"]) / 254
        np.testing.assert_allclose(
            values, expected[found > 0], atol=0.51 * (shown["most"] - shown["least"]) / 254 + 1e-6
        )


def test_the_page_tells_the_recipe_with_its_evidence(page):
    assert "hatch_spacing_mm" in page and 'class="tag assumed"' in page and "prefers-color-scheme: dark" in page


def test_what_the_planner_noted_stands_in_the_page(tmp_path):
    notes = [
        {"kind": "plate", "sentence": "The part is <b>odd</b>."},
        {"kind": "dropped", "layers": [1, 2], "at_mm": [3.5, 4.5], "length_mm": 2, "width_mm": 0.3, "area_mm2": 0.6},
        {"kind": "dropped", "layers": [4, 4], "at_mm": [9.5, 4.5], "length_mm": 1, "width_mm": 0.3, "area_mm2": 0.3},
        {"kind": "more", "count": 7},
    ]
    write_job(tmp_path / "noted.kiln", head(), [square_layer(0)], notes)
    with Job.open(tmp_path / "noted.kiln") as job:
        write_html(job, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "2 places are too narrow" in page
    assert "the largest is 2 x 0.3 mm at x 3.5, y 4.5 mm in layers 2 to 3." in page
    assert "7 more places are not listed one by one." in page and ">The part is &lt;b&gt;odd&lt;/b&gt;.<" in page
    assert "<b>odd" not in page


@pytest.mark.parametrize("note", [{}, {"kind": "plate"}, {"kind": "overhang", "area_mm2": "x", "layers": 3}])
def test_notes_that_are_none_are_a_sentence(tmp_path, note):
    write_job(tmp_path / "noted.kiln", head(), [square_layer(0)], [note])
    with Job.open(tmp_path / "noted.kiln") as job, pytest.raises(JobError, match="its notes cannot be told"):
        write_html(job, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_names_cannot_break_out_of_the_page(tmp_path):
    evil = "</script><script>alert(1)</script>'\"&"
    bad_recipe = replace(wire_small(), name=evil, description=evil)
    write_job(tmp_path / "evil.kiln", replace(head(), name=evil, mesh_name=evil, recipe=bad_recipe), [square_layer(0)])
    with Job.open(tmp_path / "evil.kiln") as job:
        write_html(job, tmp_path / "evil.html")
    assert "alert(1)</script>" not in (tmp_path / "evil.html").read_text()


def test_a_large_job_shows_some_layers_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.preview, "PAGE_VECTORS_MAX", 14)
    with Job.open(write_small_job(tmp_path / "square.kiln", layers=4)) as job:
        plan = write_html(job, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="layer"') == 2 and "every 2th layer" not in page and "every second layer" in page
    assert "Judged are 2 of 4 layers." in plan.sentences() and "Judged are 2 of 4 layers." in page


def test_an_empty_layer_has_its_place_in_the_page(tmp_path):
    empty = replace(EMPTY, layer=replace(EMPTY.layer, index=1, z_mm=1.0))
    write_job(tmp_path / "gap.kiln", head(), [square_layer(0), empty, square_layer(2)])
    with Job.open(tmp_path / "gap.kiln") as job:
        write_html(job, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    figures = [figures for figures, _ in layers_of(page)]
    assert [f["vectors"] for f in figures] == [7, 0, 7] and figures[1]["map"] is None
    run_page(page, tmp_path, "made.layer.value = 1; made.layer.on.input();", need=False)


# ---- the script, in node with the little of a browser that it touches


STAGE = Path(__file__).parent / "preview_stage.js"


def run_page(page, tmp_path, doing, need=True):
    """Run the page's script in node, then `doing`, and return what it prints (JSON)."""
    node = shutil.which("node")
    if node is None:
        if need:
            pytest.skip("node is not installed")
        return None
    script = re.findall(r"<script>\n(.*?)</script>", page, re.S)[0]
    layers = [
        {"dataset": {"figures": figures}, "textContent": data}
        for figures, data in re.findall(r"data-figures='(.*?)'>(.*?)</script>", page)
    ]
    listed = re.search(r'id="features">(.*?)</script>', page).group(1)
    stage = f"const LAYERS = {json.dumps(layers)}, FEATURES = {json.dumps(listed)};\n{STAGE.read_text()}"
    (tmp_path / "page.js").write_text(f"{stage}\n{script}\nsettle();\n{doing}\nsettle();\n")
    run = subprocess.run([node, tmp_path / "page.js"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) if run.stdout else None


def test_the_page_s_script_runs_and_draws(page, tmp_path):
    said = run_page(
        page,
        tmp_path,
        """
made.layer.value = 2; made.layer.on.input(); settle();
made.time.value = made.time.max / 2; made.time.on.input(); settle();
made.over.on.wheel({ preventDefault() {}, deltaY: -100, offsetX: 10, offsetY: 10 }); settle();
for (const mode of Object.keys(MODES)) { made.mode.value = mode; made.mode.on.input(); settle(); }
console.log(JSON.stringify({ calls, text: made.layerText.textContent, time: made.timeText.textContent,
  modes: Object.keys(MODES), drawn: scene.drawn }));
""",
    )
    assert said["text"] == "3 of 3, z 1.5 mm" and said["calls"]["stroke"] > 4 and said["calls"]["fill"] > 1
    assert said["modes"] == ["kind", "power", "speed", "energy", "order", "back", "time"]
    _, end_s = vector_times_s(square_layer(2).path, BENCH, 100.0)
    assert said["time"].startswith(f"{end_s[-1] / 2:.2f} of ")
    assert said["drawn"] == int((end_s <= end_s[-1] / 2).sum())


def test_the_whole_part_is_in_view_from_the_start(tmp_path):
    """A second layer that is wider than the first."""
    layers = [square_layer(0), square_layer(1, side_mm=40.0)]
    write_job(tmp_path / "wide.kiln", head(), layers)
    with Job.open(tmp_path / "wide.kiln") as job:
        write_html(job, tmp_path / "page.html")
    said = run_page(
        (tmp_path / "page.html").read_text(),
        tmp_path,
        """
const at = (x, y) => [camera.x + (x - VIEW.x) * camera.scale, camera.y - (y - VIEW.y) * camera.scale];
console.log(JSON.stringify([at(50, 50), at(90, 90)]));
""",
    )
    (left, low), (right, high) = said
    assert 0 < left < right < 800 and 0 < high < low < 600 and low - high > 500


def test_the_page_reads_its_numbers_as_they_were_written(page, tmp_path):
    said = run_page(
        page,
        tmp_path,
        """
const l = unpack(1), out = [];
for (let i = 0; i < l.n; i++) out.push([l.at[4 * i] * unit + VIEW.x, l.begin[i] * l.beginStep, l.end[i], l.kind[i],
  l.figures.powers_w[l.power[i]], lineEnergy(l, i), Number.isFinite(backSeconds(l, i)) ? backSeconds(l, i) : -1]);
console.log(JSON.stringify(out));
""",
    )
    path = square_layer(1).path
    begin_s, end_s = vector_times_s(path, BENCH, 100.0)
    back_s = np.where(np.isfinite(back_times(path)), back_times(path), -1.0)
    led = path.power_w / path.speed_mm_s
    expected = np.stack([path.vectors_mm[:, 0], begin_s, end_s, path.kind, path.power_w, led, back_s], axis=1)
    np.testing.assert_allclose(np.array(said), expected, rtol=3e-4, atol=2e-4)


def test_pointing_at_a_vector_tells_its_numbers(page, tmp_path):
    """The middle of the lowest hatch line: (55, 51) mm on the machine."""
    said = run_page(
        page,
        tmp_path,
        """
const x = camera.x + (55 - VIEW.x) * camera.scale, y = camera.y - (51 - VIEW.y) * camera.scale;
made.over.on.pointermove({ buttons: 0, offsetX: x, offsetY: y }); settle();
console.log(JSON.stringify(made.tip.textContent));
""",
    )
    assert "vector 5, hatch" in said and "8.000 mm, 80 W, 40 mm/s" in said
    assert (
        "2 J/mm, 2 J/mm2, 4 J/mm3" in said
        and f"\n{back_times(square_layer(0).path)[4]:.4g} s after a neighbour" in said
    )


@pytest.fixture
def dense(tmp_path):
    """A page of 20,000 short vectors over the left half of a 10 mm square, row by row."""
    y = 40.0 + np.repeat(np.arange(200), 200) * 0.05
    x = 40.0 + np.tile(np.arange(200), 200) * 0.05
    vectors = np.stack([x, y, x + 0.05, y], axis=1)[x < 45.0]
    return page_of(tmp_path, vectors)


def page_of(tmp_path, vectors):
    square = np.array([[40.0, 40.0], [50.0, 40.0], [50.0, 50.0], [40.0, 50.0]])
    layer = Layer(0, 0.5, 0.5, square, np.array([0, 4]))
    write_job(tmp_path / "dense.kiln", head(), [JobLayer(layer, ScanPath.uniform(vectors, 0, 100.0, 50.0), 100.0)])
    with Job.open(tmp_path / "dense.kiln") as job:
        write_html(job, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


AT = """
const at = (x, y) => {
  const px = Math.round(scene.x + (x - VIEW.x) * camera.scale), py = Math.round(scene.y - (y - VIEW.y) * camera.scale);
  let hits = 0;
  for (let b = -6; b <= 6; b++) for (let a = -6; a <= 6; a++) hits += scene.pixels[(py + b) * scene.w + px + a] !== 0;
  return hits / 169;
};
"""


def test_many_vectors_are_set_pixel_by_pixel_where_the_beam_went(dense, tmp_path):
    said = run_page(
        dense,
        tmp_path,
        AT
        + """
const first = [scene.strokes, scene.drawn, at(42, 45), at(48, 45)];
made.time.value = made.time.max / 2; made.time.on.input(); settle();
console.log(JSON.stringify([...first, scene.drawn, at(42, 41), at(42, 49)]));
""",
    )
    strokes, drawn, exposed, bare, half, early, late = said
    assert strokes is False and drawn == 20000 and exposed > 0.2 and bare == 0.0
    assert abs(half - 10000) < 300 and early > 0.2 and late == 0.0


def test_drawing_in_slices_takes_up_what_comes_while_it_draws(dense, tmp_path):
    """A clock by which every look costs 20 ms: each slice sets a few thousand vectors and lets the page breathe."""
    said = run_page(
        dense,
        tmp_path,
        AT
        + """
let clock = 0, slices = 0;
Object.defineProperty(performance, "now", { value: () => (clock += 20) });
made.time.value = made.time.max * 0.7; stale = true; show();
const begun = [task !== null, made.status.textContent];
made.time.value = made.time.max * 0.9; made.time.on.input(); settle();
const wanted = endedBy(unpack(0), seconds());
console.log(JSON.stringify([...begun, task === null, scene.drawn, wanted, at(42, 48.5), at(42, 49.7)]));
""",
    )
    busy, words, done, drawn, wanted, late, never = said
    assert busy and words == "drawing ..." and done
    assert drawn == wanted and 17800 < drawn < 18200 and late > 0.2 and never < 0.1


def test_lines_that_would_lie_over_each_other_are_left_out_and_the_page_says_so(tmp_path):
    """25,000 lines over 10 mm: 12 million pixels of ink for a bed of half a million."""
    y = 40.0 + np.arange(25000) * (10.0 / 25000)
    vectors = np.stack([np.full(25000, 40.0), y, np.full(25000, 50.0), y], axis=1)
    said = run_page(
        page_of(tmp_path, vectors),
        tmp_path,
        AT + "console.log(JSON.stringify([scene.thinned, made.status.textContent, at(45, 42), at(45, 48)]));",
    )
    part, words, low, high = said
    assert 0.1 < part < 0.9 and f"{round(100 * part)} % of the vectors drawn at this zoom" in words
    assert low > 0.95 and high > 0.95, "what is drawn lies evenly over the bed"


def test_several_heads_are_drawn_in_the_order_they_end(tmp_path):
    layer = square_layer(0)
    path = replace(layer.path, beam=np.array([0, 0, 0, 0, 1, 1, 1], np.uint8))
    write_job(tmp_path / "heads.kiln", head(), [replace(layer, path=path)])
    with Job.open(tmp_path / "heads.kiln") as job:
        write_html(job, tmp_path / "page.html")
    said = run_page(
        (tmp_path / "page.html").read_text(),
        tmp_path,
        """
const l = unpack(0), order = Array.from(l.order), t = l.figures.layer_s * 0.3;
console.log(JSON.stringify([order, endedBy(l, t), beamsAt(l, t, endedBy(l, t)).length]));
""",
    )
    begin_s, end_s = vector_times_s(path, BENCH, 100.0)
    assert begin_s[0] == 0.0 and begin_s[4] == 0.0, "the heads work beside each other"
    assert said[0] == np.argsort(end_s, kind="stable").tolist()
    assert said[1] == int((end_s <= 0.3 * end_s.max()).sum()) and said[2] == 2
