"""Subcommands that may be abbreviated, as those of `ip` and `gtp-tunnel`."""

from __future__ import annotations

import click


class Abbreviated(click.Group):
    """The first subcommand that begins with what was typed is meant, in the order of `words`."""

    words: tuple[tuple[str, str], ...] = ()
    """What may be typed, and the subcommand that it is."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for word, command in self.words:
            if cmd_name and word.startswith(cmd_name):
                return super().get_command(ctx, command)
        return None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(dict.fromkeys(command for _, command in self.words))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return command.name if command else name, command, rest  # the whole word, for errors
