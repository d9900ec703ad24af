"""`moonkiln completion`: the script that makes a shell complete moonkiln's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from control.errors import UsageError


@click.command(
    epilog="""\b
Examples:
  eval "$(moonkiln completion bash)"                                  # in ~/.bashrc
  eval "$(moonkiln completion zsh)"                                   # in ~/.zshrc
  moonkiln completion fish > ~/.config/fish/completions/moonkiln.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL."""
    maker = get_completion_class(shell)
    if maker is None:
        raise UsageError(f"this version of click has no completion for {shell}")
    # the script text alone: `source()` would first run the shell to ask its version
    made = maker(context.find_root().command, {}, "moonkiln", "_MOONKILN_COMPLETE")
    click.echo(made.source_template % made.source_vars())
