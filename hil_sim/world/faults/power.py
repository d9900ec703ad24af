"""Faults of supplies and what hangs on them, struck at the terminals. `power.feeder` is the bench's whole supply,
`power.battery` a rover's battery.
"""

from __future__ import annotations

from hil_sim.world.faults.argument import number, share
from hil_sim.world.faults.schedule import Kind

FEEDER, BATTERY = "power.feeder", "power.battery"

KINDS: dict[str, Kind] = {
    "open_load": Kind(
        "what the supply feeds is disconnected",
        ("supply.load",),
        {},
        "the current falls to nothing; the host trips where the machine file sets amps_min",
        "2 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
    "short_load": Kind(
        "what the supply feeds is short-circuited",
        ("supply.load",),
        {"ohm": number("what is left of its resistance, ohm", 0.05, 1e-6, 1e6)},
        "the supply holds its current limit, or its protection strikes; the host trips on either",
        "2 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
    "brownout": Kind(
        "the mains sags until every device on it resets; they come back when the window ends",
        (FEEDER,),
        {},
        "the beam is dark at once; devices that do not answer, or have forgotten where they are, trip the host: the run"
        " stops, and resumes where the layer was broken off",
        "5 s",
        "tests/test_plant_faults.py::test_a_brownout_resets_what_hangs_on_the_feeder",
    ),
    "outage": Kind(
        "the mains is gone for the window; what hangs on it is dark, still and deaf, and restarts afterwards",
        (FEEDER,),
        {},
        "as in a brown-out; a host that lives on its own supply stops the run and names what it cannot reach",
        "5 s",
        "tests/test_plant_faults.py::test_a_brownout_resets_what_hangs_on_the_feeder",
    ),
    "supply_sag": Kind(
        "the mains is low, and every device still works: beam and heater are weaker",
        (FEEDER,),
        {"fraction": share("of the voltage", 0.8)},
        "the energy that the head counts is not the layer's; the layer is not claimed, the run stops",
        "1 layer",
        "tests/test_plant_faults.py::test_a_sagging_supply_weakens_beam_and_heater",
        limit="a loss under `energy_share_max` of a layer's energy, 0.5 % in the shipped files, or 0.3 J",
    ),
    "battery_sag": Kind(
        "cells of the rover's battery fail: a part of its charge is gone at once, and does not come back",
        (BATTERY,),
        {"fraction": share("of the charge that is left", 0.15)},
        "the guard goes by the charge that the power unit tells: the rover turns to a haven or hibernates and says why",
        "5 s",
        "tests/test_plant_faults_rover.py::test_a_sagging_battery_loses_charge_for_good",
    ),
}
