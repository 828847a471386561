"""Groups of subcommands: in the order of their making, and such as may be abbreviated."""

from __future__ import annotations

import click


class InOrder(click.Group):
    """Help shows the subcommands in the order in which they were made, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Abbreviated(InOrder):
    """What was typed means the first of `words` that begins so, as with `ip` and `gtp-tunnel`."""

    words: tuple[tuple[str, str], ...] = ()
    """What may be typed, and the subcommand that it is."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for word, command in self.words:
            if cmd_name and word.startswith(cmd_name):
                return super().get_command(ctx, command)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return command.name if command else name, command, rest  # the whole word, for errors
