"""A machine whose devices are stand-ins: they note what was asked of them, and fail as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from control.config import MachineConfig, load_machine
from control.interlock import BEAM_FIRING, BEAM_INTERLOCK_OK
from control.lab import LabDevices
from control.machine import Devices, Machine
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

CONFIG = load_machine("bench")
LAB_CONFIG = load_machine("bench_lab")
POLLED = {
    "beam": {"status": float(BEAM_INTERLOCK_OK), "emission_w": 0.0},
    "heater": {"bed_temp_c": 20.0, "status": 0.0},
    "meter": {"voltage_v": 230.0},
    "recoater": {"motion_status": 2.0, "position_mm": 0.0},
    "piston": {"motion_status": 2.0, "position_mm": 0.0},
}
LAB_POLLED = {
    "conveyor": {"fault_code": 0.0, "run_state": 0.0},
    "supply": {"output": 0.0, "protection": 0.0, "constant_current": 0.0, "output_a": 0.0},
    "pyranometer": {"irradiance_w_m2": 900.0},
}


class Device:
    """Answers every call after 10 ms and notes it; `breaks[name]` is raised instead, or waited for without end."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls
        self.breaks: dict[str, Exception | None] = {}
        self.returns: dict[str, Any] = {}
        self.shows: dict[str, dict[str, float]] = {}  # what it shows once it was asked
        self.values = dict((POLLED | LAB_POLLED).get(name, {}))
        self.quality = Quality.GOOD

    def silent_s(self) -> float:
        return 0.0

    async def poll(self) -> dict[str, Reading]:
        await self._answer("poll", note=False)
        now_s = asyncio.get_running_loop().time()
        return {n: Reading(n, v, "", now_s, self.quality, LimitState.NORMAL) for n, v in self.values.items()}

    async def is_firing(self) -> bool:
        await self._answer("is_firing", note=False)
        return bool(int(self.values["status"]) & BEAM_FIRING)

    async def gives(self) -> tuple[float, float]:
        await self._answer("gives", note=False)
        return self.values["emission_w"], self.values.get("energy_j", 0.0)

    async def _answer(self, what: str, note: bool = True) -> None:
        if note:
            self.calls.append(f"{self.name}.{what}")
        if what in self.breaks:
            error = self.breaks[what]
            if error is None:
                await asyncio.sleep(1e9)
            else:
                raise error
        await asyncio.sleep(0.01)

    def __getattr__(self, what: str) -> Callable[..., Awaitable[Any]]:
        async def answer(*_args: Any, **_more: Any) -> Any:
            await self._answer(what)
            self.values |= self.shows.get(what, {})
            return self.returns.get(what)

        return answer


class Listener:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        pass

    def event(self, level: str, text: str) -> None:
        self.events.append((level, text))

    def said(self, words: str) -> bool:
        return any(words in text for _, text in self.events)


class Bench:
    def __init__(self, config: MachineConfig = CONFIG, lab: tuple[str, ...] = ()) -> None:
        self.calls: list[str] = []
        names = ("motion", "beam", "heater", "meter", "recoater", "piston", "camera")
        self.devices = {name: Device(name, self.calls) for name in names + lab}
        self.listener = Listener()
        devices: dict[str, Any] = {name: self.devices[name] for name in names}
        devices["lab"] = LabDevices(**{name: self.devices[name] for name in lab})  # type: ignore[arg-type]
        self.machine = Machine(config, Devices(**devices), self.listener)

    def safe_calls(self) -> list[str]:
        return [call for call in self.calls if call.endswith((".safe", ".quick_stop"))]


def on_a_machine(act: Callable[[Bench], Awaitable[None]], *, up: bool = True) -> Bench:
    """`act` on a machine that was brought up, which is shut down afterwards."""

    async def main(_loop: VirtualLoop) -> Bench:
        bench = Bench()
        try:
            if up:
                await bench.machine.bring_up()
                bench.calls.clear()
            await act(bench)
        finally:
            await bench.machine.shut_down()
        return bench

    return run_virtual(main)
