"""Do README and docs tell the truth: links, commands, shown output, names of code and tests, Python examples?"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from defined_tests import defined_in

from control.cli import cli
from control.command_line import ExitCode
from firmware_bridge.register_map import load_map
from slicer.bricks import demo_brick, write_stl
from slicer.job import SCHEMA_VERSION

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
PAGES = [README, REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PACKAGES = ("slicer", "firmware_bridge", "vision", "control", "hil_sim")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
DOTTED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+")
PLACE = re.compile(rf"((?:{'|'.join(PACKAGES)}|tests|docs|benchmarks)/[\w./-]*)(?:::(\w+))?")


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def fences(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


# ---- links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)} links to {target}, which is not there"
        assert found.is_relative_to(REPOSITORY), f"{name_of(page)} links to {target}, outside the repository"
        if heading:
            headings = re.findall(r"^#+ (.+)$", prose(found), re.MULTILINE)
            assert heading in map(anchor, headings), f"{name_of(page)} links to {target}: no such heading"


def test_every_page_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = [target.partition("#")[0] for target in LINK.findall(prose(page))]
        waiting += [(page.parent / link).resolve() for link in links if link and ":" not in link]
    assert [name_of(page) for page in PAGES if page not in seen] == []


# ---- commands


def shown_commands(page: Path) -> Iterator[list[str]]:
    """The words of each `moonkiln ...` that a page shows: in a console, a shell or a sentence."""
    lines = [
        line.removeprefix("$ ") for body in fences(page, "console") for line in body.splitlines() if line[:2] == "$ "
    ]
    lines += [line for body in fences(page, "sh") for line in body.splitlines()]
    lines += [code for code in CODE.findall(prose(page)) if code.startswith("moonkiln ")]
    for line in lines:
        for part in re.split(r"[|&;]|\$\(", line):
            words = shlex.split(part.replace(')"', "").replace('"', ""), comments=True)
            if words and Path(words[0]).name == "moonkiln" and "..." not in words and "COMMAND" not in words:
                yield words[1:]


def parse(words: list[str]) -> None:
    """Let the real command parse the words, and run nothing. Raises click.UsageError."""
    command: click.Command = cli
    context = click.Context(cli, info_name="moonkiln")
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"there is no command {name!r}")
        command, context = found, click.Context(found, info_name=name, parent=context)
    if isinstance(command, click.Group):  # options of the group alone; or its name, which is the whole mention
        assert all(any(word in option.opts for option in command.get_params(context)) for word in words), words
        return
    if len(words) == 0:  # a command is named, not called
        return
    with contextlib.suppress(click.exceptions.Exit):  # --help
        command.make_context(context.info_name, words, parent=context.parent)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_shown_parses(page: Path) -> None:
    for words in shown_commands(page):
        try:
            parse(words)
        except click.UsageError as error:
            pytest.fail(f"{name_of(page)} shows `moonkiln {shlex.join(words)}`: {error.format_message()}")


def test_a_wrong_command_would_be_found() -> None:
    for words in (
        ["slise"],
        ["slice", "a.stl", "--nonsense", "x"],
        ["sim", "serve", "a"],
        ["sim", "drve"],
        ["--verbos"],
    ):
        with pytest.raises((click.UsageError, AssertionError)):
            parse(words)


def test_the_readme_shows_every_command() -> None:
    groups = {"sim", "rover", "hil"}
    shown = {tuple(words[:2]) if words[0] in groups else (words[0],) for words in shown_commands(README) if words}
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                assert (name, inner) in shown, f"README does not show `moonkiln {name} {inner}`"
        else:
            assert (name,) in shown, f"README does not show `moonkiln {name}`"


def options(command: click.Command) -> set[str]:
    """Every option of a command and of those under it."""
    context = click.Context(command)
    found = {word for option in command.get_params(context) for word in option.opts}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= options(inner)
    return found


def test_every_option_that_the_readme_speaks_of_exists() -> None:
    spoken = {code.split()[0] for code in CODE.findall(prose(README)) if code.startswith("-")}
    assert spoken
    assert spoken - options(cli) == set()


def matches(shown: list[str], real: list[str]) -> bool:
    """Whether output fits what is shown: `...` within a line stands for anything, alone for any lines."""
    if not shown:
        return not real
    if shown[0] == "...":
        return any(matches(shown[1:], real[skip:]) for skip in range(len(real) + 1))
    pattern = "*".join(re.sub(r"([\[*?])", r"[\1]", part) for part in shown[0].split("..."))
    return bool(real) and fnmatch.fnmatchcase(real[0], pattern) and matches(shown[1:], real[1:])


SAID_AT_ONCE = ("brick", "slice", "info", "preview", "check", "estimate", "export")


def test_the_readme_shows_what_slicing_commands_really_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stl(demo_brick(), "brick.stl")
    (tmp_path / "tests").symlink_to(REPOSITORY / "tests")
    tried = 0
    for body in fences(README, "console"):
        for call in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, *shown = call.splitlines()
            words = shlex.split(line)
            if words[0] != "moonkiln" or words[1] not in SAID_AT_ONCE:
                continue
            result = CliRunner().invoke(cli, words[1:], prog_name="moonkiln")
            progress = re.compile(r"(slicing|drawing|writing|looking): \d+%, ")
            real = [said for said in (result.stdout + result.stderr).splitlines() if not progress.match(said)]
            assert matches(shown, real), f"README shows of `{line}`:\n" + "\n".join([*shown, "but it says:", *real])
            tried += 1
    assert tried == 11


# ---- names


def resolve(dotted: str) -> object:
    """The module or attribute that a dotted name names. Raises ImportError or AttributeError."""
    words = dotted.split(".")
    for length in range(len(words), 0, -1):
        module = ".".join(words[:length])
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            continue
        for word in words[length:]:
            found = getattr(found, word)
        return found
    raise ImportError(dotted)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_name_of_code_imports(page: Path) -> None:
    for code in CODE.findall(prose(page)):
        if DOTTED.fullmatch(code) and not re.search(r"\.(py|toml|md)$", code):
            try:
                resolve(code)
            except (ImportError, AttributeError) as error:
                pytest.fail(f"{name_of(page)} names `{code}`: {error}")


def test_the_journey_names_enough_to_follow() -> None:
    names = {code for code in CODE.findall(prose(REPOSITORY / "docs" / "journey.md")) if DOTTED.fullmatch(code)}
    assert {"slicer.plan.plan_job", "control.host.print_host", "control.report.write_report"} <= names
    assert {name.split(".")[0] for name in names} == set(PACKAGES)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_test_that_is_named_exists(page: Path) -> None:
    for code in CODE.findall(prose(page)):
        if not (place := PLACE.fullmatch(code)) or re.search(r"/[XM]\.", code):  # X, M: a reader's own
            continue
        path = REPOSITORY / place[1]
        assert path.exists(), f"{name_of(page)} names {code}, which is not there"
        if place[2]:
            assert place[2] in defined_in(path), f"{name_of(page)} names {code}; that file has no such test"


# ---- examples and tables


@pytest.mark.parametrize(
    ("page", "source"),
    [
        pytest.param(page, body, id=f"{name_of(page)}-{n}")
        for page in PAGES
        for n, body in enumerate(fences(page, "python"))
    ],
)
def test_python_examples_run(page: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(source, name_of(page), "exec"), {"__name__": "example"})


def test_the_scenario_example_loads(tmp_path: Path) -> None:
    from hil_sim.harness.scenario import load_scenario
    from hil_sim.world.faults import check_faults

    (body,) = fences(REPOSITORY / "docs" / "where-to-add.md", "toml")
    (tmp_path / "example.toml").write_text(body, encoding="utf-8")
    assert check_faults(load_scenario(tmp_path / "example.toml").schedule()) == []


def rows(page: Path) -> list[list[str]]:
    """The cells of every table row of a page."""
    lines = [line for line in prose(page).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_beam_heads_page_is_its_map() -> None:
    table = load_map("moonkiln_beam_head")
    shown = {
        row[1].strip("`"): row
        for row in rows(REPOSITORY / "docs" / "beam-head.md")
        if row[0].isdigit() and len(row) == 6
    }
    assert set(shown) == set(table.signals)
    for signal in table.signals.values():
        register, _, access, unit, span, meaning = shown[signal.name]
        assert (int(register), access == "rw") == (signal.address, signal.access == "rw"), signal.name
        assert unit == (f"{signal.scale:g} {signal.unit}" if signal.scale != 1 else signal.unit), signal.name
        if signal.access == "rw":
            low, high = (round(bound / signal.scale) for bound in signal.range)
            assert span == f"{low} to {high}", signal.name
        for bit, place in signal.bits.items():
            assert f"{place} {bit.replace('_', ' ')}" in meaning, bit


def test_the_exit_codes_are_the_commands() -> None:
    shown = {int(row[0]): row[1] for row in rows(REPOSITORY / "docs" / "exit-codes.md") if row[0].isdigit()}
    words = {code.value: code.name.lower().replace("_", " ") for code in ExitCode}
    words[ExitCode.DEVICE] = "device"
    assert shown == words


def test_the_format_page_tells_of_this_format() -> None:
    text = (REPOSITORY / "docs" / "kiln-format.md").read_text(encoding="utf-8")
    assert f"format {SCHEMA_VERSION}\n" in text.splitlines(keepends=True)[0]


def test_pictures_are_small() -> None:
    for picture in (REPOSITORY / "docs").rglob("*.png"):
        assert picture.stat().st_size <= 400_000, name_of(picture)
