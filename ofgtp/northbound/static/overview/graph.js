/* Rates from counters that are asked for again and again, and small graphs of them. */
"use strict";

const SPAN_S = 300;
const LEAST_SPAN_S = 60;
const GAP_S = 8; // between two readings: a line is not drawn across more
const WINDOW_S = 10; // drops are a mean over this

/* The last minutes of one gateway's counters. */
class Readings {
  constructor() {
    this.readings = [];
    this.rates = []; // {at, uplink: {packets, bits}, downlink: {packets, bits}}, null for a gap
  }

  /* `at` in seconds. */
  add(at, gateway) {
    const { forwarded, drops, repairs } = gateway;
    const before = this.readings.at(-1);
    if (drops === null) {
      // The switch does not tell; what it has forwarded is as it was last known.
      this.gap();
      return;
    }
    if (before) {
      const passed = at - before.at;
      const ways = ["uplink", "downlink"].map((way) => [
        way,
        {
          packets: (forwarded[way].packets - before.forwarded[way].packets) / passed,
          bits: (8 * (forwarded[way].bytes - before.forwarded[way].bytes)) / passed,
        },
      ]);
      const rate = { at, ...Object.fromEntries(ways) };
      if (ways.some(([, way]) => way.packets < 0 || way.bits < 0)) {
        // Counters begin at 0 in each run of the controller.
        this.readings = [];
        this.gap();
      } else if (passed > GAP_S) {
        this.gap();
      } else {
        this.rates.push(rate);
      }
    }
    this.readings.push({ at, forwarded, drops, repairs });
    this.readings = this.readings.filter((each) => each.at > at - SPAN_S);
    this.rates = this.rates.filter((each) => each === null || each.at > at - SPAN_S);
  }

  gap() {
    if (this.rates.at(-1)) this.rates.push(null);
  }

  get last() {
    return this.rates.at(-1) ?? null;
  }

  /* Drops of a reason per second, a mean of the last seconds. */
  dropRate(reason) {
    const now = this.readings.at(-1);
    if (!now) return 0;
    const then = this.readings.find((each) => each.at >= now.at - WINDOW_S);
    if (then === now) return 0;
    return Math.max(0, now.drops[reason] - (then.drops[reason] ?? 0)) / (now.at - then.at);
  }

  repairsRose() {
    const then = this.readings[0];
    return then !== undefined && this.readings.at(-1).repairs > then.repairs;
  }
}

/* Uplink and downlink over the last minutes; `key` is what of a rate, `say` writes it. */
class Graph {
  constructor(title, key, say) {
    this.key = key;
    this.say = say;
    this.pointed = null; // where the pointer is, from 0 to 1
    this.values = { uplink: el("b", {}), downlink: el("b", {}) };
    this.lines = {
      uplink: svg("path", { class: "line up" }),
      downlink: svg("path", { class: "line down" }),
    };
    this.areas = {
      uplink: svg("path", { class: "area up" }),
      downlink: svg("path", { class: "area down" }),
    };
    this.cursor = svg("path", { class: "cursor", d: "" });
    this.peak = el("span", { class: "peak" });
    this.since = el("span", {});
    this.when = el("span", {}, "now");
    this.plot = svg(
      "svg",
      { viewBox: "0 0 300 100", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("path", {
        class: "grid",
        d: "M0 0.5H300M0 50H300M0 99.5H300M60 0V100M120 0V100M180 0V100M240 0V100",
      }),
      Object.values(this.areas),
      Object.values(this.lines),
      this.cursor,
    );
    this.plot.addEventListener("pointermove", (event) => {
      const box = this.plot.getBoundingClientRect();
      this.pointed = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.draw(this.history);
    });
    this.plot.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.draw(this.history);
    });
    this.root = el(
      "figure",
      { class: "graph" },
      el(
        "figcaption",
        {},
        el("span", { class: "name" }, title),
        el("span", { class: "up" }, "↑ uplink ", this.values.uplink),
        el("span", { class: "down" }, "↓ downlink ", this.values.downlink),
      ),
      el("div", { class: "plot" }, this.plot, this.peak),
      el("div", { class: "axis" }, this.since, this.when),
    );
  }

  draw(history) {
    if (!history) return;
    this.history = history;
    const now = history.readings.at(-1)?.at ?? 0;
    const rates = history.rates;
    const most = Math.max(
      0,
      ...rates.map((r) => (r ? Math.max(r.uplink[this.key], r.downlink[this.key]) : 0)),
    );
    const top = ceiling(most);
    const first = rates.find((rate) => rate)?.at ?? now;
    const span = Math.min(SPAN_S, Math.max(LEAST_SPAN_S, now - first));
    const x = (at) => 300 * (1 - (now - at) / span);
    setText(this.since, `${duration(span)} ago`);
    for (const way of ["uplink", "downlink"]) {
      const y = (rate) => 99.5 - (97 * rate[way][this.key]) / top;
      const runs = pieces(rates);
      const line = runs.map(
        (run) =>
          run.map((r, i) => `${i ? "L" : "M"}${x(r.at).toFixed(1)} ${y(r).toFixed(1)}`).join("") +
          "h0",
      );
      this.lines[way].setAttribute("d", line.join(""));
      const area = runs.map(
        (run, i) => `${line[i]}L${x(run.at(-1).at).toFixed(1)} 100L${x(run[0].at).toFixed(1)} 100Z`,
      );
      this.areas[way].setAttribute("d", area.join(""));
    }
    setText(this.peak, most ? this.say(top) : "");
    const shown =
      this.pointed === null ? history.last : nearest(rates, now - span * (1 - this.pointed));
    const there = this.pointed !== null && shown;
    this.cursor.setAttribute("d", there ? `M${x(shown.at).toFixed(1)} 0V100` : "");
    setText(this.when, there ? `${duration(now - shown.at)} ago` : "now");
    for (const way of ["uplink", "downlink"])
      setText(this.values[way], shown ? this.say(shown[way][this.key]) : "–");
  }
}

/* The next of 1, 2 and 5 times a power of ten, for the top of an axis. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) ?? 10);
}

function pieces(rates) {
  const found = [[]];
  for (const rate of rates) {
    if (rate) found.at(-1).push(rate);
    else found.push([]);
  }
  return found.filter((run) => run.length);
}

function nearest(rates, at) {
  const known = rates.filter((rate) => rate);
  return known.reduce(
    (best, rate) => (best && Math.abs(best.at - at) < Math.abs(rate.at - at) ? best : rate),
    null,
  );
}
