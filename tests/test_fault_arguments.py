"""Every argument of every kind of fault, at the edge of what it may be and just beyond: refused where it is written."""

import ast
import json
import math
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.harness.fault_builder import FaultBuilder, FaultError
from hil_sim.harness.generator import SHIPPED, GeneratorError, load_generator
from hil_sim.harness.scenario import ScenarioError, load_scenario, schema_json
from hil_sim.world.faults import KINDS, Fault, FaultSchedule, check_faults, schedule_of
from hil_sim.world.faults.argument import Arg
from hil_sim.world.faults.schedule import ANCHORS

HIL_SIM = Path(__file__).parent.parent / "hil_sim"
EVERY = [(kind, arg) for kind in sorted(KINDS) for arg in KINDS[kind].args]


def row(kind: str, **args: Any) -> dict[str, Any]:
    return {"kind": kind, "point": KINDS[kind].points[0].replace("*", "a").replace("??", "fl"), "at_s": 1.0,
            "for_s": 2.0, "args": args}  # fmt: skip


def refused(kind: str, arg: str, value: object) -> bool:
    """Whether this value is refused, in a sentence that names both; there is no third way."""
    sentences = check_faults(FaultSchedule((Fault.from_dict(row(kind, **{arg: value})),)))
    assert all(f"'{kind}'" in sentence and arg in sentence for sentence in sentences)
    assert len(sentences) <= 1
    return bool(sentences)


def edges(arg: Arg) -> tuple[list[object], list[object]]:
    """The least and the most that is taken, and what lies right beside them."""
    if arg.type == "word":
        return list(arg.words), ["", arg.words[0].upper(), " ".join(arg.words), 0]
    if arg.type == "point":
        return ["a.b"], ["", 3]
    if arg.type == "hex":
        return ["00" * int(arg.least), "ff" * int(arg.most)], ["", "0", "zz", "00" * int(arg.most + 1), 0]
    if arg.type == "whole":
        return [arg.least, arg.most], [arg.least - 1, arg.most + 1, float(arg.least)]
    return [arg.least, arg.most], [math.nextafter(arg.least, -math.inf), math.nextafter(arg.most, math.inf)]


@pytest.mark.parametrize("kind, name", EVERY)
def test_an_argument_is_taken_up_to_its_edges_and_not_beyond(kind: str, name: str) -> None:
    arg = KINDS[kind].args[name]
    inside, outside = edges(arg)
    assert not any(refused(kind, name, value) for value in inside)
    assert all(refused(kind, name, value) for value in outside)
    strange = [math.nan, math.inf, -math.inf, True, None, [1], {"a": 1}]
    strange += [] if arg.type == "point" else ["soon"]
    assert all(refused(kind, name, value) for value in strange)
    assert arg.default is None or not refused(kind, name, arg.default)
    assert arg.default is not None or arg.left_out


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_argument_that_a_kind_does_not_know_is_refused_by_name(kind: str) -> None:
    assert check_faults(FaultSchedule((Fault.from_dict(row(kind)),))) == []
    (sentence,) = check_faults(FaultSchedule((Fault.from_dict(row(kind, wen=1)),)))
    assert f"'{kind}'" in sentence and "not wen" in sentence


def test_where_a_fault_is_carried_out_nothing_else_is_taken_for_left_out_than_the_catalogue_says() -> None:
    said: dict[str, set[object]] = {}
    for kind, name in EVERY:
        said.setdefault(name, set()).add(KINDS[kind].args[name].default)
    asked = 0
    for path in HIL_SIM.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_asked = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "arg"
            if is_asked and len(call.args) == 2 and all(isinstance(a, ast.Constant) for a in call.args):
                name, default = (a.value for a in call.args)
                asked += 1
                assert default in said[name] or (name, default) == ("with", ""), f"{path.name}: {name} is {default}"
    assert asked > 25


# ---- wherever a fault is written


@pytest.mark.parametrize(
    "fault, sentence",
    [
        ('kind = "insert"\nat_chunk = 1\nargs = { hex = "zz" }', "'insert' takes hex as 1 to 4096 bytes in hex"),
        ('kind = "delay"\nat_chunk = 1\nargs = { delay_s = nan }', "'delay' takes delay_s as a number from 0 to 86400"),
        ('kind = "dropp"', r"'dropp' is no known fault \(did you mean drop\?\)"),
        ('kind = "drop"\nat_chunk = 1.5', "at_chunk is 1.5; give a whole number"),
        ('kind = "drop"\nat_s = "soon"\nfor_s = 1', "at_s is 'soon'; give seconds"),
        ('kind = "drop"\nat_s = 1\nfor_s = inf', "give for_s > 0"),
        ("kind = 7\nat_s = 1\nfor_s = 1", "are words"),
        ('kind = "drop"\nat_chunk = 1\nargs = 3', "args is 3; give names"),
    ],
)
def test_a_scenario_file_is_refused_where_it_is_read(fault: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'schema_version = 1\nname = "s"\n[[faults]]\npoint = "motion.to_device"\n{fault}\n')
    with pytest.raises(ScenarioError, match=sentence):
        load_scenario(path)


@pytest.mark.parametrize("value", ["zz", math.nan, math.inf, -1, True, None])
def test_a_test_is_told_on_its_own_line(value: object) -> None:
    with pytest.raises(FaultError, match="'delay' takes delay_s"):
        FaultBuilder().at(chunk=3).delay("motion.to_device", delay_s=value)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("args.bit = { least = 0, most = 7 }", "args.bit = { least = 0, most = 8 }", "'flip' takes bit"),
        ("args.bit = { least = 0, most = 7 }", "args.bit = { least = 0.5, most = 7.5 }", "'flip' takes bit"),
        ('one_of = ["00", "0a"', 'one_of = ["zz", "0a"', "'insert' takes hex"),
        ("least = 0.0, most = 0.9", "least = 0.0, most = inf", "'short_feed' takes fraction"),
    ],
)
def test_a_generator_draws_nothing_that_a_kind_does_not_take(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "g.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(GeneratorError, match=sentence):
        load_generator(path)


@pytest.mark.parametrize("rows", [[3], ["drop"], [None], [{}], [{"kind": ["drop"], "point": "a.to_host", "at_s": 1}]])
def test_rows_that_are_no_faults_are_refused(rows: list[Any]) -> None:
    with pytest.raises(ValueError, match="fault"):
        schedule_of(rows)


# ---- in an editor


VALUES = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=6))
RULES = json.loads(schema_json())["$defs"]["FaultRow"]["allOf"]
TYPES: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "string": (str,)}
SAYS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda said, v: isinstance(v, TYPES[said]) and not isinstance(v, bool),
    "minimum": lambda said, v: v >= said,
    "maximum": lambda said, v: v <= said,
    "minLength": lambda said, v: len(v) >= said,
    "pattern": lambda said, v: re.search(said, v) is not None,
    "enum": lambda said, v: v in said,
    "const": lambda said, v: v == said,
    "properties": lambda said, v: all(fits(rule, v[key]) for key, rule in said.items() if key in v),
    "maxProperties": lambda said, v: len(v) <= said,
    "exclusiveMinimum": lambda said, v: v > said,
    "required": lambda said, v: set(said) <= set(v),
    "oneOf": lambda said, v: sum(fits(rule, v) for rule in said) == 1,
    "description": lambda said, v: True,
    "default": lambda said, v: True,
}
"""What an editor makes of each word of JSON Schema that the rules of faults use; another word is a KeyError."""


def fits(rule: dict[str, Any] | bool, value: Any) -> bool:
    """Whether a value is in a schema; its words in their order, so that the type comes before the range."""
    if isinstance(rule, bool):
        return rule
    rule = dict(rule)
    if rule.pop("additionalProperties", True) is False and not set(value) <= set(rule["properties"]):
        return False
    if "if" in rule:
        condition, consequence = rule.pop("if"), rule.pop("then")
        return not fits(condition, value) or fits(consequence, value)
    ranked = sorted(rule.items(), key=lambda item: item[0] != "type")
    return all(SAYS[word](said, value) for word, said in ranked)


def is_in_schema(fault: dict[str, Any]) -> bool:
    return all(fits(rule, fault) for rule in RULES)


@pytest.mark.parametrize("kind, name", EVERY)
def test_the_schema_of_scenarios_takes_what_the_catalogue_takes(kind: str, name: str) -> None:
    inside, outside = edges(KINDS[kind].args[name])
    assert all(is_in_schema(row(kind, **{name: value})) for value in inside)
    assert not any(is_in_schema(row(kind, **{name: value})) for value in outside)
    assert not is_in_schema(row(kind, wen=1))


@given(st.sampled_from(EVERY), VALUES)
def test_whatever_is_read_is_taken_or_refused_in_a_sentence(which: tuple[str, str], value: object) -> None:
    kind, name = which
    taken = not refused(kind, name, value)
    if taken:
        assert schedule_of([row(kind, **{name: value})]).faults[0].arg(name, 0) == value


def test_the_schema_knows_kinds_without_arguments_and_no_others() -> None:
    assert is_in_schema({"kind": "drop", "point": "a.to_host", "at_chunk": 1})
    assert not is_in_schema({"kind": "dropp", "point": "a.to_host", "at_chunk": 1})
    assert not is_in_schema({"kind": "drop", "point": "a.to_host", "at_chunk": 1, "args": {"byte": 1}})


ROWS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["drop", "door_open", "jam", "crash"])},
    optional={
        "point": st.sampled_from(["motion.to_device", "interlock.door", "interlock.window", "recoater.blade", "host"]),
        **{anchor: st.integers(0, 3) for anchor in ANCHORS},
        "for_s": st.sampled_from([0.0, 2.0]),
        "after_s": st.sampled_from([0.0, 2.0]),
        "count": st.sampled_from([1, 3]),
        "may_idle": st.booleans(),
    },
)


@given(ROWS.filter(lambda row: sum(anchor in row for anchor in ANCHORS) < 3))
def test_the_schema_takes_the_rows_that_the_loader_takes(row: dict[str, Any]) -> None:
    try:
        schedule_of([row])
    except ValueError:
        is_taken = False
    else:
        is_taken = True
    assert is_taken == ({"kind", "point"} <= set(row) and is_in_schema(row))


def test_every_fault_of_a_shipped_scenario_is_in_the_schema() -> None:
    shipped = [
        tomllib.loads(path.read_text(encoding="utf-8")) for path in (HIL_SIM / "harness/scenarios").glob("*.toml")
    ]
    faults = [fault for scenario in shipped for fault in scenario.get("faults", [])]
    assert len(faults) >= 25 and all(is_in_schema(fault) for fault in faults)
