"""The `moonkiln` command. It parses arguments and loads a command's code only when that command runs.

Commands of this package stand in COMMANDS; other packages add theirs through the entry-point group
`moonkiln.commands` (the simulator's `sim` and `demo` come that way).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any

import click

from control.command_line import MoonkilnGroup, Settings

ENTRY_POINT_GROUP = "moonkiln.commands"

# name -> (where its code is, what `moonkiln --help` says of it without loading that code)
COMMANDS: dict[str, tuple[str, str]] = {
    "brick": ("control.commands.brick:brick", "Make an interlocking brick by its measures, as a mesh file."),
    "slice": ("control.commands.slice:slice_part", "Turn a mesh into a job file (.kiln)."),
    "info": ("control.commands.slice:info", "Verify a job file and say what is in it."),
    "preview": ("control.commands.slice:preview", "Draw a job as a page with a layer slider."),
    "check": ("control.commands.check:check", "Call a job to account: what is covered, and what is not."),
    "estimate": ("control.commands.estimate:estimate", "Say how long a job takes on a machine, and on what."),
    "export": ("control.commands.export:export", "Write a job as G-code, CLI, OVF, CSV or NPZ."),
    "print": ("control.commands.print:print_job", "Print a job on a machine."),
    "resume": ("control.commands.print:resume", "Go on with an interrupted run."),
    "report": ("control.commands.print:report", "Write the build report of a run."),
    "home": ("control.commands.print:home", "Home a machine's gantry."),
    "jog": ("control.commands.print:jog", "Move a machine's gantry by a little, beam off."),
    "rover": ("control.commands.rover:rover", "Plan routes for rovers, and drive them."),
    "ports": ("control.commands.ports:ports", "List the serial ports, and say what answers on them."),
    "device": ("control.commands.device:device", "Read, write or watch one device of a machine."),
    "tap": ("control.commands.tap:tap", "Record what passes on a live wire."),
    "replay": ("control.commands.tap:replay", "Play a recorded wire back as the device."),
    "doctor": ("control.commands.doctor:doctor", "Say what is installed and reachable, and what to do."),
    "completion": ("control.commands.completion:completion", "Print the shell's completion script."),
}

# what `moonkiln --help` says of plug-ins that are known, so that it need not load them
PLUG_IN_HELP = {
    "sim": "Print, drive or serve on emulated machines.",
    "demo": "Make and print the demo brick, from mesh to report.",
    "hil": "Put hosts to the test: scenarios, campaigns of faults, replays.",
}

EPILOG = """\b
Examples:
  moonkiln slice part.stl --recipe dsel_fibre -o part.kiln
  moonkiln info part.kiln
  moonkiln preview part.kiln -o preview.html
  moonkiln export part.kiln --to gcode -o part.gcode

`moonkiln COMMAND --help` has examples of each. Exit codes: 0 done, 1 refused, 2 bad input, 3 device or wire,
4 safety stop, 130 Ctrl-C."""


class LazyGroup(MoonkilnGroup):
    """The group of all commands, each loaded when it is first needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_plug_ins()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return _load(COMMANDS[cmd_name][0])
        target = _plug_ins().get(cmd_name)
        return None if target is None else _load(target)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            names = self.list_commands(ctx)
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                near = f" Did you mean {close[0]!r}?" if close else ""
                raise click.UsageError(f"There is no command {name!r}.{near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [(name, PLUG_IN_HELP.get(name, f"(from {target})")) for name, target in _plug_ins().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _plug_ins() -> dict[str, str]:
    """name -> "module:attribute" of the commands that installed packages add, without loading any of them."""
    from importlib.metadata import entry_points

    found = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        root = point.value.partition(":")[0].partition(".")[0]
        if point.name not in COMMANDS and importlib.util.find_spec(root) is not None:
            found[point.name] = point.value
    return found


def _load(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    command: Any = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command), f"{target} is {command!r}, not a click command"
    return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
    no_args_is_help=True,
)
@click.version_option(package_name="moonkiln", prog_name="moonkiln")
@click.option("--debug", is_flag=True, help="Show the traceback of an error as well.")
@click.option(
    "--maps",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Look for register maps in this folder as well.",
)
@click.pass_context
def cli(context: click.Context, debug: bool, maps: tuple[str, ...]) -> None:
    """Make bricks out of lunar soil: slice a part, print it, look at it; and drive rovers."""
    settings = context.ensure_object(Settings)
    settings.debug = debug
    from pathlib import Path

    from firmware_bridge.map_folders import use_folders

    use_folders(map(Path, maps))


def main() -> None:
    """The console script `moonkiln`."""
    cli(prog_name="moonkiln")


if __name__ == "__main__":
    main()
