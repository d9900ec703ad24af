"""Does a 3MF package give every object of its build, where and as large as it says, and every attack a sentence?"""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solid_helpers import box

from slicer import mesh_3mf
from slicer.errors import MeshError
from slicer.mesh import read_mesh

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
PRODUCTION = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06"


def mesh_xml(x=10.0, y=20.0, z=30.0, at=(0.0, 0.0, 0.0)) -> str:
    solid = box(x, y, z, at)
    corners = "".join(f'<vertex x="{a!r}" y="{b!r}" z="{c!r}"/>' for a, b, c in solid.vertices_mm.tolist())
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in solid.faces.tolist())
    return f"<mesh><vertices>{corners}</vertices><triangles>{triangles}</triangles></mesh>"


def model(resources: str, build: str, attributes: str = "") -> str:
    return (
        f'<?xml version="1.0"?><model xmlns="{CORE}" xmlns:p="{PRODUCTION}" {attributes}>'
        f"<resources>{resources}</resources><build>{build}</build></model>"
    )


def package(root: str | bytes, others: dict[str, str | bytes] | None = None, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        archive.writestr("3D/3dmodel.model", root)
        for name, text in (others or {}).items():
            archive.writestr(name, text)
    return stream.getvalue()


def read(tmp_path, data: bytes):
    path = tmp_path / "part.3mf"
    path.write_bytes(data)
    return read_mesh(path)


def refusal(tmp_path, data: bytes) -> str:
    with pytest.raises(MeshError) as caught:
        read(tmp_path, data)
    assert "\n" not in str(caught.value) and "part.3mf" in str(caught.value)
    return str(caught.value)


ONE = f'<object id="1">{mesh_xml()}</object>'


def test_every_build_item_is_there_where_its_transform_puts_it(tmp_path):
    build = '<item objectid="1"/><item objectid="1" transform="0 1 0 -1 0 0 0 0 1 100 0 5"/>'
    _, report = read(tmp_path, package(model(ONE, build)))
    assert report.bodies == 2 and report.volume_mm3 == pytest.approx(12_000)
    # a quarter turn: (x, y) becomes (-y, x), so x spans 100 - 20 to 100
    np.testing.assert_allclose(report.bounds_mm, [[0, 0, 0], [100, 20, 35]], atol=1e-9)


def test_items_with_one_part_number_are_all_there(tmp_path):
    build = (
        '<item objectid="1" partnumber="A"/><item objectid="1" partnumber="A" transform="1 0 0 0 1 0 0 0 1 50 0 0"/>'
    )
    assert read(tmp_path, package(model(ONE, build)))[1].bodies == 2


def test_components_nest_and_their_transforms_multiply_in_order(tmp_path):
    resources = (
        ONE
        + '<object id="2"><components>'
        + '<component objectid="1" transform="2 0 0 0 2 0 0 0 2 1 0 0"/></components></object>'
        + '<object id="3"><components><component objectid="2" transform="0 1 0 -1 0 0 0 0 1 0 0 0"/>'
        + '<component objectid="1" transform="1 0 0 0 1 0 0 0 1 0 0 500"/></components></object>'
    )
    build = '<item objectid="3" transform="1 0 0 0 1 0 0 0 1 0 0 7"/>'
    _, report = read(tmp_path, package(model(resources, build)))
    # 1 doubled and moved by 1 in x, then turned a quarter: x spans -40 to 0, y 1 to 21, z 0 to 60, then raised by 7
    np.testing.assert_allclose(report.bounds_mm, [[-40, 0, 7], [10, 21, 537]], atol=1e-9)
    assert report.volume_mm3 == pytest.approx(8 * 6000 + 6000)


def test_translations_are_in_the_unit_of_the_file(tmp_path):
    build = '<item objectid="1" transform="1 0 0 0 1 0 0 0 1 2 0 0"/>'
    _, report = read(tmp_path, package(model(ONE, build, 'unit="inch"')))
    np.testing.assert_allclose(report.bounds_mm, np.array([[2, 0, 0], [12, 20, 30]]) * 25.4, atol=1e-9)


def test_objects_in_other_model_files_are_found_by_path_and_number(tmp_path):
    """One file holds two objects, of which the build names one; object numbers are a file's own."""
    other = model(
        f'<object id="1">{mesh_xml(1, 1, 1)}</object><object id="8">{mesh_xml(5, 5, 5)}</object>',
        "",
        'unit="centimeter"',
    )
    resources = (
        ONE
        + '<object id="2"><components><component p:path="/3D/Objects/bolt%20a.model" objectid="8" '
        + 'transform="1 0 0 0 1 0 0 0 1 100 0 0"/></components></object>'
    )
    build = '<item objectid="2"/><item objectid="1"/><item p:path="/3D/Objects/bolt%20a.model" objectid="1"/>'
    data = package(model(resources, build, 'requiredextensions="p"'), {"3D/Objects/bolt a.model": other})
    _, report = read(tmp_path, data)
    assert report.bodies == 3 and report.volume_mm3 == pytest.approx(50**3 + 6000 + 1000)
    np.testing.assert_allclose(report.bounds_mm, [[0, 0, 0], [150, 50, 50]], atol=1e-9)


def test_root_model_is_the_one_that_the_package_names(tmp_path):
    rels = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
        'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel" Target="/3D/build.model"/></Relationships>'
    )
    decoy = model(f'<object id="1">{mesh_xml(1, 1, 1)}</object>', '<item objectid="1"/>')
    data = package(decoy, {"_rels/.rels": rels, "3D/build.model": model(ONE, '<item objectid="1"/>')})
    assert read(tmp_path, data)[1].volume_mm3 == pytest.approx(6000)


def test_what_is_left_out_is_said(tmp_path):
    resources = (
        ONE
        + f'<object id="2" type="support">{mesh_xml(1, 1, 1)}</object>'
        + f'<object id="3">{mesh_xml(2, 2, 2)}<b:beamlattice xmlns:b="urn:beams"/></object>'
    )
    build = '<item objectid="1"/><item objectid="2"/><item objectid="1" printable="0"/>'
    _, report = read(tmp_path, package(model(resources, build)))
    assert report.volume_mm3 == pytest.approx(6000)
    told = " ".join(report.sentences())
    assert "Object 2 is of type 'support'" in told and "Object 1 is marked as not printable" in told
    lattice = model(ONE.replace("</mesh>", '<b:beamlattice xmlns:b="urn:b"/></mesh>'), '<item objectid="1"/>')
    assert "beamlattice" in " ".join(read(tmp_path, package(lattice))[1].sentences())


def test_far_from_the_origin_no_digit_is_lost(tmp_path):
    far = model(f'<object id="1">{mesh_xml(at=(1e6, -1e6, 1e6))}</object>', '<item objectid="1"/>')
    _, report = read(tmp_path, package(far))
    assert report.volume_mm3 == pytest.approx(6000, rel=1e-9) and report.sentences() == []


ITEM = '<item objectid="1"/>'
BAD = [  # what the root model holds, what the sentence says
    ("no build", model(ONE, ""), "build names no object"),
    ("absent object", model(ONE, '<item objectid="9"/>'), "refers to object 9"),
    ("absent file", model(ONE, '<item p:path="/3D/no.model" objectid="1"/>'), "3d/no.model"),
    ("object twice", model(ONE + ONE, ITEM), "object 1 twice"),
    ("no id", model("<object><mesh/></object>", ITEM), "lacks its 'id'"),
    ("no x", model(ONE.replace('x="10.0"', ""), ITEM), "lacks its 'x'"),
    ("word", model(ONE.replace('x="10.0"', 'x="a"'), ITEM), "no number"),
    ("corner", model(ONE.replace('v1="7"', 'v1="999"'), ITEM), "names a corner"),
    ("minus", model(ONE.replace('v1="7"', 'v1="-1"'), ITEM), "names a corner"),
    ("huge corner", model(ONE.replace('v1="7"', 'v1="99999999999"'), ITEM), "names a corner"),
    ("nan", model(ONE.replace('x="10.0"', 'x="nan"'), ITEM), "no number"),
    ("short transform", model(ONE, '<item objectid="1" transform="1 0 0"/>'), "12 numbers"),
    ("flat transform", model(ONE, '<item objectid="1" transform="1 0 0 0 1 0 0 0 0 0 0 0"/>'), "flattens"),
    ("nan transform", model(ONE, '<item objectid="1" transform="1 0 0 0 1 0 0 0 nan 0 0 0"/>'), "12 numbers"),
    ("extension", model(ONE, ITEM, 'xmlns:s="urn:secret" requiredextensions="s"'), "urn:secret"),
    ("unit", model(ONE, ITEM, 'unit="furlong"'), "furlong"),
    ("coarse", model(ONE.replace('id="1"', 'id="1" p:modelresolution="lowres"'), ITEM), "stand-in"),
    ("no model", "<html><body/></html>", "where a model must be"),
    ("no XML", "hello", "no XML"),
    ("half", model(ONE, ITEM)[:-20], "no XML"),
    ("deep", model("<a>" * 100 + "</a>" * 100, ITEM), "64 deep"),
]  # fmt: skip


@pytest.mark.parametrize(("root", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_model_is_a_sentence(tmp_path, root, says):
    assert says in refusal(tmp_path, package(root))


def test_third_files_and_circles_are_refused(tmp_path):
    inner = model('<object id="1"><components><component p:path="/3D/c.model" objectid="1"/></components></object>', "")
    data = package(model("", '<item p:path="/3D/b.model" objectid="1"/>'), {"3D/b.model": inner, "3D/c.model": inner})
    assert "third" in refusal(tmp_path, data)
    circle = (
        '<object id="1"><components><component objectid="2"/></components></object>'
        '<object id="2"><components><component objectid="1"/><component objectid="1"/></components></object>'
    )
    assert "contains itself" in refusal(tmp_path, package(model(circle, ITEM)))


def test_components_that_double_at_each_level_are_counted_not_built(tmp_path):
    levels = "".join(
        f'<object id="{i}"><components>' + f'<component objectid="{i - 1}"/>' * 2 + "</components></object>"
        for i in range(2, 50)
    )
    assert "more than 100000" in refusal(tmp_path, package(model(ONE + levels, '<item objectid="49"/>')))


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE m SYSTEM "http://127.0.0.1:9/evil.dtd">',
        "<!DOCTYPE m>",
    ],
)
def test_document_types_and_entities_are_refused(tmp_path, attack):
    root = model(ONE, ITEM).replace("?>", "?>" + attack)
    assert "document type or entities" in refusal(tmp_path, package(root))
    rels = '<?xml version="1.0"?>' + attack + "<Relationships/>"
    assert "document type or entities" in refusal(tmp_path, package(model(ONE, ITEM), {"_rels/.rels": rels}))


def peak_mb(action) -> float:
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def test_a_zip_bomb_is_refused_in_little_memory(tmp_path):
    bomb = package(model(ONE, ITEM).replace("<resources>", "\n" * 10_000_000 + "<resources>"))
    assert len(bomb) < 20_000
    said = []
    assert peak_mb(lambda: said.append(refusal(tmp_path, bomb))) < 5.0
    assert "zip bomb" in said[0]


def test_one_huge_token_is_refused_in_little_memory(tmp_path):
    noise = np.random.default_rng(0).integers(97, 123, 6_000_000, dtype=np.uint8).tobytes().decode()
    data = package(model(ONE, ITEM, f'title="{noise}"'))
    said = []
    assert peak_mb(lambda: said.append(refusal(tmp_path, data))) < 20.0
    assert "more than a megabyte" in said[0]


def test_archives_of_countless_members_names_and_objects_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_3mf, "MEMBERS_MAX", 20)
    assert "21 files" in refusal(tmp_path, package(model(ONE, ITEM), {f"{i}": "" for i in range(20)}))
    monkeypatch.setattr(mesh_3mf, "NAMES_MAX", 500)
    names = "".join(f"<n{i}/>" for i in range(600))
    assert "500 names" in refusal(tmp_path, package(model(names + ONE, ITEM)))
    monkeypatch.setattr(mesh_3mf, "INSTANCES_MAX", 30)
    assert "more than 30 objects" in refusal(tmp_path, package(model(ONE, ITEM * 40)))


def test_members_that_lie_or_are_locked_are_sentences(tmp_path):
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("3D/3dmodel.model", model(ONE, ITEM))
        archive.writestr("3d/3DMODEL.model", model(ONE, ITEM))
    assert "twice" in refusal(tmp_path, twice.getvalue())
    locked = bytearray(package(model(ONE, ITEM)))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert "damaged" in refusal(tmp_path, bytes(locked))
    method = bytearray(package(model(ONE, ITEM)))
    method[8] = 77
    method[method.index(b"PK\x01\x02") + 10] = 77
    assert "damaged" in refusal(tmp_path, bytes(method))
    with zipfile.ZipFile(empty := io.BytesIO(), "w"):
        pass
    assert "holds no model" in refusal(tmp_path, empty.getvalue())


# ---- beside the format's own reference implementation

NUMBER = st.floats(-20, 20, width=32).map(lambda x: round(x, 3))


@st.composite
def transforms(draw) -> list[float]:
    """Twelve numbers, well away from flat."""
    matrix = (
        np.eye(3) * draw(st.sampled_from([-1.0, 0.5, 2.0]))
        + np.array(draw(st.tuples(*[NUMBER] * 9))).reshape(3, 3) / 100
    )
    return [*matrix.reshape(-1).tolist(), *draw(st.tuples(*[NUMBER] * 3))]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_trees_of_components_are_what_lib3mf_makes_of_them(tmp_path_factory, data):
    lib3mf = pytest.importorskip("lib3mf")
    wrapper = lib3mf.get_wrapper()

    def matrix(numbers: list[float]):
        placed = lib3mf.Transform()
        for row in range(4):
            for column in range(3):
                placed.Fields[row][column] = numbers[3 * row + column]
        return placed

    written = wrapper.CreateModel()
    solid = box(3.0, 4.0, 5.0, (1.0, 1.0, 1.0))
    leaf = written.AddMeshObject()
    leaf.SetGeometry(
        [lib3mf.Position((lib3mf.ctypes.c_float * 3)(*corner)) for corner in solid.vertices_mm],
        [lib3mf.Triangle((lib3mf.ctypes.c_uint32 * 3)(*face)) for face in solid.faces.tolist()],
    )
    objects = [leaf]
    for _ in range(data.draw(st.integers(0, 3))):
        group = written.AddComponentsObject()
        for _ in range(data.draw(st.integers(1, 3))):
            group.AddComponent(data.draw(st.sampled_from(objects)), matrix(data.draw(transforms())))
        objects.append(group)
    for _ in range(data.draw(st.integers(1, 3))):
        written.AddBuildItem(data.draw(st.sampled_from(objects)), matrix(data.draw(transforms())))
    path = tmp_path_factory.getbasetemp() / "tree.3mf"
    written.QueryWriter("3mf").WriteToFile(str(path))

    model = wrapper.CreateModel()
    model.QueryReader("3mf").ReadFromFile(str(path))
    merged = model.MergeToModel()
    expected = []
    meshes = merged.GetMeshObjects()
    while meshes.MoveNext():
        part = meshes.GetCurrentMeshObject()
        corners = np.array([list(vertex.Coordinates) for vertex in part.GetVertices()])
        expected.append(corners[np.array([list(triangle.Indices) for triangle in part.GetTriangleIndices()])])
    ours = mesh_3mf.read_3mf(path, path.read_bytes())
    found = ours.vertices[ours.faces].reshape(-1, 9)
    wanted = np.concatenate(expected).reshape(-1, 9)
    assert found.shape == wanted.shape
    reach = max(1.0, np.abs(wanted).max())

    # as sets: each corner's sum over the triangle is the same wherever the triangle begins; mirrored ones are turned
    def middles(rows):
        return np.array(sorted(np.round(rows.reshape(-1, 3, 3).mean(axis=1) / reach, 4).tolist()))

    np.testing.assert_allclose(middles(found), middles(wanted), atol=3e-4)
