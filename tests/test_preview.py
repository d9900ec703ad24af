"""Do the pictures show what the job holds, and does the page stand alone?"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from job_helpers import BENCH, head, square_layer, write_small_job

import slicer.preview
from slicer.job import Job, JobLayer, write_job
from slicer.layers import Layer
from slicer.preview import COLOURS, layer_png, layer_svg, write_html
from slicer.scan import ScanPath

SVG = "{http://www.w3.org/2000/svg}"
EMPTY = JobLayer(Layer(0, 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64)), ScanPath.empty())


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


@pytest.fixture
def page(tmp_path):
    with Job.open(write_small_job(tmp_path / "square.kiln", layers=3)) as job:
        write_html(job, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_the_page_asks_the_network_for_nothing(page):
    assert not re.search(r"(?:src|href)\s*=|https?://|@import|url\(|fetch\(|XMLHttpRequest", page)


def test_the_page_holds_every_layer_within_its_rounding(page):
    view = json.loads(re.search(r"const VIEW = (\{.*?\});", page).group(1))
    found = re.findall(r"<script type=\"text/plain\" class=\"layer\" data-figures='(.*?)'>(.*?)</script>", page)
    assert len(found) == 3
    for index, (figures, data) in enumerate(found):
        figures, packed = json.loads(figures), base64.b64decode(data)
        path = square_layer(index).path
        n, points, loops = figures["vectors"], figures["points"], figures["loops"]
        assert n == len(path) and figures["number"] == index + 1
        assert len(packed) == 8 * n + 4 * points + 4 * (loops + 1) + n
        quads = np.frombuffer(packed, "<u2", 4 * n).reshape(-1, 4)
        shown = quads * view["span"] / 65535 + [view["x"], view["y"]] * 2
        np.testing.assert_allclose(shown, path.vectors_mm, atol=view["span"] / 65535)
        np.testing.assert_array_equal(np.frombuffer(packed[-n:], np.uint8), path.kind)


def test_the_page_tells_the_recipe_with_its_evidence(page):
    assert "hatch_spacing_mm" in page and 'class="tag assumed"' in page and "prefers-color-scheme: dark" in page


def test_names_cannot_break_out_of_the_page(tmp_path):
    evil = "</script><script>alert(1)</script>'\"&"
    write_job(tmp_path / "evil.kiln", replace(head(), name=evil, mesh_name=evil), [square_layer(0)])
    with Job.open(tmp_path / "evil.kiln") as job:
        write_html(job, tmp_path / "evil.html")
    assert "alert(1)</script>" not in (tmp_path / "evil.html").read_text()


def test_a_large_job_shows_some_layers_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.preview, "PAGE_VECTORS_MAX", 14)
    with Job.open(write_small_job(tmp_path / "square.kiln", layers=4)) as job:
        write_html(job, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="layer"') == 2 and "every 2th layer" not in page and "every second layer" in page


def test_the_page_s_script_runs_and_draws(page, tmp_path):
    """In node, with the little of a browser that the script touches, when node is there."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = re.findall(r"<script>\n(.*?)</script>", page, re.S)[0]
    layers = [
        {"dataset": {"figures": figures}, "textContent": data}
        for figures, data in re.findall(r"data-figures='(.*?)'>(.*?)</script>", page)
    ]
    stage = """
const calls = {}, made = {};
const brush = new Proxy({}, { get: (_, k) => (...a) => { calls[k] = (calls[k] || 0) + 1;
  for (const v of a) if (typeof v === "number" && !Number.isFinite(v)) throw new Error(k + " got " + v);
}, set: () => true });
const element = (id) => made[id] ??= { id, value: id === "upto" ? 1000 : 0, checked: true,
  clientWidth: 800, clientHeight: 600,
  addEventListener(n, f) { (this.on ??= {})[n] = f; }, getContext: () => brush, setPointerCapture() {} };
globalThis.document = { querySelectorAll: () => LAYERS, getElementById: element, documentElement: {} };
globalThis.window = {}; globalThis.addEventListener = () => {};
globalThis.getComputedStyle = () => ({ getPropertyValue: () => " #123456" });
globalThis.matchMedia = () => ({ addEventListener() {} });
globalThis.requestAnimationFrame = (f) => f();
"""
    ending = """
made.layer.value = 2; made.layer.on.input(); made.upto.value = 500; made.upto.on.input();
made.bed.on.wheel({ preventDefault() {}, deltaY: -100, offsetX: 10, offsetY: 10 });
console.log(JSON.stringify({ calls, text: made.layerText.textContent, upto: made.uptoText.textContent }));
"""
    (tmp_path / "page.js").write_text(f"const LAYERS = {json.dumps(layers)};\n{stage}\n{script}\n{ending}")
    run = subprocess.run([node, tmp_path / "page.js"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["text"] == "3 of 3, z 1.5 mm" and said["upto"] == "4 of 7"
    assert said["calls"]["stroke"] > 4 and said["calls"]["fill"] > 1
