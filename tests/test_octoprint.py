"""Does OctoPrint, a host that nobody here wrote, connect, print and recover on the emulated board over a real pty?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from board_helpers import check_truth, program, served_board
from octoprint_server import OctoPrint, served_octoprint, wait
from peer_tools import needs_octoprint

from hil_sim.world.faults.schedule import Fault

pytestmark = [needs_octoprint, pytest.mark.real_time, pytest.mark.soak, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def octoprint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OctoPrint]:
    folder = tmp_path_factory.mktemp("octoprint")
    with served_octoprint(folder / "base", f"{tmp_path_factory.getbasetemp()}/*/motion") as server:
        yield server


def print_program(
    octoprint: OctoPrint, folder: Path, lines: int, seconds: float, *options: str, faults: tuple[Fault, ...] = ()
) -> dict:
    """Connect, upload, print to the end, disconnect; the truth, which must be the whole program, once."""
    commands, points = program(lines)
    with served_board(folder, *options, faults=faults) as board:
        octoprint.connect(board.port)
        octoprint.upload_and_print("part.gcode", "\n".join(commands) + "\n")
        octoprint.wait_printed(seconds)
        octoprint.disconnect()
        truth = board.end()
    check_truth(truth, points)
    return truth


def test_it_connects_uploads_and_prints_to_the_end(octoprint: OctoPrint, tmp_path: Path) -> None:
    truth = print_program(octoprint, tmp_path, 1500, 120)
    assert truth["resends"] == 0
    numbers = [row[0] for row in truth["executed"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_it_prints_with_advanced_ok(octoprint: OctoPrint, tmp_path: Path) -> None:
    assert print_program(octoprint, tmp_path, 300, 60, "--advanced-ok")["resends"] == 0


def test_it_resends_every_line_that_noise_has_damaged(octoprint: OctoPrint, tmp_path: Path) -> None:
    """One bit of one line in sixteen flips on the way to the board, anywhere in the line."""
    flips = tuple(
        Fault("flip", "motion.to_device", at_chunk=60 + 16 * i, args={"byte": 5 * i, "bit": i % 7}) for i in range(25)
    )
    truth = print_program(octoprint, tmp_path, 500, 120, faults=flips)
    assert truth["strikes"] == [["motion.to_device", "flip"]] * 25
    assert truth["resends"] >= 25


FAULTS = {
    "a line is lost": Fault("drop", "motion.to_device", at_chunk=120),
    "a line comes twice": Fault("duplicate", "motion.to_device", at_chunk=120),
    "two lines run into each other": Fault("merge", "motion.to_device", at_chunk=120),
    "an ok is lost": Fault("drop", "motion.to_host", at_chunk=150),
    "an ok comes twice": Fault("duplicate", "motion.to_host", at_chunk=150),
    "an ok is damaged": Fault("flip", "motion.to_host", at_chunk=150, args={"byte": 1, "bit": 2}),
    "a byte that is no UTF-8": Fault("insert", "motion.to_host", at_chunk=150, args={"hex": "ff80"}),
    "an ok is late": Fault("delay", "motion.to_host", at_chunk=150, args={"delay_s": 2.0}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_it_survives_one_fault(octoprint: OctoPrint, tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    truth = print_program(octoprint, tmp_path, 300, 90, faults=(fault,))
    assert truth["strikes"] == [[fault.point, fault.kind]]


def random_faults(seed: int, lines: int) -> tuple[Fault, ...]:
    """About one in thirty chunks of either direction is struck, once `lines` are on their way."""
    draw = Random(seed)
    faults = []
    for n in range(60, lines, 30):
        point = draw.choice(("motion.to_device", "motion.to_host"))
        kind = draw.choice(("flip", "flip", "drop", "duplicate", "merge", "delay"))
        args = {"flip": {"byte": draw.randrange(40), "bit": draw.randrange(8)}, "delay": {"delay_s": 0.3}}.get(kind, {})
        faults.append(Fault(kind, point, at_chunk=n + draw.randrange(20), args=args))
    return tuple(faults)


@pytest.mark.parametrize("seed", range(3))
def test_it_prints_through_random_faults_of_both_directions(octoprint: OctoPrint, tmp_path: Path, seed: int) -> None:
    faults = random_faults(seed, 900)
    truth = print_program(octoprint, tmp_path, 1000, 240, faults=faults)
    assert len(truth["strikes"]) == len(faults) == 28


def test_a_pause_and_a_resume_lose_nothing(octoprint: OctoPrint, tmp_path: Path) -> None:
    commands, points = program(600)
    with served_board(tmp_path) as board:
        octoprint.connect(board.port)
        octoprint.upload_and_print("pause.gcode", "\n".join(commands) + "\n")
        wait(lambda: octoprint.printed() > 20.0, 30, lambda: "the print does not begin")
        octoprint.ask("job", {"command": "pause", "action": "pause"})
        wait(lambda: octoprint.state == "Paused", 30, lambda: f"no pause, but {octoprint.state!r}")
        assert octoprint.printed() < 95.0
        octoprint.ask("job", {"command": "pause", "action": "resume"})
        octoprint.wait_printed(60)
        octoprint.disconnect()
        check_truth(board.end(), points)


def test_a_cancelled_print_has_stopped_at_a_prefix(octoprint: OctoPrint, tmp_path: Path) -> None:
    commands, points = program(600)
    with served_board(tmp_path) as board:
        octoprint.connect(board.port)
        octoprint.upload_and_print("cancel.gcode", "\n".join(commands) + "\n")
        wait(lambda: octoprint.printed() > 20.0, 30, lambda: "the print does not begin")
        octoprint.ask("job", {"command": "cancel"})
        wait(lambda: octoprint.state == "Operational", 30, lambda: f"no end, but {octoprint.state!r}")
        octoprint.disconnect()
        executed = board.end()["executed"]
    assert 0 < len(executed) < len(points)
    assert [row[3:5] for row in executed] == [pytest.approx(end, abs=1e-9) for end in points[: len(executed)]]


def has_ended(octoprint: OctoPrint) -> bool:
    """Whether it has given the connection up by itself."""
    return octoprint.state.startswith(("Closed", "Offline", "Error"))


def test_its_emergency_stop_kills_the_board(octoprint: OctoPrint, tmp_path: Path) -> None:
    commands, points = program(600)
    with served_board(tmp_path) as board:
        octoprint.connect(board.port)
        octoprint.upload_and_print("stop.gcode", "\n".join(commands) + "\n")
        wait(lambda: octoprint.printed() > 20.0, 30, lambda: "the print does not begin")
        octoprint.ask("printer/command", {"command": "M112"})
        wait(lambda: has_ended(octoprint), 30, lambda: f"{octoprint.state!r}")
        truth = board.end()
    assert truth["killed"]
    assert 0 < len(truth["executed"]) < len(points)


def test_it_gives_a_print_up_when_the_cable_is_pulled(octoprint: OctoPrint, tmp_path: Path) -> None:
    """The cable is put back after a second; the board that boots again prints nothing of the rest."""
    commands, points = program(600)
    unplug = Fault("disconnect", "motion.to_device", at_chunk=200, args={"back_after_s": 1.0})
    with served_board(tmp_path, faults=(unplug,)) as board:
        octoprint.connect(board.port)
        octoprint.upload_and_print("unplug.gcode", "\n".join(commands) + "\n")
        wait(lambda: has_ended(octoprint), 60, lambda: f"{octoprint.state!r}")
        octoprint.disconnect()
        wait(lambda: Path(board.port).exists(), 10, lambda: "the cable is not back")
        octoprint.connect(board.port)  # the board boots again and answers
        octoprint.disconnect()
        truth = board.end()
    assert truth["resets"] == 2
    assert 0 < len(truth["executed"]) < len(points)
