"""Pictures for the docs, drawn from above to below: SVG in light and dark colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

WIDTH, MARGIN = 800, 28
CELL, HIGH = 31, 30
"""Of an octet: 24 fit in a line, as many as a Network Service Header of type 1 has."""
BITS, BIT = 32, 23
"""Where bits begin, and how wide one is."""

LIGHT = {
    "card": "fill:#ffffff;stroke:#d0d7de",
    "text": "fill:#1f2328",
    "soft": "fill:#59636e",
    "line": "stroke:#818b98",
    "really": "fill:#1a7f37",
    "believed": "fill:#8250df",
    "really-line": "stroke:#1a7f37",
    "believed-line": "stroke:#8250df",
    "gtpu": "fill:#ddf4ff;stroke:#54aeff",
    "new": "fill:#ffe2b8;stroke:#d4882a",
    "ue": "fill:#dafbe1;stroke:#4ac26b",
    "ours": "fill:#f0e6ff;stroke:#a475f9",
    "plain": "fill:#eff2f5;stroke:#afb8c1",
    "gone": "fill:none;stroke:#afb8c1",
    "changed": "fill:#ff818240;stroke:#cf222e",
}
DARK = {
    "card": "fill:#0d1117;stroke:#3d444d",
    "text": "fill:#f0f6fc",
    "soft": "fill:#9198a1",
    "line": "stroke:#656c76",
    "really": "fill:#56d364",
    "believed": "fill:#c297ff",
    "really-line": "stroke:#56d364",
    "believed-line": "stroke:#c297ff",
    "gtpu": "fill:#0c2d6b;stroke:#388bfd",
    "new": "fill:#5a3600;stroke:#d4882a",
    "ue": "fill:#0f3d1e;stroke:#3fb950",
    "ours": "fill:#34205c;stroke:#a371f7",
    "plain": "fill:#212830;stroke:#656c76",
    "gone": "fill:none;stroke:#656c76",
    "changed": "fill:#8e1519;stroke:#ff7b72",
}
FONTS = """\
text{font-family:system-ui,"Segoe UI",Helvetica,Arial,sans-serif;font-size:13px}
.octet{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:14px}
.head{font-size:15px;font-weight:600}.gone{stroke-dasharray:3 3}"""

Label = tuple[int, int, str]
"""First cell, cell behind the last, text. Lines of the text are divided by |."""


class Picture:
    """Drawn from above to below; `y` is where the next thing goes."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []
        self.y = 20.0

    def text(self, x: float, y: float, text: str, css: str = "text", anchor: str = "start") -> None:
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def line(self, path: str, css: str) -> None:
        self._parts.append(f'<path d="{path}" class="{css}" fill="none"/>')

    def heading(self, text: str) -> None:
        self.y += 26 if self._parts else 14
        self.text(MARGIN, self.y, text, "text head")
        self.y += 8

    def note(self, text: str) -> None:
        self.y += 16
        self.text(MARGIN, self.y, text, "soft")

    def box(
        self,
        x: float,
        wide: float,
        css: str,
        text: str,
        font: str = "text octet",
        y: float | None = None,
    ) -> None:
        y = self.y if y is None else y
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{HIGH}" class="{css}"/>'
        )
        self.text(x + wide / 2, y + 20, text, font, "middle")

    def octets(
        self,
        cells: Sequence[tuple[str, str]],
        *,
        at: int = 0,
        above: Iterable[Label] = (),
        below: Iterable[Label] = (),
        changed: Iterable[int] = (),
        wide: float = CELL,
        left: float = MARGIN,
        scale: int = 1,
    ) -> float:
        """Cells of a text and a class from the cell `at` on, with labels for some of them: above
        what they are, below what the switch takes them for. The labels count in cells, or in parts
        of a cell, `scale` of them. Returns where the cells are."""
        above, below = list(above), list(below)
        self.y += 6
        if above:
            self._labels(above, wide / scale, left, over=True)
        top = self.y
        for number, (text, css) in enumerate(cells, at):
            marked = number in set(changed)
            font = "soft octet" if css == "gone" else "text octet"
            self.box(left + number * wide, wide, f"{css}{' changed' * marked}", text, font)
        self.y += HIGH
        if below:
            self._labels(below, wide / scale, left, over=False)
        self.y += 8
        return top

    def _labels(self, labels: Sequence[Label], wide: float, left: float, *, over: bool) -> None:
        css = "really" if over else "believed"
        lines = max(text.count("|") + 1 for _, _, text in labels)
        if over:
            self.y += 15 * lines
        for first, end, text in labels:
            a, b = left + first * wide + 3, left + end * wide - 3
            y, tick = (self.y, 5) if over else (self.y + 7, -5)
            path = f"M{a:g} {y + tick:g}V{y:g}H{b:g}V{y + tick:g}"
            self.line(path, f"{css}-line")
            parts = text.split("|")
            for number, part in enumerate(parts):
                place = y - 5 - 15 * (len(parts) - 1 - number) if over else y + 15 + 15 * number
                self.text((a + b) / 2, place, part, css, "middle")
        self.y += 8 if over else 8 + 15 * lines

    def svg(self) -> str:
        def rules(colours: dict[str, str]) -> str:
            return "".join(f".{name}{{{style}}}" for name, style in colours.items())

        dark = f"@media(prefers-color-scheme:dark){{{rules(DARK)}}}"
        high = self.y + 16
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high:g}" '
            f'width="{WIDTH}" height="{high:g}" role="img">'
        )
        card = (
            f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{high - 1:g}" rx="8" class="card"/>'
        )
        parts = "\n".join(self._parts)
        return (
            f"{head}\n<title>{escape(self._title)}</title>\n"
            f"<style>\n{FONTS}\n{rules(LIGHT)}\n{dark}\n</style>\n{card}\n{parts}\n</svg>\n"
        )
