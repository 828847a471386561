/* One card a gateway: its picture, its rates, its drops. */
"use strict";

const MEANINGS = JSON.parse($("meanings").textContent);

class Card {
  constructor(name) {
    this.name = name;
    this.readings = new Readings();
    this.picture = new Picture();
    this.past = new Past();
    this.graphs = graphs();
    this.facts = el("dl", { class: "facts" });
    this.drops = el("div", { class: "drops" });
    this.planes = new Planes();
    this.faults = el("details", { class: "faults" });
    this.root = el(
      "section",
      { class: "card", "aria-label": `Gateway ${name}` },
      el("div", { class: "title" }, el("h2", {}, name), this.facts),
      this.picture.root,
      el(
        "div",
        { class: "numbers" },
        el(
          "div",
          { class: "graphs" },
          this.graphs.map((graph) => graph.root),
        ),
        this.drops,
      ),
      this.planes.root,
      this.faults,
    );
  }

  read(at, gateway) {
    this.readings.add(at, gateway);
  }

  show(gateway, peers, node) {
    this.planes.show(node);
    this.picture.show(gateway, peers, this.readings.last);
    for (const graph of this.graphs) graph.draw(this.past);
    this.showFacts(gateway);
    this.showDrops(gateway);
    this.showFaults(gateway);
  }

  /* What is known to be wrong with this version of the switch, and what is done about it. */
  showFaults({ ovs_version: version, faults }) {
    const shown = JSON.stringify([version, faults]);
    if (shown === this.faultsShown) return;
    this.faultsShown = shown;
    this.faults.hidden = !faults.length;
    const summary = `Open vSwitch ${version ?? ""}: ${plural(faults.length, "known fault")}, and the remedy for each`;
    const rows = faults.map((fault) =>
      el("tr", {}, el("td", {}, capital(fault.summary)), el("td", {}, capital(fault.remedy))),
    );
    const head = el(
      "tr",
      {},
      el("th", { scope: "col" }, "Fault"),
      el("th", { scope: "col" }, "What ofgtp does"),
    );
    this.faults.replaceChildren(
      el("summary", {}, summary),
      el("table", {}, el("thead", {}, head), el("tbody", {}, rows)),
    );
  }

  showFacts(gateway) {
    const { lease } = gateway;
    const left = lease?.seconds_left ?? null;
    const facts = [
      ["UE addresses", gateway.ue_pools.join(", ")],
      ["Datapath", gateway.datapath_id ?? "unknown"],
      [
        "Tunnels are",
        lease
          ? `the controller's, by a lease of ${lease.seconds} s${left === null ? "" : `: ${left.toFixed(0)} s left`}`
          : "the switch's",
      ],
      ["Repairs", whole(gateway.repairs)],
    ];
    const shown = JSON.stringify(facts);
    if (shown === this.factsShown) return;
    this.factsShown = shown;
    this.facts.replaceChildren(
      ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
  }

  showDrops(gateway) {
    if (gateway.drops === null) {
      this.drops.replaceChildren(
        el("h3", {}, "Dropped packets"),
        el("p", { class: "note" }, "Not known: the switch is away."),
      );
      return;
    }
    const rows = Object.entries(gateway.drops)
      .filter(([, count]) => count)
      .map(([reason, count]) => ({ reason, count, rate: this.readings.dropRate(reason) }))
      .sort((one, other) => other.rate - one.rate || other.count - one.count);
    const none = Object.keys(gateway.drops).length - rows.length;
    const table = el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", {}, "Reason"),
          el("th", { class: "number" }, "Now"),
          el("th", { class: "number" }, "In all"),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            { class: row.rate ? "rising" : null },
            el(
              "td",
              {},
              el("code", {}, row.reason),
              el("span", { class: "meaning" }, MEANINGS[row.reason] ?? ""),
            ),
            el("td", { class: "number" }, row.rate ? perSecond(row.rate) : "–"),
            el("td", { class: "number" }, whole(row.count)),
          ),
        ),
      ),
    );
    const rest = rows.length
      ? `${plural(none, "other reason")}: none.`
      : `None, for any of ${none} reasons.`;
    this.drops.replaceChildren(
      el("h3", {}, "Dropped packets"),
      ...(rows.length ? [table] : []),
      el("p", { class: "note" }, rest),
      ...this.bySwitch(gateway.switch_drops),
    );
  }

  /* What Open vSwitch has dropped before or behind the gateway's flows. */
  bySwitch(drops) {
    const some = Object.entries(drops ?? {}).filter(([, count]) => count);
    if (!some.length) return [];
    const shown = some.map(([reason, count]) => `${whole(count)} ${reason}`).join(", ");
    return [el("p", { class: "note" }, `By Open vSwitch itself, of all its bridges: ${shown}.`)];
  }
}

const came = (title, say, key) =>
  new Graph(title, say, [
    { name: "↑ access ", kind: "up", of: (point) => point.uplink?.[key] ?? null },
    { name: "↓ core ", kind: "down", of: (point) => point.downlink?.[key] ?? null },
  ]);

const graphs = () => [
  came("Frames that come in", perSecond, "frames_per_second"),
  came("Bits that come in", bitRate, "bits_per_second"),
  new Graph("Dropped packets", perSecond, [
    { name: "all reasons ", kind: "drops-line", of: (point) => point.drops_per_second },
  ]),
  new Graph("Sessions", whole, [
    { name: "in all states ", kind: "count", of: (point) => point.sessions },
  ]),
];

const cards = new Map();

function readHistory(items) {
  for (const { gateway, points } of items) cards.get(gateway)?.past.merge(points);
}

function readGateways(at, gateways) {
  for (const gateway of gateways) {
    if (!cards.has(gateway.name)) cards.set(gateway.name, new Card(gateway.name));
    cards.get(gateway.name).read(at, gateway);
  }
  for (const name of cards.keys())
    if (!gateways.some((gateway) => gateway.name === name)) cards.delete(name);
  const roots = [...cards.values()].map((card) => card.root);
  if (roots.length !== $("gateways").children.length || roots.some((root) => !root.isConnected))
    $("gateways").replaceChildren(...roots);
}

function showGateways(gateways, peers, nodes) {
  for (const gateway of gateways)
    cards.get(gateway.name).show(
      gateway,
      peers.filter((peer) => peer.gateway === gateway.name),
      nodes.find((node) => node.gateway === gateway.name),
    );
}

function rising(name, what) {
  const card = cards.get(name);
  if (!card || !card.readings.readings.length) return false;
  return what === "repairs" ? card.readings.repairsRose() : card.readings.dropRate(what) > 0;
}
