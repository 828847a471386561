/* Tables that are sorted by their headings; on narrow screens, which show none, by a list. */
"use strict";

/* One table's order. `columns` are {name, kind, key, falls}: `key` names what it is sorted by, and a
   column without one is not; with `falls` the most comes first. `changed` is called with each new
   order. */
class Order {
  constructor(columns, changed, key = "", falls = false) {
    this.columns = columns;
    this.changed = changed;
    this.key = key; // "": as it comes
    this.falls = falls;
    const sorted = columns.filter((column) => column.key);
    this.choice = el(
      "select",
      { class: "sorting", "aria-label": "Sort by" },
      el("option", { value: "" }, "not sorted"),
      sorted.flatMap((column) =>
        [false, true].map((falls) =>
          el(
            "option",
            { value: `${column.key} ${falls}` },
            `${column.name} ${falls ? "↓ falling" : "↑ rising"}`,
          ),
        ),
      ),
    );
    this.choice.addEventListener("change", () => {
      const [chosen, falling] = this.choice.value.split(" ");
      this.set(chosen, falling === "true");
    });
    this.heads = new Map();
    const row = columns.map((column) => this.head(column));
    this.root = el("thead", {}, el("tr", {}, row));
    this.mark();
  }

  head(column) {
    const th = el("th", { class: column.kind === "number" ? "number" : null, scope: "col" });
    if (!column.key) {
      th.append(column.name);
      return th;
    }
    const sign = el("span", { class: "order", "aria-hidden": "true" });
    const press = () => this.press(column);
    th.append(el("button", { type: "button", class: "heading", onclick: press }, column.name, sign));
    this.heads.set(column.key, { th, sign });
    return th;
  }

  /* Once, the other way round, and as it came. */
  press({ key, falls = false }) {
    if (this.key !== key) this.set(key, falls);
    else if (this.falls === falls) this.set(key, !falls);
    else this.set("", false);
  }

  set(key, falls) {
    this.key = key;
    this.falls = falls;
    this.mark();
    this.changed();
  }

  mark() {
    for (const [key, { th, sign }] of this.heads) {
      const mine = key === this.key;
      th.setAttribute("aria-sort", mine ? (this.falls ? "descending" : "ascending") : "none");
      setText(sign, mine ? (this.falls ? " ▼" : " ▲") : "");
    }
    this.choice.value = this.key ? `${this.key} ${this.falls}` : "";
  }

  /* The same in this order, by what `value` says of each; what is not known comes last. */
  sorted(items, value) {
    if (!this.key) return items;
    const sign = this.falls ? -1 : 1;
    const known = items.map((item) => [value(item, this.key), item]);
    known.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * (one < other ? -1 : one > other ? 1 : 0);
    });
    return known.map(([, item]) => item);
  }
}

/* Rows by a key each: their cells change in place, and what has the focus keeps it. */
class Rows {
  constructor(columns) {
    this.columns = columns;
    this.body = el("tbody", {});
    this.rows = new Map();
  }

  /* `items` are [key, item]. */
  show(items) {
    const kept = new Map();
    for (const [key, item] of items) {
      const row = this.rows.get(key) ?? this.made();
      this.fill(row, item);
      kept.set(key, row);
    }
    this.rows = kept;
    const wanted = [...kept.values()];
    const there = [...this.body.rows];
    if (wanted.length === there.length && wanted.every((row, i) => row === there[i])) return;
    const focused = document.activeElement;
    this.body.replaceChildren(...wanted);
    if (focused !== document.activeElement && this.body.contains(focused))
      focused.focus({ preventScroll: true });
  }

  made() {
    return el(
      "tr",
      {},
      this.columns.map(({ name, kind }) => el("td", { class: kind || null, "data-name": name })),
    );
  }

  fill(row, item) {
    this.columns.forEach(({ content }, i) => {
      const now = content(item);
      const cell = row.cells[i];
      const said = typeof now === "string" ? now : now.textContent;
      if (cell.textContent !== said || cell.dataset.title !== (now.title || undefined)) {
        cell.replaceChildren(now);
        if (now.title) cell.dataset.title = now.title;
        else delete cell.dataset.title;
      }
    });
  }
}

/* A number with another one below it. */
const two = (first, second) =>
  el("span", {}, first, second ? el("small", { class: "below" }, second) : null);
