"""Does a kept run hold all that is needed to repeat it, and is a file that does not refused in a sentence?"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hil_helpers import SHORT, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from control.machine_file import MACHINES as CONTROL_MACHINES
from hil_sim.harness.digest import Chunk
from hil_sim.harness.hil_shared import how_same
from hil_sim.harness.keeping import Again, made_again, run_and_keep, schedule_of
from hil_sim.harness.machine_files import changed
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.run_diff import are_alike, differing_facts, first_difference, unlike_parts
from hil_sim.harness.run_file import METADATA, RunFileError, frames, read_run, told, write_run
from hil_sim.harness.small_job import bench_subject
from hil_sim.harness.trials import CRASHED
from hil_sim.virtual_time import RUN_START_EPOCH_NS
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.wiring import MACHINES as WORLDS

DROP = FaultSchedule((Fault("drop", "motion.to_device", at_chunk=12),))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short program of which a chunk was lost."""
    path = tmp_path_factory.mktemp("kept") / "run.mcap"
    run_and_keep(SHORT, DROP, 3, path)
    return path


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole print whose scenario has a fault of its own; its job is gone."""
    folder = tmp_path_factory.mktemp("printed")
    subject = bench_subject(folder, layers=1)
    short_feed = {"kind": "short_feed", "point": "recoater.feed", "at_event": 0, "args": {"fraction": 0.3}}
    scenario = msgspec.structs.replace(subject.scenario, faults=[short_feed])
    subject = msgspec.structs.replace(subject, scenario=scenario)
    run_and_keep(subject, FaultSchedule(), 3, folder / "run.mcap")
    Path(subject.job_path).unlink()
    return folder / "run.mcap"


def test_a_kept_run_is_made_again_byte_for_byte(kept: Path) -> None:
    again = made_again(read_run(kept))
    assert again.is_same and again.trial is not None and again.trial.verdict == Verdict.EXACT.value
    assert [(c.point, c.data) for c in again.chunks] == [(c.point, c.data) for c in read_run(kept).chunks]


def test_a_kept_print_brings_its_job_and_its_scenarios_faults_along(printed: Path) -> None:
    run = read_run(printed)
    assert [fault.kind for fault in schedule_of(run).faults] == ["short_feed"]
    assert run.about.subject["scenario"].get("faults", []) == []
    again = made_again(run)
    assert again.is_same and again.trial is not None and again.trial.verdict == Verdict.DEGRADED.value
    assert any(topic == "/truth/blocks" for _, topic, _ in run.truth)


def test_another_schedule_or_seed_is_not_the_same(kept: Path) -> None:
    run = read_run(kept)
    other = [{**run.about.faults[0], "at_chunk": 13}]
    assert not made_again(replace(run, about=msgspec.structs.replace(run.about, faults=other))).is_same


def test_a_run_is_shown_up_to_a_time(kept: Path) -> None:
    run = read_run(kept)
    middle_s = run.chunks[len(run.chunks) // 2].t_s + 1e-4
    again = made_again(run, until_s=middle_s)
    assert again.trial is None and again.is_same
    assert 0 < len(again.chunks) < len(run.chunks) and again.chunks[-1].t_s <= middle_s
    whole = made_again(run, until_s=1e6)
    assert whole.trial is not None and whole.is_same


@pytest.mark.parametrize("changed", ["later", "missing", "one more", "byte"])
def test_a_run_that_is_shown_up_to_a_time_is_held_to_every_chunk_and_its_time(kept: Path, changed: str) -> None:
    run = read_run(kept)
    until_s = run.chunks[len(run.chunks) // 2].t_s + 1e-4
    last = max(number for number, chunk in enumerate(run.chunks) if chunk.t_s < until_s)
    found = {
        "later": [run.chunks[last]._replace(t_s=run.chunks[last].t_s + 2e-9)],
        "missing": [],
        "one more": [run.chunks[last], run.chunks[last]],
        "byte": [run.chunks[last]._replace(data=b"?" + run.chunks[last].data[1:])],
    }
    other = replace(run, chunks=(*run.chunks[:last], *found[changed], *run.chunks[last + 1 :]))
    assert made_again(run, until_s=until_s).is_same is True
    assert made_again(other, until_s=until_s).is_same is False


def test_a_chunk_in_the_very_nanosecond_of_the_stop_decides_nothing(kept: Path) -> None:
    run = read_run(kept)
    middle = len(run.chunks) // 2
    without = replace(run, chunks=(*run.chunks[:middle], *run.chunks[middle + 1 :]))
    until_s = run.chunks[middle].t_s
    assert run.chunks[middle - 1].t_s < until_s
    assert made_again(run, until_s=until_s).is_same and made_again(without, until_s=until_s).is_same


def test_a_run_that_is_stopped_before_anything_passed_cannot_be_compared(kept: Path) -> None:
    run = read_run(kept)
    again = made_again(run, until_s=run.chunks[0].t_s / 2)
    assert again.is_same is None and again.chunks == ()
    assert how_same(run.about, again) == "nothing passed until then: there is nothing to compare"


def test_a_log_that_was_cut_says_so_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_and_keep(SHORT, DROP, 3, tmp_path / "whole.mcap")
    monkeypatch.setattr("hil_sim.harness.digest.LOG_CHUNKS_MAX", 10)
    run_and_keep(SHORT, DROP, 3, tmp_path / "cut.mcap")
    whole, cut = read_run(tmp_path / "whole.mcap"), read_run(tmp_path / "cut.mcap")
    assert whole.about.log_is_whole and not cut.about.log_is_whole and len(cut.chunks) == 10
    assert are_alike(whole, cut) and made_again(cut).is_same


def test_a_run_that_crashed_is_kept_with_its_reason(tmp_path: Path) -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        raise RuntimeError("out of ideas")

    trial = run_and_keep(scripted(rule), DROP, 0, tmp_path / "a" / "run.mcap")
    run = read_run(tmp_path / "a" / "run.mcap")
    assert trial.verdict == run.about.verdict == CRASHED and run.about.digest is None
    assert "out of ideas" in run.about.reasons[0] and run.about.whole == trial.digest


# ---- comparing


def test_a_run_is_alike_to_itself(kept: Path) -> None:
    assert first_difference(read_run(kept), read_run(kept)) is None
    assert list(differing_facts(read_run(kept), read_run(kept))) == []


def test_the_first_difference_in_time_is_named(kept: Path, tmp_path: Path) -> None:
    run_and_keep(SHORT, FaultSchedule(), 3, tmp_path / "clean.mcap")
    first, second = read_run(kept), read_run(tmp_path / "clean.mcap")
    difference = first_difference(first, second)
    assert difference is not None and difference.second is not None
    lost = [c for c in second.chunks if c.point == "motion.to_device"][12]
    assert (difference.second[1], difference.second[2]) == ("motion.to_device", lost.data)
    assert difference.at_s <= lost.t_s + 1e-6 and len(difference.before) == 5
    assert differing_facts(first, second)[0].startswith("faults: [{'kind': 'drop'")


@pytest.mark.parametrize("name", ["seed", "verdict", "faults", "whole", "reasons"])
def test_runs_that_passed_the_same_and_were_told_or_came_to_something_else_are_not_alike(kept: Path, name: str) -> None:
    run = read_run(kept)
    others = {"seed": 4, "verdict": "detected", "faults": [], "whole": "0" * 32, "reasons": ["another one"]}
    other = replace(run, about=msgspec.structs.replace(run.about, **{name: others[name]}))
    assert first_difference(run, other) is None and not are_alike(run, other) and are_alike(run, run)
    elsewhere = replace(run, about=msgspec.structs.replace(run.about, python="3.99.0", software="0"))
    assert are_alike(run, elsewhere) and len(differing_facts(run, elsewhere)) == 2


def test_the_parts_of_the_digest_that_differ_are_named(kept: Path) -> None:
    run = read_run(kept)
    assert run.about.digest is not None and unlike_parts(run, run) == []
    digest = msgspec.structs.replace(run.about.digest, outcome="0" * 32)
    other = replace(run, about=msgspec.structs.replace(run.about, digest=digest))
    assert unlike_parts(run, other) == ["what the host said of it"]


def test_a_run_that_ends_early_differs_at_its_end(kept: Path) -> None:
    run = read_run(kept)
    cut = replace(run, chunks=run.chunks[:-2])
    difference = first_difference(run, cut)
    assert difference is not None and difference.second is None and difference.first is not None
    assert difference.first[2] == run.chunks[-2].data
    assert difference.lines()[-1] == "B has ended"


# ---- files of others


def test_a_file_that_is_absent_or_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="does not exist"):
        read_run(tmp_path / "nowhere.mcap")
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.start()
    writer.finish()
    (tmp_path / "truth.mcap").write_bytes(stream.getvalue())
    with pytest.raises(RunFileError, match="says nothing of the run"):
        read_run(tmp_path / "truth.mcap")


def test_metadata_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.start()
    writer.add_metadata(METADATA, {"seed": '"many"'})
    writer.finish()
    (tmp_path / "run.mcap").write_bytes(stream.getvalue())
    with pytest.raises(RunFileError, match="cannot be read"):
        read_run(tmp_path / "run.mcap")


def test_a_subject_or_schedule_of_the_future_is_refused(kept: Path, tmp_path: Path) -> None:
    run = read_run(kept)
    with pytest.raises(RunFileError, match="subject is not known"):
        replace(run, about=msgspec.structs.replace(run.about, subject={"subject": "submarine"})).subject(tmp_path)
    strange = [{"kind": "drop", "point": "motion.to_device", "at_full_moon": 1}]
    with pytest.raises(RunFileError, match="schedule cannot be used"):
        schedule_of(replace(run, about=msgspec.structs.replace(run.about, faults=strange)))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    kept: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = kept.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    path = tmp_path_factory.mktemp("damaged") / "run.mcap"
    path.write_bytes(damaged)
    with contextlib.suppress(RunFileError):
        read_run(path)


def test_a_byte_of_a_chunk_that_has_changed_is_found_by_the_files_own_sums(kept: Path, tmp_path: Path) -> None:
    """Its records lie open, so that it is as well formed with another byte in a message."""
    data = b"G1 X12.5 Y3 the bytes of a line"
    path = tmp_path / "open.mcap"
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start()
        for metadata in make_reader(io.BytesIO(kept.read_bytes())).iter_metadata():
            writer.add_metadata(metadata.name, dict(metadata.metadata))
        channel = writer.register_channel("/wire/motion.to_device", "application/octet-stream", 0)
        writer.add_message(channel, RUN_START_EPOCH_NS, data, RUN_START_EPOCH_NS)
        writer.finish()
    assert [chunk.data for chunk in read_run(path).chunks] == [data]
    path.write_bytes(path.read_bytes().replace(b"X12.5", b"X12.6"))
    with pytest.raises(RunFileError, match="damaged or cut short; fetch it again"):
        read_run(path)


def test_chunks_come_back_in_the_order_in_which_they_passed(kept: Path, tmp_path: Path) -> None:
    run = read_run(kept)
    chunks = [Chunk(1.0, point, bytes([n])) for n, point in enumerate("abcabc")]
    write_run(tmp_path / "run.mcap", run.about, chunks, None, None)
    assert [c.data for c in read_run(tmp_path / "run.mcap").chunks] == [bytes([n]) for n in range(6)]
    with (tmp_path / "run.mcap").open("rb") as file:
        topics = {channel.topic for _, channel, _ in make_reader(file).iter_messages()}
    assert topics == {"/wire/a", "/wire/b", "/wire/c"}


def test_bytes_are_told_as_text_where_they_are_text() -> None:
    assert told(b"ok N5\r\n") == r"ok N5\r\n"
    assert told(b"\x01\x03") == "01 03"
    assert told(b"x" * 100) == "x" * 96 + " ... 100 bytes"
    assert list(frames([Chunk(0.5, "a", b"ok"), Chunk(1.5, "b", b"\x00")], 1)) == [f"{1.5:12.6f} s  {'b':<18} 00"]


# ---- machine files of the user's own


def own_files(folder: Path, name: str = "bench") -> tuple[Path, Path]:
    """A machine file and a world file, the shipped ones under other names."""
    machine, world = folder / "my_machine.toml", folder / "my_world.toml"
    machine.write_bytes((CONTROL_MACHINES / f"{name}.toml").read_bytes())
    world.write_bytes((WORLDS / f"{name}.toml").read_bytes())
    return machine, world


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A print on a machine and in a world of the user's own, kept; all three files."""
    folder = tmp_path_factory.mktemp("owned")
    machine, world = own_files(folder)
    subject = bench_subject(folder, layers=1)
    scenario = msgspec.structs.replace(subject.scenario, machine=str(machine), world=str(world))
    run_and_keep(msgspec.structs.replace(subject, scenario=scenario), FaultSchedule(), 3, folder / "run.mcap")
    return folder / "run.mcap", machine, world


def test_a_kept_run_brings_its_machine_and_its_world_along(owned: tuple[Path, Path, Path]) -> None:
    path, machine, world = owned
    run = read_run(path)
    assert run.files == {"machine": machine.read_bytes(), "world": world.read_bytes()}
    assert changed(run.about.files) == []
    text = world.read_text(encoding="utf-8")
    try:
        world.write_text(text.replace("start_mm", "strat_mm"), encoding="utf-8")
        assert made_again(run).is_same
        (sentence,) = changed(run.about.files)
        assert sentence.startswith(f"{world} is not what it was") and "the world file that was kept" in sentence
        world.unlink()
        assert made_again(run).is_same and changed(run.about.files) == []
    finally:
        world.write_text(text, encoding="utf-8")


def test_a_run_that_is_made_from_a_kept_one_still_says_where_its_files_lay(
    owned: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    path, machine, world = owned
    run = read_run(path)
    again = tmp_path / "again.mcap"
    run_and_keep(run.subject(tmp_path), FaultSchedule(), 3, again, origins=run.about.files)
    assert read_run(again).about.files == run.about.files and read_run(again).about.whole == run.about.whole
    assert [file.path for file in run.about.files.values()] == [str(machine), str(world)]


def test_the_motion_boards_machine_file_is_kept_as_well(tmp_path: Path) -> None:
    machine, _ = own_files(tmp_path)
    run_and_keep(msgspec.structs.replace(SHORT, machine=str(machine)), DROP, 3, tmp_path / "run.mcap")
    machine.unlink()
    assert made_again(read_run(tmp_path / "run.mcap")).is_same


def test_another_machine_file_than_the_one_that_was_run_is_refused(
    owned: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    run = read_run(owned[0])
    other = {**run.files, "world": b"another"}
    write_run(tmp_path / "run.mcap", run.about, run.chunks, None, run.job, other)
    with pytest.raises(RunFileError, match="the world file in it is not the one that was run"):
        read_run(tmp_path / "run.mcap")


def test_runs_in_two_worlds_are_told_apart_by_what_stood_in_their_files(owned: tuple[Path, Path, Path]) -> None:
    run = read_run(owned[0])
    moved = {
        role: msgspec.structs.replace(file, path=f"elsewhere/{role}.toml") for role, file in run.about.files.items()
    }
    assert are_alike(run, replace(run, about=msgspec.structs.replace(run.about, files=moved)))
    edited = {**moved, "world": msgspec.structs.replace(moved["world"], sha256="0" * 64)}
    other = replace(run, about=msgspec.structs.replace(run.about, files=edited))
    assert not are_alike(run, other) and differing_facts(run, other)[0].startswith("file_hashes: ")


def test_a_run_without_its_machine_file_does_not_accuse_moonkiln(kept: Path) -> None:
    """As an earlier moonkiln kept it."""
    run = read_run(kept)
    about = msgspec.structs.replace(run.about, subject={**run.about.subject, "machine": "mine.toml"}, whole="0" * 32)
    said = how_same(about, Again(None, (), False))
    assert said.startswith("NOT the same") and "mine.toml was not kept with it" in said
