/* Rates from counters that are asked for again and again; small graphs of the last ten minutes. */
"use strict";

const SPAN_S = 600;
const LEAST_SPAN_S = 60;
const KEPT_S = 300; // of what is read here
const GAP_S = 8; // between two readings: what passed between is not told as a rate
const BREAK_S = 12; // between two points: a line is not drawn across more
const TOO_SOON_S = 0.6; // for a rate
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
      if (passed < TOO_SOON_S) return; // the switch counts some flows every half second only
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
    this.readings = this.readings.filter((each) => each.at > at - KEPT_S);
    this.rates = this.rates.filter((each) => each === null || each.at > at - KEPT_S);
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

/* What the controller has kept of one gateway: points of {at, …}, the oldest first. */
class Past {
  constructor() {
    this.points = [];
  }

  /* Take points of the API; those that are here already may know more now. */
  merge(points) {
    const kept = new Map(this.points.map((point) => [point.at, point]));
    for (const point of points)
      kept.set(Date.parse(point.at) / 1000, { ...point, at: Date.parse(point.at) / 1000 });
    const first = this.now - SPAN_S;
    this.points = [...kept.values()]
      .filter((point) => point.at >= first)
      .sort((one, other) => one.at - other.at);
  }

  /* By the server's clock, in seconds. */
  get now() {
    return api.now() / 1000;
  }
}

/* Lines over the last minutes. `lines` are {name, kind, of}: `of` says a point's value, null where it
   is not known; `say` writes one. */
class Graph {
  constructor(title, say, lines) {
    this.say = say;
    this.pointed = null; // where the pointer is, from 0 to 1
    this.lines = lines.map(({ name, kind, of }) => ({
      ...{ kind, of, value: el("b", {}), name },
      line: svg("path", { class: `line ${kind}` }),
      area: svg("path", { class: `area ${kind}` }),
    }));
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
      this.lines.map(({ area }) => area),
      this.lines.map(({ line }) => line),
      this.cursor,
    );
    this.plot.addEventListener("pointermove", (event) => {
      const box = this.plot.getBoundingClientRect();
      this.pointed = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.draw(this.past);
    });
    this.plot.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.draw(this.past);
    });
    this.root = el(
      "figure",
      { class: "graph" },
      el(
        "figcaption",
        {},
        el("span", { class: "name" }, title),
        this.lines.map(({ name, kind, value }) => el("span", { class: kind }, name, value)),
      ),
      el("div", { class: "plot" }, this.plot, this.peak),
      el("div", { class: "axis" }, this.since, this.when),
    );
  }

  draw(past) {
    if (!past) return;
    this.past = past;
    const { points } = past;
    const now = Math.max(past.now, points.at(-1)?.at ?? 0);
    const values = this.lines.flatMap(({ of }) => points.map((point) => of(point) ?? 0));
    const most = Math.max(0, ...values);
    const top = ceiling(most);
    const span = Math.min(SPAN_S, Math.max(LEAST_SPAN_S, now - (points[0]?.at ?? now)));
    const x = (point) => (300 * (1 - (now - point.at) / span)).toFixed(1);
    const y = (value) => (99.5 - (97 * value) / top).toFixed(1);
    setText(this.since, `${duration(span)} ago`);
    for (const { of, line, area } of this.lines) {
      const runs = pieces(points, of);
      const drawn = runs.map(
        (run) => run.map((p, i) => `${i ? "L" : "M"}${x(p)} ${y(of(p))}`).join("") + "h0",
      );
      line.setAttribute("d", drawn.join(""));
      const filling = runs.map((run, i) => `${drawn[i]}L${x(run.at(-1))} 100L${x(run[0])} 100Z`);
      area.setAttribute("d", filling.join(""));
    }
    setText(this.peak, most ? this.say(top) : "");
    const there = this.pointed !== null && nearest(points, now - span * (1 - this.pointed));
    this.cursor.setAttribute("d", there ? `M${x(there)} 0V100` : "");
    setText(this.when, there ? `${duration(now - there.at)} ago` : "now");
    for (const { of, value } of this.lines) {
      const shown = there ? of(there) : latest(points, of, now);
      setText(value, shown === null ? "–" : this.say(shown));
    }
  }
}

/* The last value that is known, if it is not old. */
function latest(points, of, now) {
  const known = points.filter((point) => point.at > now - 3 * BREAK_S && of(point) !== null);
  return known.length ? of(known.at(-1)) : null;
}

/* The next of 1, 2 and 5 times a power of ten, for the top of an axis. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) ?? 10);
}

/* Points that a line joins: in each of these a value is known, and none is missing between. */
function pieces(points, of) {
  const found = [];
  let before = null;
  for (const point of points) {
    if (of(point) === null) before = null;
    else {
      if (before !== null && point.at - before.at <= BREAK_S) found.at(-1).push(point);
      else found.push([point]);
      before = point;
    }
  }
  return found;
}

const nearest = (points, at) =>
  points.reduce(
    (best, point) => (best && Math.abs(best.at - at) < Math.abs(point.at - at) ? best : point),
    null,
  );
