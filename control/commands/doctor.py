"""`moonkiln doctor`: what is installed, what can be reached, and what to do about each problem.

Nothing is sent to any device: a wire of a machine is opened for a moment and closed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

from control.command_line import OWN_PACKAGES, ExitCode, json_option, say_json

SCHEMA_VERSION = 1
ROOT = Path(__file__).resolve().parent.parent.parent  # the folder that holds the five packages
LANDMARKS = {  # a file of each package that no other package of that name has
    "slicer": "recipe.py",
    "firmware_bridge": "transport.py",
    "vision": "inspect_bed.py",
    "control": "print_run.py",
    "hil_sim": "virtual_time.py",
}
KERNEL_FOLDERS = ("slicer/kernels", "hil_sim/world/plant")
MODULES = {  # distribution -> the module it is imported as, where that is not its name
    "foxglove-schemas-protobuf": "foxglove_schemas_protobuf",
    "mcap-protobuf-support": "mcap_protobuf",
    "opencv-python-headless": "cv2",
    "protobuf": "google.protobuf",
    "pyserial": "serial",
}
WIRE_TIMEOUT_S = 2.0
FREE_BYTES_MIN = 500_000_000

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `note` hinders nothing; `bad` does, and `advice` says what to do."""

    area: str
    state: State
    what: str
    advice: str = ""


@click.command(
    epilog="""\b
Examples:
  moonkiln doctor
  moonkiln doctor --machine my_bench.toml
  moonkiln doctor --machine bench --json
  moonkiln doctor --machine osr

With --machine each wire is opened for a moment and closed; no byte is sent. Opening a USB port for the first time after
plugging it in resets many motion boards, so do not point it at a machine that another program is printing with.
A baud rate that is merely not the device's shows when the device is asked: moonkiln ports --probe.
Exit code 0: nothing stands in the way; 1: something marked BAD does.
"""
)
@click.option("--machine", metavar="NAME|FILE.toml", help="Try each wire of this machine file as well.")
@json_option
def doctor(machine: str | None, as_json: bool) -> int:
    """Say what is installed and reachable, and what to do about each problem."""
    found = [*installation(), *computer()]
    if machine is not None:
        found += asyncio.run(machine_checks(machine))
    bad = sum(check.state == "bad" for check in found)
    if as_json:
        say_json({"schema_version": SCHEMA_VERSION, "ok": not bad, "checks": [asdict(check) for check in found]})
    else:
        _show(found, bad)
    return int(ExitCode.REFUSED if bad else ExitCode.OK)


def _show(found: list[Check], bad: int) -> None:
    area = ""
    for check in found:
        if check.area != area:
            area = check.area
            click.echo(f"{area}")
        click.echo(f"  {'BAD' if check.state == 'bad' else check.state:<4}  {check.what}")
        if check.advice:
            click.echo(f"        -> {check.advice}")
    click.echo(
        "nothing stands in the way" if not bad else f"{bad} problem{'s' if bad > 1 else ''} to solve, marked BAD"
    )


# ---- the installation


def installation() -> list[Check]:
    """Python, the five packages, what they depend on, numba's cache."""
    version = platform.python_version()
    python = Check("installation", "ok", f"Python {version} ({sys.executable})")
    if tuple(map(int, platform.python_version_tuple()[:2])) < (3, 11):
        python = Check("installation", "bad", f"Python {version} is too old", "install Python 3.11 or newer")
    strangers = names_elsewhere()
    if strangers:
        advice = "give moonkiln an environment of its own: make clean && make setup"
        names = [Check("installation", "bad", sentence, advice) for sentence in strangers]
    else:
        names = [Check("installation", "ok", f"moonkiln {_own_version()} in {ROOT}")]
    return [python, *names, *_dependencies(), _kernel_cache()]


def names_elsewhere(find: Callable[[str], Any] = importlib.util.find_spec, root: Path = ROOT) -> list[str]:
    """One sentence for each of moonkiln's five package names that does not resolve to moonkiln's own file.

    `control` and `slicer` are names that other distributions use as well. A missing `hil_sim` is no problem: the host
    works without the simulator.
    """
    sentences = []
    for name in OWN_PACKAGES:
        ours = root / name
        try:
            spec = find(name)
        except (ImportError, ValueError) as error:
            sentences.append(f"the name {name} cannot be resolved ({error}): it should be {ours}")
            continue
        if spec is None:
            if name != "hil_sim":
                sentences.append(f"the package {name} is missing: it should be {ours}")
            continue
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        origin = Path(places[0]) if places else Path("nowhere")
        folder = origin.parent if origin.suffix else origin
        if folder.resolve() != ours.resolve():
            sentences.append(f"the name {name} resolves to {origin}, which is not moonkiln's: it should be {ours}")
        elif not (ours / LANDMARKS[name]).is_file():
            sentences.append(
                f"the name {name} resolves to {origin}, where moonkiln's {LANDMARKS[name]} is missing:"
                " another distribution has written over it"
            )
    return sentences


def _own_version() -> str:
    try:
        return importlib.metadata.version("moonkiln")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed, run from its folder)"


def _dependencies() -> list[Check]:
    try:
        requirements = importlib.metadata.requires("moonkiln") or []
    except importlib.metadata.PackageNotFoundError:
        return [Check("installation", "note", "moonkiln is not installed as a package", "run `make setup`")]
    return [_dependency(requirement) for requirement in requirements if "extra ==" not in requirement]


def _dependency(requirement: str) -> Check:
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    name = found.group() if found else requirement
    bounds = requirement.partition(";")[0][len(name) :]
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check("installation", "bad", f"{name} is not installed", "run `make setup`")
    if not fits(version, bounds):
        return Check("installation", "bad", f"{name} {version} does not fit {bounds.strip()}", "run `make setup`")
    module = MODULES.get(name, name.replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken installation does on import is what the user must hear of
        what = f"{name} {version} cannot be imported ({type(error).__name__}: {error})"
        return Check("installation", "bad", what, f"reinstall it: python -m pip install --force-reinstall {name}")
    return Check("installation", "ok", f"{name} {version}")


def fits(version: str, bounds: str) -> bool:
    """Whether a version keeps bounds such as ">=5.0,<6": numbers only, which is all that moonkiln asks for."""

    def numbers(text: str) -> tuple[int, ...]:
        found = re.match(r"\d+(\.\d+)*", text.strip())
        parts = [int(part) for part in found.group().split(".")] if found else []
        while parts and parts[-1] == 0:
            parts.pop()
        return tuple(parts)

    for bound in filter(None, (word.strip() for word in bounds.strip().strip("()").split(","))):
        operator, limit = re.match(r"([<>=!~]*)(.*)", bound).groups()  # type: ignore[union-attr]
        have, want = numbers(version), numbers(limit)
        kept = {">=": have >= want, "<=": have <= want, "<": have < want, ">": have > want, "==": have == want,
                "!=": have != want}.get(operator, True)  # fmt: skip
        if not kept:
            return False
    return True


def _kernel_cache(root: Path = ROOT) -> Check:
    """Where numba keeps compiled kernels: beside the sources, or where NUMBA_CACHE_DIR says."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(chosen)] if chosen else [root / folder for folder in KERNEL_FOLDERS if (root / folder).is_dir()]
    filled = sum(1 for folder in folders if folder.is_dir() for _ in folder.rglob("*.nbi"))
    locked = [folder for folder in folders if not os.access(_nearest_folder(folder / "__pycache__"), os.W_OK)]
    if locked:
        what = f"numba cannot keep its compiled kernels in {locked[0]}: every command compiles them anew"
        return Check("installation", "note", what, "make it writable, or set NUMBA_CACHE_DIR to a folder that is")
    if not filled:
        what = "numba's cache is empty: the first slice and print take a minute longer"
        return Check("installation", "note", what, "run `moonkiln demo --quick` once")
    return Check("installation", "ok", f"numba's cache holds {filled} kernels")


def _nearest_folder(path: Path) -> Path:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


# ---- the computer


def computer() -> list[Check]:
    """The platform, ptys, serial ports, disk, and the data that some tests want."""
    return [_platform(), _pty(), *_serial_ports(), _disk(), _shared_data()]


def _platform() -> Check:
    what = f"{platform.system()} {platform.release()}, {os.cpu_count() or '?'} processors"
    if sys.platform == "win32":
        advice = "slice, preview, report and virtual prints work; for wires use Linux (WSL with a USB bridge will do)"
        return Check("computer", "note", f"{what}: Windows has no termios, so no serial wires and no ptys", advice)
    return Check("computer", "ok", what)


def _pty() -> Check:
    if not hasattr(os, "openpty"):
        return Check("computer", "note", "no pseudo terminals: `moonkiln sim serve` cannot lay serial wires here")
    try:
        handles = os.openpty()
    except OSError as error:
        advice = "mount /dev/pts (in a container: run it with a devpts), or raise kernel.pty.max"
        return Check("computer", "note", f"no pseudo terminal can be opened ({error.strerror})", advice)
    for handle in handles:
        os.close(handle)
    return Check("computer", "ok", "pseudo terminals work (`moonkiln sim serve` needs them)")


def _serial_ports() -> list[Check]:
    try:
        from serial.tools.list_ports import comports
    except ImportError:
        return []  # said among the dependencies
    by_id = {}
    with contextlib.suppress(OSError):
        by_id = {str(link.resolve()): str(link) for link in sorted(Path("/dev/serial/by-id").iterdir())}
    checks = []
    for port in sorted(comports(), key=lambda port: str(port.device)):
        device = str(port.device)
        if "/ttyS" in device and port.hwid in (None, "n/a"):
            continue  # built-in ports that lead nowhere
        name = by_id.get(device, device)
        about = f"{name}{f' ({device})' if name != device else ''}{f': {port.description}' if port.description else ''}"
        if sys.platform == "win32" or os.access(device, os.R_OK | os.W_OK):
            checks.append(Check("computer", "ok", f"serial port {about}"))
        else:
            checks.append(Check("computer", "bad", f"serial port {about}: this user may not open it", _group(device)))
    return checks or [Check("computer", "ok", "no serial port is plugged in")]


def _group(device: str) -> str:
    """How to be let in: the group that owns the port (often dialout)."""
    try:
        group = Path(device).group()
    except (OSError, KeyError, NotImplementedError):
        group = "dialout"
    return f"sudo usermod -aG {group} $USER, then log out and in again"


def _disk() -> Check:
    try:
        free = shutil.disk_usage(Path.cwd()).free
    except OSError as error:
        return Check(
            "computer", "bad", f"the current folder cannot be looked at ({error.strerror})", "change to another"
        )
    what = f"{free / 1e9:.1f} GB free in {Path.cwd()}"
    if free < FREE_BYTES_MIN:
        return Check("computer", "bad", what, "free some space, or choose a folder elsewhere with --runs")
    return Check("computer", "ok", what)


def _shared_data() -> Check:
    folder = Path(os.environ.get("MOONKILN_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return Check("computer", "ok", f"data for tests and benchmarks in {folder}")
    return Check("computer", "note", f"no data in {folder}: tests on real meshes are left out", "set MOONKILN_DATA")


# ---- a machine


async def machine_checks(machine: str) -> list[Check]:
    """The file of a printer or a rover, its poll plan, and each of its wires, opened for a moment, all at once."""
    from control.config_checks import bus_loads
    from control.errors import MoonkilnError
    from control.rover import wire_times
    from control.rover.config import RoverConfig, load_any
    from control.stop_bounds import stop_bounds

    area = f"machine {machine}"
    try:
        config = load_any(machine)
    except MoonkilnError as error:
        return [Check(area, "bad", str(error), "correct the machine file")]
    if isinstance(config, RoverConfig):
        loads, bounds, asker = wire_times.wire_loads(config), wire_times.stop_bounds(config), "rover drive"
    else:
        loads, bounds, asker = bus_loads(config), stop_bounds(config), "print"
    checks = [Check(area, "ok", f"the machine file can be used ({len(config.urls)} wires)")]
    checks += [_load(area, wire, config.urls[wire], load, words) for wire, (load, words) in loads.items()]
    for name, bound in bounds.items():
        what = f"a software stop is on the wire of {name} within {1e3 * bound.seconds:.0f} ms ({bound.words})"
        checks.append(Check(area, "ok", what))
    users = {wire: ", ".join(_devices_on(config, wire)) for wire in config.urls}
    tried = await asyncio.gather(*(_wire(area, name, url, users[name], asker) for name, url in config.urls.items()))
    return [*checks, *tried]


def _load(area: str, wire: str, url: str, load: float, words: list[str]) -> Check:
    """Printers' files are refused long before a wire is full; what a rover's wires are to carry is judged here."""
    from control.machine_file import baud_of

    what = f"polling takes {load:.0%} of {wire}: {'; '.join(words)}"
    if load <= 1.0:
        return Check(area, "ok", what)
    advice = (
        "give the device's own baud rate in [urls] (`moonkiln ports --probe` finds it), raise it on both ends, or poll"
        " less often"
    )
    return Check(area, "bad", f"{what}, more than {baud_of(url)} baud carry", advice)


def _devices_on(config: Any, wire: str) -> list[str]:
    return [name for name, device in config.every_device().items() if device.wire == wire]


async def _wire(area: str, name: str, url: str, users: str, asker: str) -> Check:
    from firmware_bridge.errors import BridgeError
    from firmware_bridge.transport import open_transport

    what = f"wire {name} ({users or 'no device'}) at {url}"
    if url.startswith("sim:"):
        return Check(area, "note", f"{what}: it exists only inside a simulated run")
    try:
        transport = await open_transport(url, _Deaf(), timeout_s=WIRE_TIMEOUT_S)
    except BridgeError as error:
        reason = str(error).removeprefix(url).lstrip(": ")
        sentence, _, advice = reason.partition(". ")
        return Check(area, "bad", f"{what}: {sentence.rstrip('.')}", advice or "check the cable and the machine file")
    except ImportError as error:
        return Check(area, "bad", f"{what}: {error}", "serial wires need Linux or macOS")
    transport.close()
    return Check(area, "ok", f"{what} opens (which device answers there, `{asker}` asks before it moves anything)")


class _Deaf:
    """Who opens a wire only to see that it opens."""

    def data_received(self, data: bytes) -> None:
        """Whatever a device says is not listened to."""

    def connection_lost(self, error: Exception | None) -> None:
        """The wire is closed at once anyway."""
