"""Faults as a test writes them down: `faults.at(layer=12).disconnect("motion.to_device", back_after_s=2.0)`.

An anchor, then a kind of the catalogue as a method: its place, `for_s` where it lasts, `count` where it strikes events,
and the kind's own arguments. What nothing would carry out is refused on the test's own line.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from hil_sim.harness.time_span import seconds_of
from hil_sim.world.faults import KINDS, Fault, FaultSchedule, check_faults
from hil_sim.world.faults.schedule import COUNTED


class FaultError(ValueError):
    """A fault that could never strike; a sentence."""


class FaultBuilder:
    """The faults of one run. `laid`: those that will strike, in the order in which they were written down."""

    def __init__(self, given: Iterable[Fault] = (), points: Iterable[str] | None = None) -> None:
        """`given` stand already; `points`: the places that the run's world has (None: any)."""
        self.laid: list[Fault] = list(given)
        self._points = None if points is None else list(points)
        self._closed: str | None = None
        self._open: list[Anchor] = []  # of which no kind was called yet

    def at(
        self,
        time: float | str | None = None,
        *,
        layer: int | None = None,
        light: int | None = None,
        after: float | str = 0.0,
        chunk: int | None = None,
        line: int | None = None,
        request: int | None = None,
        event: int | None = None,
    ) -> Anchor:
        """When: at a time of the run (30.0, "30 min"), in a layer (from 0; `after` its powder is first spread), in the
        light of a layer (`after` its first exposed block begins: the same block in any mode), or at the n-th chunk on a
        wire, line to a board, request to a device, or event of a place (a recoater's stroke)."""
        anchor: dict[str, Any] = {
            "at_s": None if time is None else seconds_of(time),
            "at_layer": layer,
            "at_light": light,
            "at_chunk": chunk,
            "at_line": line,
            "at_request": request,
            "at_event": event,
        }
        self._refuse_if_closed()
        chosen = {name: value for name, value in anchor.items() if value is not None}
        if len(chosen) != 1:
            raise FaultError(
                f"a fault has one anchor of a time, layer, light, chunk, line, request or event, not {len(chosen)}"
            )
        after_s = seconds_of(after)
        if after_s and layer is None and light is None:
            raise FaultError("`after` belongs to a layer or its light: at(layer=3, after=2.0)")
        opened = Anchor(self, {**chosen, **({"after_s": after_s} if after_s else {})})
        self._open.append(opened)
        return opened

    def add(self, fault: Fault) -> Fault:
        """Lay a fault. Raises FaultError where nothing would carry it out, or when the run has begun."""
        self._refuse_if_closed()
        is_host = fault.point.partition(".")[0] == "host"  # whose places the world does not know; the runner does
        if sentences := check_faults(FaultSchedule((fault,)), None if is_host else self._points):
            raise FaultError(" ".join(sentences))
        self.laid.append(fault)
        return fault

    def called(self, anchor: Anchor) -> None:
        """A kind of this anchor was called: whatever comes of it is told there."""
        if anchor in self._open:
            self._open.remove(anchor)

    def close(self, why: str) -> None:
        """From now on `at` and `add` refuse, with this sentence. Raises FaultError for an anchor that lays nothing."""
        if self._open:
            raise FaultError(
                f"{'; '.join(f'faults.{anchor}' for anchor in self._open)}: lays no fault, because no kind of it was "
                'called: write it with one and its place, as .disconnect("motion.to_device", back_after_s=2.0)'
            )
        self._closed = why

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise FaultError(self._closed)


class Anchor:
    """A moment at which something goes wrong; every kind of the catalogue is a method."""

    def __init__(self, faults: FaultBuilder, anchor: dict[str, Any]) -> None:
        self._faults = faults
        self._anchor = anchor
        self._kind = ""  # the one that was last looked up, perhaps without being called

    def __str__(self) -> str:
        """As a test wrote it down, without its units."""
        words = [f"{name.removeprefix('at_').removesuffix('_s')}={value}" for name, value in self._anchor.items()]
        return f"at({', '.join(words).removeprefix('s=')}){self._kind and '.' + self._kind}"

    def __getattr__(self, kind: str) -> Callable[..., Fault]:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(sorted(KINDS))}"
            raise AttributeError(f"{kind!r} is no kind of fault{hint}")

        def lay(point: str, for_s: float | str | None = None, *, count: int | None = None, **args: Any) -> Fault:
            self._faults.called(self)
            is_counted = any(name in COUNTED for name in self._anchor)
            if is_counted and for_s is not None:
                raise FaultError(f"{kind} at the n-th event has a count and no for_s: give count=N")
            if not is_counted and (for_s is None or count is not None):
                raise FaultError(f"{kind} at a time or in a layer lasts a while: give for_s, and no count")
            span = {"count": 1 if count is None else count} if for_s is None else {"for_s": seconds_of(for_s)}
            try:
                fault = Fault(kind, point, args=args, **self._anchor, **span)  # type: ignore[arg-type]
            except (TypeError, ValueError) as error:
                raise FaultError(str(error)) from error
            return self._faults.add(fault)

        self._kind = kind
        return lay
