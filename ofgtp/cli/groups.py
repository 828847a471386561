"""Groups of subcommands: in the order of their making, and such as may be abbreviated."""

from __future__ import annotations

import click

ALIASES = {"ls": ("list",), "rm": ("delete", "remove")}
"""What may be typed for a subcommand of one of these names, as with `ip` and the shell."""


class InOrder(click.Group):
    """Help shows the subcommands in the order in which they were made, not by the alphabet.

    A subcommand may be shortened as long as no other begins so, and has aliases.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def meant(self, ctx: click.Context, typed: str) -> list[str]:
        """The subcommands that may be meant."""
        names = self.list_commands(ctx)
        if typed in names:
            return [typed]
        aliased = [name for name in ALIASES.get(typed, ()) if name in names]
        return aliased[:1] or [name for name in names if typed and name.startswith(typed)]

    def named(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand of this whole name."""
        return super().get_command(ctx, name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self.meant(ctx, cmd_name)
        return self.named(ctx, found[0]) if len(found) == 1 else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = self.meant(ctx, args[0])
        if len(found) > 1 and not ctx.resilient_parsing:
            raise click.UsageError(f"{args[0]!r} may be {' or '.join(found)}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        return command.name if command else name, command, rest  # the whole word, for errors


class Abbreviated(InOrder):
    """What was typed means the first of `words` that begins so, as with `ip` and `gtp-tunnel`."""

    words: tuple[tuple[str, str], ...] = ()
    """What may be typed, and the subcommand that it is."""

    def meant(self, ctx: click.Context, typed: str) -> list[str]:
        begun = (command for word, command in self.words if typed and word.startswith(typed))
        return list(begun)[:1]
