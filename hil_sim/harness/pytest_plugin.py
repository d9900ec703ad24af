"""The pytest plugin `moonkiln_hil`: emulated machines as fixtures, seeds as parameters, one line to repeat a failure.

    @pytest.mark.hil(machine="bench", seeds=20)
    def test_a_reset_in_mid_job_is_noticed(hil, host, motion, truth):
        host.print("plate.kiln")
        hil.run(until=lambda: truth.layers_laid == 2)
        motion.reset()
        hil.run()
        assert hil.verdict == "detected"

`docs/hil-in-your-ci.md` tells the whole. This file is loaded by every pytest run of an environment that holds moonkiln,
so it imports nothing beyond pytest until a test asks for a fixture.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil_sim.harness.pytest_mark import SEEDS_MAX, marked, marked_seeds

if TYPE_CHECKING:
    from hil_sim.harness.fault_builder import FaultBuilder
    from hil_sim.harness.hil_case import HilCase, HostView
    from hil_sim.harness.live_devices import Beam, Camera, Device, Drive, Heater, Meter, Motion
    from hil_sim.harness.live_drive import DriveTruthView, RoverView
    from hil_sim.harness.live_views import Clock, Trace, TruthView

MODES = ("virtual", "paced", "wire")
CASE = pytest.StashKey["HilCase"]()
REPLAY = pytest.StashKey["dict[str, Any]"]()
TWICE = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The `--hil-...` options and the `hil_...` settings."""
    group = parser.getgroup("moonkiln hil", "emulated machines")
    group.addoption("--hil-mode", choices=MODES, help="Simulated time (default), paced, or real ptys and TCP.")
    group.addoption("--hil-seed", type=int, metavar="N", help="Run this seed alone.")
    group.addoption(
        "--hil-seeds", metavar="N|A:B", help="Run N seeds, or those from A to B - 1, instead of the marks'."
    )
    group.addoption(
        "--hil-twice-every",
        type=int,
        metavar="N",
        help="Make one run in N a second time: it must give the same digest. 0: none.  [default: 100, from 20 runs on]",
    )
    group.addoption("--hil-replay", metavar="FILE", help="Repeat one run from its hil-run.json.")
    group.addoption("--hil-pace", type=float, metavar="X", help="Times real time in paced mode, which it implies.")
    parser.addini("hil_machine", "The host's machine file where a mark names none.", default="bench")
    parser.addini("hil_world", "The emulated machine's file where a mark names none.", default="")
    parser.addini("hil_host", "The host where a mark names none: 'package.module:name' or a command line.", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark is; read a replay's file and check options before anything is collected."""
    config.addinivalue_line(
        "markers",
        "hil(machine=, world=, scenario=, job=, host=, seeds=, limit=, cell_xy_mm=, allow=, allow_idle=): a test of "
        "a host on an emulated machine, once for each seed; allow: verdicts of SILENT, HANG, UNSAFE that it may end "
        "with, or 'none' for a run that is never begun or left before its end, or a host that does nothing; "
        "allow_idle: its faults need not strike",
    )
    option = config.option
    from hil_sim.harness.time_span import PACE_MAX

    if option.hil_pace is not None and (not 0 < option.hil_pace <= PACE_MAX or option.hil_mode not in (None, "paced")):
        raise pytest.UsageError("--hil-pace takes a number over 0, at most 1e6, and goes with --hil-mode paced alone")
    chosen = [name for name in ("hil_seed", "hil_seeds", "hil_replay") if getattr(option, name) is not None]
    if len(chosen) > 1:
        raise pytest.UsageError(f"--{' and --'.join(chosen).replace('_', '-')} do not go together: give one of them")
    if option.hil_twice_every is not None and option.hil_twice_every < 0:
        raise pytest.UsageError(f"--hil-twice-every {option.hil_twice_every}: give 1 or more, or 0 for none")
    if option.hil_seed is not None and option.hil_seed < 0:
        raise pytest.UsageError(f"--hil-seed {option.hil_seed}: a seed is 0 or more")
    if option.hil_seeds is not None:
        _span(option.hil_seeds)
    if option.hil_replay is not None:
        config.stash[REPLAY] = _replay_file(Path(option.hil_replay))


# ---- seeds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses a run is run once for each seed."""
    if "hil_seed" not in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("hil"):
            raise pytest.UsageError(
                f"{metafunc.definition.nodeid} is marked hil and asks for no fixture of it (hil, host, motion, ...): "
                "nothing would be run"
            )
        return
    seeds = _seeds(metafunc.config, marked(metafunc.definition))
    metafunc.parametrize("hil_seed", seeds, ids=[f"seed{seed}" for seed in seeds], scope="function")


def _seeds(config: pytest.Config, mark: dict[str, Any]) -> list[int]:
    option = config.option
    if REPLAY in config.stash:
        return [int(config.stash[REPLAY]["seed"])]
    if option.hil_seed is not None:
        return [option.hil_seed]
    return marked_seeds(mark) if option.hil_seeds is None else _span(option.hil_seeds)


def _span(text: str) -> list[int]:
    first, colon, last = text.partition(":")
    try:
        low, high = (int(first), int(last)) if colon else (0, int(first))
    except ValueError:
        low, high = 0, 0
    if low < 0 or not 0 < high - low <= SEEDS_MAX:
        raise pytest.UsageError(
            f"--hil-seeds {text}: give a number of seeds, or the first (0 or more) and the one behind the last, A:B"
        )
    return list(range(low, high))


# ---- replay


def _replay_file(path: Path) -> dict[str, Any]:
    if path.suffix == ".mcap":
        raise pytest.UsageError(
            f"{path} is a campaign's or a run's record: `moonkiln hil replay` takes it; give hil-run.json"
        )
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise pytest.UsageError(f"--hil-replay {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise pytest.UsageError(f"--hil-replay {path} is no JSON: give the hil-run.json of a run's folder") from None
    kinds = {"test": str, "seed": int, "mode": str, "faults": list, "wire_digest": str}
    if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in kinds.items()):
        raise pytest.UsageError(f"--hil-replay {path} is no hil-run.json: it lacks one of {', '.join(kinds)}")
    if row["seed"] < 0:
        raise pytest.UsageError(f"--hil-replay {path}: its seed is {row['seed']}; a seed is 0 or more")
    if not isinstance(row.get("files", {}), dict):
        raise pytest.UsageError(f"--hil-replay {path} is no hil-run.json: its files are no table")
    from hil_sim.world.faults import schedule_of

    try:
        schedule_of(row["faults"])
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"--hil-replay {path}: {error}") from None
    return row


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A replay runs its own test and no other; else some of the runs are made twice."""
    if REPLAY not in config.stash:
        from hil_sim.harness.pytest_twice import to_run_twice

        runs = [item for item in items if "hil_seed" in getattr(item, "fixturenames", ())]
        for item in to_run_twice(runs, config.option.hil_twice_every):
            item.stash[TWICE] = True
        return
    wanted = config.stash[REPLAY]["test"]
    from hil_sim.harness.pytest_outcome import name_of

    chosen = [item for item in items if name_of(item) == wanted]
    if not chosen and not hasattr(config, "workerinput"):
        raise pytest.UsageError(f"--hil-replay: no test {wanted} is collected here; run it where it was recorded")
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Some runs are made twice."""
    if not item.stash.get(TWICE, False):
        return None
    from hil_sim.harness.pytest_twice import run_twice

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in run_twice(item, nextitem, _repeatable_digest):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _repeatable_digest(item: pytest.Item) -> str:
    case = item.stash.get(CASE, None)
    return "" if case is None or case.mode == "wire" else case.whole_digest


# ---- what a run is made of


def _new_case(request: pytest.FixtureRequest, seed: int, run_dir: Path) -> HilCase:
    from hil_sim.harness.hil_case import CaseSettings
    from hil_sim.harness.rover_case import drives, make_case
    from hil_sim.world.build_rover import is_rover
    from hil_sim.world.faults import Fault

    config, node = request.config, request.node
    mark = marked(node)
    replayed = config.stash.get(REPLAY, None)
    pace = config.option.hil_pace
    mode: Any = config.option.hil_mode or ("paced" if pace is not None else None)
    if replayed is not None and mode is None:
        mode = replayed["mode"]
    host = mark.get("host", config.getini("hil_host") or None)
    scenario = mark.get("scenario")
    settings = CaseSettings(
        run_dir=run_dir,
        machine=mark.get("machine", None if scenario else config.getini("hil_machine")),
        world=mark.get("world", None if scenario or "machine" in mark else config.getini("hil_world") or None),
        scenario=scenario,
        job=mark.get("job"),
        host=host,
        seed=seed,
        mode=mode,
        pace=pace or 10.0,
        limit=mark.get("limit"),
        cell_xy_mm=mark.get("cell_xy_mm"),
        folders=(node.path.parent, config.rootpath),
        faults=None if replayed is None else tuple(Fault.from_dict(row) for row in replayed["faults"]),
    )
    if "host" not in mark and drives(settings) and not is_rover(settings.find(config.getini("hil_machine"))):
        settings = replace(settings, host=None)  # the project's host prints
    return make_case(settings)


# ---- fixtures


@pytest.fixture
def hil_seed() -> int:
    """The run's seed: a parameter of every test that uses a run."""
    raise AssertionError("pytest_generate_tests parametrizes this")


@pytest.fixture
def hil(request: pytest.FixtureRequest, hil_seed: int, tmp_path: Path) -> Iterator[HilCase]:
    """The run: `hil.run(...)`, `hil.verdict`, `hil.result`, `hil.rng`."""
    case = _new_case(request, hil_seed, tmp_path / "run")
    if case.is_command and case.mode != "wire":
        pytest.skip(f"the host is a command, which lives in real time: it takes no part in {case.mode} mode")
    if case.mode == "wire" and case.is_rover:
        pytest.skip("a rover's test runs in virtual or paced time")
    request.node.stash[CASE] = case
    yield case
    case.close()


@pytest.fixture
def host(hil: HilCase) -> HostView:
    """The host: `host.print(JOB)`, `host.pause()`, `host.outcome`."""
    return hil.host


@pytest.fixture
def faults(hil: HilCase) -> FaultBuilder:
    """What goes wrong: `faults.at(layer=3).disconnect("motion.to_device")`, before the run begins."""
    return hil.faults


@pytest.fixture
def clock(hil: HilCase) -> Clock:
    """The run's time: `clock.now_s`, `clock.advance("30 s")`."""
    return hil.clock


@pytest.fixture
def truth(hil: HilCase) -> TruthView | DriveTruthView:
    """What truly happened: `truth.layers_repeated`, `truth.energy_j`; of a rover `truth.driven_m`."""
    found: TruthView | DriveTruthView = hil.truth
    return found


@pytest.fixture
def trace(hil: HilCase) -> Trace:
    """What passed on the wires: `trace.lines("motion.to_device")`."""
    return hil.trace


@pytest.fixture
def rover(hil: HilCase) -> RoverView:
    """The rover: `rover.place_m`, `rover.hold_wheel("fl")`, `rover.cut("wheels")`."""
    found: RoverView = hil.rover
    return found


@pytest.fixture
def wheels(hil: HilCase) -> Device:
    """A rover's motor boards."""
    return hil.device("wheels")


@pytest.fixture
def imu(hil: HilCase) -> Device:
    """A rover's inertial unit."""
    return hil.device("imu")


@pytest.fixture
def tracker(hil: HilCase) -> Device:
    """A rover's total station."""
    return hil.device("tracker")


@pytest.fixture
def motion(hil: HilCase) -> Device | Motion:
    """The motion board and its gantry."""
    return hil.device("motion")


@pytest.fixture
def beam(hil: HilCase) -> Device | Beam:
    """The beam head."""
    return hil.device("beam")


@pytest.fixture
def heater(hil: HilCase) -> Device | Heater:
    """The bed's heater."""
    return hil.device("heater")


@pytest.fixture
def meter(hil: HilCase) -> Device | Meter:
    """The energy meter."""
    return hil.device("meter")


@pytest.fixture
def recoater(hil: HilCase) -> Device | Drive:
    """The recoater's drive and blade."""
    return hil.device("recoater")


@pytest.fixture
def piston(hil: HilCase) -> Device | Drive:
    """The build piston's drive and axis."""
    return hil.device("piston")


@pytest.fixture
def camera(hil: HilCase) -> Device | Camera:
    """The top camera."""
    return hil.device("camera")


# ---- what came of it


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test whose run ended badly, or never was, does not pass because it forgot to look."""
    try:
        done = yield
    except pytest.skip.Exception:
        _judge(pyfuncitem, is_skipped=True)
        raise
    _judge(pyfuncitem, is_skipped=False)
    return done


def _judge(item: pytest.Function, *, is_skipped: bool) -> None:
    """Fail a test for what it has overlooked; one that skips itself only for what its run has shown before."""
    case = item.stash.get(CASE, None)
    if case is None:
        return
    from hil_sim.harness.pytest_outcome import other_files, why_it_ended_badly, why_it_fails

    replayed = item.config.stash.get(REPLAY, None)
    if replayed is not None and (other := other_files(case, replayed)) is not None:
        item.warn(pytest.PytestWarning(other))  # one that passes now may have been mended by that alone
    mark = marked(item)
    sentence = why_it_ended_badly(case, mark) if is_skipped else why_it_fails(case, mark, item.fixturenames)
    if sentence is not None:
        pytest.fail(sentence, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing run shows how to repeat it; every run leaves its record, and its properties in the JUnit file."""
    report = yield
    case = item.stash.get(CASE, None)
    if case is None or report.when == "setup":
        return report
    from hil_sim.harness.pytest_outcome import name_of, properties, replay_command, story

    replayed = item.config.stash.get(REPLAY, None)
    again = replay_command(item, case, is_replay=replayed is not None)
    if report.when == "call":
        case.write_record(name_of(item))
        item.user_properties += properties(case, name_of(item), again)  # written with the report of the teardown
    if report.failed:
        report.sections.append(("hil replay", again))
        report.sections.append(("hil run", story(case, name_of(item), replayed)))
    return report
