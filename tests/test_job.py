"""Is a job file whole, the same each time, and refused in a sentence when it is anything else?"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from job_helpers import BENCH, head, square_layer, write_small_job

from slicer.job import ARRAYS, MANIFEST, OPTIONAL_ARRAYS, SCHEMA_VERSION, SUMS, Job
from slicer.job_layer import JobError, JobLayer
from slicer.job_writing import write_job
from slicer.layers import Layer
from slicer.scan import ScanPath


@pytest.fixture
def job_path(tmp_path):
    return write_small_job(tmp_path / "square.kiln")


@pytest.fixture(scope="module")
def job_bytes(tmp_path_factory):
    return write_small_job(tmp_path_factory.mktemp("job") / "square.kiln").read_bytes()


def same_layers(a, b):
    return all(
        np.array_equal(getattr(x, name), getattr(y, name))
        for x, y in ((a.layer, b.layer), (a.path, b.path))
        for name in (*ARRAYS, *OPTIONAL_ARRAYS)
        if hasattr(x, name)
    )


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rebuilt(path, members, *, compression=zipfile.ZIP_STORED, fresh_sums=True):
    """Write members as a job file again, with sums that are right for them: damage only the reader's checks can see."""
    if fresh_sums:
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items() if name != SUMS]
        members = {**members, SUMS: "".join(lines).encode()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def npy(array, **kwargs):
    stream = io.BytesIO()
    np.save(stream, array, **kwargs)
    return stream.getvalue()


# ---- what is written is what is read


def test_layers_come_back_as_they_were(job_path):
    with Job.open(job_path) as job:
        job.verify()
        assert job.manifest.layer_count == 2 and job.manifest.z_mm == [0.5, 1.0]
        assert job.recipe == head().recipe and job.envelope == BENCH
        assert job.sha256 == hashlib.sha256(job_path.read_bytes()).hexdigest()
        for index in range(2):
            found = job.layer(index)
            assert same_layers(found, square_layer(index))
            assert found.jump_speed_mm_s == job.recipe.jump_speed_mm_s
        with pytest.raises(IndexError):
            job.layer(2)


def test_the_manifest_sums_over_the_layers(job_path):
    path = square_layer(0).path
    with Job.open(job_path) as job:
        assert job.manifest.vector_count == 2 * len(path)
        assert job.manifest.energy_j == pytest.approx(2 * path.energy_j)
        assert job.manifest.length_mm == pytest.approx(2 * path.length_mm)
        assert job.manifest.bounds_mm == [[50, 50, 0], [60, 60, 1]]
        assert job.manifest.build_time_s > job.manifest.beam_on_s > 0


def test_waits_focus_and_beams_come_back_where_a_layer_has_them(tmp_path):
    plain, with_all = square_layer(0), square_layer(1)
    n = len(with_all.path)
    columns = {"wait_s": np.linspace(0, 2, n), "focus_mm": np.linspace(-3, 3, n), "beam": np.arange(n, dtype=np.uint8)}
    with_all = replace(with_all, path=replace(with_all.path, **columns))
    write_job(tmp_path / "a.kiln", head(), [plain, with_all])
    with Job.open(tmp_path / "a.kiln") as job:
        assert same_layers(job.layer(0), plain) and same_layers(job.layer(1), with_all)
    assert not any("wait_s" in name for name in members_of(tmp_path / "a.kiln") if "00000" in name)


def test_a_job_of_the_format_before_is_read(tmp_path, job_path):
    members = members_of(job_path)
    manifest = json.loads(members[MANIFEST])
    del manifest["notes"], manifest["parts"]
    members[MANIFEST] = json.dumps({**manifest, "schema_version": 1}).encode()
    with Job.open(job_path) as new, Job.open(rebuilt(tmp_path / "old.kiln", members)) as old:
        assert same_layers(old.layer(1), new.layer(1))


def test_the_same_job_gives_the_same_bytes(tmp_path, job_bytes):
    assert write_small_job(tmp_path / "again.kiln").read_bytes() == job_bytes


def test_nothing_in_the_file_tells_the_day_or_the_machine(job_path):
    with zipfile.ZipFile(job_path) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {(info.create_system, info.external_attr) for info in archive.infolist()} == {(3, 0o644 << 16)}


def test_anybody_can_check_and_read_it_without_moonkiln(job_path, tmp_path):
    members = members_of(job_path)
    for line in members[SUMS].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(members[name]).hexdigest() == digest
    vectors = np.load(io.BytesIO(members["layers/00001/vectors_mm.npy"]), allow_pickle=False)
    np.testing.assert_array_equal(vectors, square_layer(1).path.vectors_mm)


# ---- nothing is lost when writing fails


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, failure):
    path = write_small_job(tmp_path / "square.kiln")
    before = path.read_bytes()

    def layers():
        yield square_layer(0)
        raise failure

    with pytest.raises(type(failure)):
        write_job(path, head(), layers())
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["square.kiln"]


def test_a_disk_that_fills_while_syncing_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_small_job(tmp_path / "square.kiln")
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_job(path, head(), [square_layer(0)])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["square.kiln"]


def with_path(**changes):
    layer = square_layer(0)
    return JobLayer(layer.layer, replace(layer.path, **changes), 100.0)


def test_layers_no_machine_should_get_are_not_written(tmp_path):
    good = square_layer(0).path
    spoiled = good.vectors_mm.copy()
    spoiled[3, 1] = math.nan
    far = good.vectors_mm.copy()
    far[2, 2] = 250.1
    dot = good.vectors_mm.copy()
    dot[0, 2:] = dot[0, :2] + 2e-4
    n = len(good)
    for layers, sentence in [
        ([with_path(vectors_mm=spoiled)], "vectors_mm holds a value that is not a finite number"),
        ([with_path(power_w=np.full(n, np.inf))], "power_w holds a value"),
        ([with_path(power_w=np.full(n, 201.0))], "beam power of 201 to 201 W"),
        ([with_path(power_w=np.zeros(n))], "beam power of 0"),
        ([with_path(speed_mm_s=np.full(n, 101.0))], "scan speed of 101"),
        ([with_path(speed_mm_s=np.zeros(n))], "scan speed of 0"),
        ([with_path(kind=np.full(n, 9, np.uint8))], "none of hatch, contour, up-skin"),
        ([with_path(wait_s=np.full(n, -0.1))], "wait_s of -0.1 to -0.1"),
        ([with_path(wait_s=np.full(n, 3601.0))], "wait_s of 3601"),
        ([with_path(focus_mm=np.full(n, -101.0))], "focus_mm of -101"),
        ([with_path(beam=np.full(n, 16, np.uint8))], "beam of 16"),
        ([with_path(vectors_mm=far)], "beyond the plate of 250 x 150 mm"),
        ([with_path(vectors_mm=dot)], "shorter than the 0.001 mm"),
        ([JobLayer(replace(square_layer(0).layer, z_mm=200.0), good)], "build height of 100 mm"),
        ([square_layer(1)], "layer 1 came where layer 0 was due"),
        ([], "nothing to expose"),
        ([JobLayer(square_layer(0).layer, ScanPath.empty())], "nothing to expose"),
    ]:
        with pytest.raises(JobError, match=sentence):
            write_job(tmp_path / "bad.kiln", head(), layers)
    assert os.listdir(tmp_path) == []


def test_an_empty_layer_among_others_is_kept(tmp_path):
    empty = JobLayer(Layer(1, 1.0, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64)), ScanPath.empty())
    write_job(tmp_path / "gap.kiln", head(), [square_layer(0), empty, square_layer(2)])
    with Job.open(tmp_path / "gap.kiln") as job:
        job.verify()
        assert len(job.layer(1).path) == 0


# ---- damage


def content_or_error(path, data):
    path.write_bytes(data)
    try:
        with Job.open(path) as job:
            job.verify()
            return job.manifest, [job.layer(index) for index in range(job.manifest.layer_count)]
    except JobError as error:
        assert len(str(error)) > 20
        return None


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(1, 255))
def test_a_changed_byte_is_found_or_changes_nothing(tmp_path, job_bytes, data, change):
    place = data.draw(st.integers(0, len(job_bytes) - 1))
    found = content_or_error(
        tmp_path / "flipped.kiln", job_bytes[:place] + bytes([job_bytes[place] ^ change]) + job_bytes[place + 1 :]
    )
    if found is not None:
        manifest, layers = found
        with zipfile.ZipFile(io.BytesIO(job_bytes)) as archive:
            assert json.loads(archive.read(MANIFEST)) == json.loads(manifest.to_json())
        assert all(same_layers(layer, square_layer(index)) for index, layer in enumerate(layers)) and len(layers) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True))
@example(0.0)
def test_a_file_cut_short_is_refused(tmp_path, job_bytes, share):
    assert content_or_error(tmp_path / "short.kiln", job_bytes[: int(share * len(job_bytes))]) is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
@example(b"PK\x05\x06" + bytes(18))
def test_any_bytes_at_all_are_refused(tmp_path, data):
    assert content_or_error(tmp_path / "noise.kiln", data) is None


def test_a_newer_format_says_so(job_path):
    members = members_of(job_path)
    table = json.loads(members[MANIFEST])
    table["schema_version"], table["something_new"] = SCHEMA_VERSION + 1, [1, 2]
    rebuilt(job_path, {**members, MANIFEST: json.dumps(table).encode()})
    with pytest.raises(JobError, match=r"has format 3, this moonkiln .* reads up to 2: update moonkiln"):
        Job.open(job_path)


# ---- files made to do harm, with sums that are right


def changed_manifest(**changes):
    def change(members):
        return {MANIFEST: json.dumps({**json.loads(members[MANIFEST]), **changes}).encode()}

    return change


def changed_array(name, data):
    return lambda _members: {f"layers/00000/{name}.npy": data}


OBJECTS = npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (changed_manifest(layer_count=1), "no part of a job|lists 2"),
        (changed_manifest(layer_count=10**9), "tells of 1000000000 layers"),
        (changed_manifest(layer_count="2"), "manifest cannot be used"),
        (changed_manifest(extra=1), "not one of format"),
        (changed_manifest(recipe={}), "name is missing"),
        (changed_manifest(envelope={"x_mm": 1e9}), "envelope"),
        (changed_manifest(schema_version=0), "not one of format"),
        (changed_manifest(vector_count=3), "hold 14 vectors, its manifest says 3"),
        (changed_manifest(z_mm=[-0.5, 1.0]), "do not fit a build height"),
        (lambda _members: {MANIFEST: b"[" * 100_000}, "not JSON"),
        (lambda _members: {MANIFEST: b"\xff\xfe"}, "not JSON"),
        (lambda _members: {"layers/00000/more.npy": b""}, "no part of a job"),
        (lambda _members: {"../../evil": b"x"}, "no part of a job"),
        (changed_array("kind", OBJECTS), "kind is"),
        (changed_array("kind", pickle.dumps([1])), "kind is no array"),
        (changed_array("kind", b""), "kind is no array"),
        (changed_array("vectors_mm", npy(np.zeros((4, 7)).T)), "vectors_mm is"),
        (changed_array("vectors_mm", npy(np.zeros((7, 4), np.float32))), "vectors_mm is <f4"),
        (changed_array("vectors_mm", npy(np.ones((7, 4))) + b"more"), "holds 228 bytes, not the 224"),
        (changed_array("vectors_mm", npy(np.ones((7, 4)))[:-8]), "holds 216 bytes, not the 224"),
        (changed_array("vectors_mm", npy(np.full((7, 4), np.nan))), "not a finite number"),
        (changed_array("power_w", npy(np.ones(6))), "disagree on the number of vectors"),
        (changed_array("loop_starts", npy(np.array([0, 3], np.int64))), "loop table does not fit"),
        (changed_array("loop_starts", npy(np.array([4, 0, 4], np.int64))), "loop table does not fit"),
        (changed_array("loop_starts", npy(np.zeros(0, np.int64))), "loop table does not fit"),
    ],
)
def test_a_hostile_file_is_refused(job_path, change, sentence):
    members = members_of(job_path)
    rebuilt(job_path, {**members, **change(members)})
    with pytest.raises(JobError, match=sentence), Job.open(job_path) as job:
        job.verify()


@pytest.mark.parametrize("name", ["layers/00001/power_w.npy", MANIFEST])
def test_a_member_that_was_exchanged_is_found_by_its_sum(job_path, name):
    members = members_of(job_path)
    changed = npy(np.full(7, 150.0)) if name != MANIFEST else members[MANIFEST].replace(b'"square"', b'"circle"')
    rebuilt(job_path, {**members, name: changed}, fresh_sums=False)
    with pytest.raises(JobError, match=f"damaged in {name} .its sha256"), Job.open(job_path) as job:
        job.verify()


def test_a_compressed_job_is_refused_before_it_unfolds(job_path):
    members = members_of(job_path)
    members["layers/00000/kind.npy"] = npy(np.zeros(50_000_000, np.uint8))
    rebuilt(job_path, members, compression=zipfile.ZIP_DEFLATED)
    assert job_path.stat().st_size < 1_000_000
    with pytest.raises(JobError, match="declares more bytes than it has"):
        Job.open(job_path)


def test_a_zip_that_is_no_job_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.kiln", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(JobError, match="is a zip, but not a job file"):
        Job.open(tmp_path / "other.kiln")


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(JobError, match="does not exist"):
        Job.open(tmp_path / "absent.kiln")
    with pytest.raises(JobError, match="cannot be read"):
        Job.open(tmp_path)
