"""The power stage of a bench supply and what hangs on it: constant voltage or constant current into a load, charge and
energy delivered, and a heat sink that warms."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DcLoad:
    """A resistance (ohm, > 0; infinite: nothing connected) behind a voltage of its own (V, >= 0; a battery's)."""

    resistance_ohm: float = math.inf
    emf_v: float = 0.0

    def __post_init__(self) -> None:
        if not (self.resistance_ohm > 0.0 and math.isfinite(self.emf_v) and self.emf_v >= 0.0):
            raise ValueError(f"no load has {self.resistance_ohm} ohm behind {self.emf_v} V")


@dataclass(frozen=True, slots=True)
class Output:
    """What is at the terminals: V, A, and whether the current is what is held."""

    volts: float
    amps: float
    constant_current: bool

    @property
    def watts(self) -> float:
        return self.volts * self.amps


@dataclass(frozen=True, slots=True)
class StageConfig:
    """Losses and heat sink (this project's own choice): W at rest, parts of the output, K/W, s."""

    idle_w: float = 3.0
    loss: float = 0.08
    sink_k_w: float = 1.2
    sink_s: float = 240.0
    ambient_temp_c: float = 20.0


class DcSupply:
    """Between changes everything is constant but charge, energy and the sink's temperature, which are exact. Never lets
    current flow back: a load with a higher voltage of its own shows that voltage and takes nothing.
    """

    def __init__(
        self,
        load: DcLoad = DcLoad(),
        config: StageConfig = StageConfig(),
        *,
        t_s: float = 0.0,
        temp_c: float | None = None,
    ) -> None:
        self.load = load
        self.config = config
        self._on = False
        self._set = (0.0, 0.0)
        self._t_s = t_s
        self._charge_ah = 0.0
        self._energy_wh = 0.0
        self._temp_c = config.ambient_temp_c if temp_c is None else temp_c

    def set_output(self, t_s: float, *, on: bool, volts: float, amps: float) -> None:
        """From `t_s` on hold `volts`, and never more than `amps`, both >= 0, if `on`."""
        if not (volts >= 0.0 and amps >= 0.0):
            raise ValueError(f"a supply cannot hold {volts} V at {amps} A")
        self._advance(t_s)
        self._on, self._set = on, (volts, amps)

    def set_load(self, t_s: float, load: DcLoad) -> None:
        """From `t_s` on this hangs on the terminals."""
        self._advance(t_s)
        self.load = load

    @property
    def output(self) -> Output:
        """What is at the terminals since the last change."""
        load = self.load
        open_v = 0.0 if math.isinf(load.resistance_ohm) else load.emf_v
        if not self._on:
            return Output(open_v, 0.0, False)
        volts, amps = self._set
        wanted = max((volts - load.emf_v) / load.resistance_ohm, 0.0)
        if wanted > amps:
            return Output(load.emf_v + amps * load.resistance_ohm, amps, True)
        return Output(max(volts, open_v), wanted, False)

    def charge_ah(self, t_s: float) -> float:
        """Delivered so far."""
        return self._charge_ah + self.output.amps * (t_s - self._t_s) / 3600.0

    def energy_wh(self, t_s: float) -> float:
        """Delivered so far."""
        return self._energy_wh + self.output.watts * (t_s - self._t_s) / 3600.0

    def clear_counts(self, t_s: float) -> None:
        """Count charge and energy from zero."""
        self._advance(t_s)
        self._charge_ah = self._energy_wh = 0.0

    def temp_c(self, t_s: float) -> float:
        """Of the heat sink, degC."""
        config = self.config
        loss_w = config.idle_w + config.loss * self.output.watts
        end_c = config.ambient_temp_c + config.sink_k_w * loss_w
        return end_c + (self._temp_c - end_c) * math.exp(-(t_s - self._t_s) / config.sink_s)

    def _advance(self, t_s: float) -> None:
        if t_s < self._t_s:
            raise ValueError(f"the supply stands at {self._t_s} s and cannot go back to {t_s} s")
        counts = self.charge_ah(t_s), self.energy_wh(t_s), self.temp_c(t_s)
        self._charge_ah, self._energy_wh, self._temp_c = counts
        self._t_s = t_s
