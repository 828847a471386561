"""`ofgtp completion`: what a shell needs to complete the command."""

from __future__ import annotations

import click

from ofgtp.cli import output

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog="""\b
bash:  eval "$(ofgtp completion bash)"                     in ~/.bashrc
zsh:   eval "$(ofgtp completion zsh)"                      in ~/.zshrc, after compinit
fish:  ofgtp completion fish > ~/.config/fish/completions/ofgtp.fish"""
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete `ofgtp`.

    Subcommands and options are completed, and, where the API answers at once, sessions, gateways
    and UE addresses.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    output.say(found(ctx.find_root().command, {}, "ofgtp", "_OFGTP_COMPLETE").source())
