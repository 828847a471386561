/* A gateway as a picture: access peers – gateway – core. Units are pixels: it is drawn anew for each
   width, and stands upright where there is little of it. */
"use strict";

const SHOWN_PEERS = 8;
const PORT_WIDTH = 170; // of what stands at a port
const NARROW = 700;
const MARKS = { up: "●", unknown: "○", down: "✕" };
const HOPS = { resolved: "up", stale: "unknown", unresolved: "down" };
const PATHS = {
  up: "answers Echo Requests",
  unknown: "has never answered an Echo Request, as some peers never do",
  down: "does not answer Echo Requests any more",
};

class Picture {
  constructor() {
    this.root = el("div", { class: "picture" });
    this.drawn = "";
    new ResizeObserver(() => this.show(...(this.last ?? []))).observe(this.root);
  }

  /* What changes with the traffic is changed in place, so that nothing jumps. */
  show(gateway, peers, rates) {
    const width = Math.floor(this.root.clientWidth);
    if (!gateway || !width) return;
    this.last = [gateway, peers, rates];
    const scene = JSON.stringify([
      width,
      likeness(gateway),
      peers.map((peer) => ({ ...peer, ...NO_TIMES })),
    ]);
    if (scene !== this.drawn) {
      const focused = document.activeElement?.dataset?.peer;
      const held = focused !== undefined && this.root.contains(document.activeElement);
      this.drawn = scene;
      this.root.replaceChildren(
        width < NARROW ? upright(gateway, peers, width) : level(gateway, peers, width),
      );
      if (held) this.root.querySelector(`[data-peer="${CSS.escape(focused)}"]`)?.focus();
    }
    for (const way of ["uplink", "downlink"]) {
      const rate = rates?.[way].packets ?? null;
      const arrow = way === "uplink" ? "↑ up" : "↓ down";
      for (const label of this.root.querySelectorAll(`.rate.${way}`))
        setText(label, rate === null ? "" : `${arrow} ${perSecond(rate)}`);
      for (const line of this.root.querySelectorAll(`.wire.${way}`))
        line.classList.toggle("flows", Boolean(rate) && gateway.connected);
    }
  }
}

const NO_TIMES = { echo_sent_at: 0, echo_answered_at: 0, echo_heard_at: 0 };

function likeness(gateway) {
  const { name, connected, in_sync, bridge, ovs_version, ports, access, core, paths, ue_pools } = gateway;
  const { next_hop, next_hop6 } = gateway;
  return {
    ...{ name, connected, in_sync, bridge, ovs_version, ports, access, core, paths, ue_pools },
    ...{ next_hop, next_hop6 },
  };
}

/* ---- boxes */

const text = (x, y, kind, content, anchor) =>
  svg("text", { x, y, class: kind, "text-anchor": anchor }, content);
/* The same, narrowed if it is longer than that. */
function fitting(x, y, kind, content, anchor, width) {
  const made = text(x, y, kind, content, anchor);
  if (content.length * 7.8 > width) {
    made.setAttribute("textLength", width);
    made.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
  return made;
}
const box = (x, y, width, height, kind) =>
  svg("rect", { x, y, width, height, rx: 8, class: `box ${kind}` });

function peerBox(peer, x, y, width) {
  const { state, next_hop: hop } = peer;
  const arp = hop === null ? "no route" : (hop.mac ?? "no answer to ARP");
  const way = hop !== null && hop.ip !== peer.ip ? `via ${hop.ip}` : arp;
  const times = [
    `path ${state}: ${PATHS[state]}`,
    `last answer: ${ago(peer.echo_answered_at)}`,
    `last asked: ${ago(peer.echo_sent_at)}`,
    `last asked us: ${ago(peer.echo_heard_at)}`,
    hop === null
      ? "no route on the access side leads there"
      : `next hop ${hop.ip} at ${hop.mac ?? "an unknown MAC address"}`,
  ];
  const told = `${peer.ip}, path ${state}, ${plural(peer.sessions, "session")}`;
  return svg(
    "g",
    {
      class: `peer ${state}${hop?.mac ? "" : " lost"}`,
      "data-peer": `${peer.gateway} ${peer.ip}`,
      "aria-label": `${told}: show its sessions`,
      ...pressable(() => showSessions({ gateway: peer.gateway, peer: peer.ip })),
    },
    svg("title", {}, `${told}\n${times.join("\n")}`),
    box(x, y, width, 44, "peer"),
    text(x + 11, y + 19, `mark ${state}`, MARKS[state]),
    text(x + 28, y + 19, "strong data", peer.ip),
    text(
      x + width - 10,
      y + 19,
      "small",
      short(peer.sessions) + (peer.sessions === 1 ? " session" : " sessions"),
      "end",
    ),
    text(x + 28, y + 36, hop?.mac ? "small data" : "small data wrong", way),
    text(
      x + width - 10,
      y + 36,
      `small state ${state}`,
      state === "unknown" ? "never answered" : state,
      "end",
    ),
  );
}

function moreBox(gateway, peers, x, y, width) {
  const left = { ...gateway.paths };
  for (const peer of peers) left[peer.state] = Math.max(0, left[peer.state] - 1);
  const told = ["down", "unknown", "up"]
    .filter((state) => left[state])
    .map((state) => `${short(left[state])} ${state}`);
  return svg(
    "g",
    { class: "more" },
    box(x, y, width, 30, "more"),
    text(x + 11, y + 20, "small strong", `+ ${short(left.up + left.down + left.unknown)} more`),
    text(x + width - 10, y + 20, "small", told.join(" · "), "end"),
  );
}

function portLines(port, device, x, y, anchor) {
  const link = port.link === "up" ? ["up", "●", " up"] : ["down", "✕", ` ${port.link}`];
  const lines = [text(x, y, "strong", "", anchor)];
  lines[0].append(
    svg("tspan", {}, device),
    svg("tspan", { class: `mark ${link[0]}`, dx: 6 }, link[1]),
    svg("tspan", { class: "small plain" }, link[2]),
  );
  const rest = [
    ["data", port.ip],
    ["data", port.ip6 ?? ""],
    ["small data", port.mac ?? ""],
    ["small", port.mtu ? `MTU ${port.mtu}` : ""],
  ];
  let at = y;
  for (const [kind, content] of rest.filter(([, each]) => each))
    lines.push(fitting(x, (at += 17), kind, content, anchor, PORT_WIDTH));
  return lines;
}

function middleLines(gateway, x, y) {
  const by = gateway.ports?.type === "afxdp" ? ", AF_XDP" : "";
  const version = `Open vSwitch ${gateway.ovs_version ?? ""}`.trim() + by;
  const [kind, mark, words] = !gateway.connected
    ? ["down", "✕", "not connected"]
    : gateway.in_sync
      ? ["up", "●", "connected, in sync"]
      : ["unknown", "○", "comparing flows"];
  const state = text(x, y + 36, "small", "", "middle");
  state.append(svg("tspan", { class: `mark ${kind}` }, mark), svg("tspan", { dx: 5 }, words));
  return [
    text(x, y, "title", gateway.name, "middle"),
    text(x, y + 19, "small", version, "middle"),
    state,
    text(x, y + 53, "small data", gateway.bridge, "middle"),
  ];
}

function coreBox(gateway, x, y, width, height) {
  const { next_hop: hop, next_hop6: hop6 } = gateway;
  const answers = ({ mac, state }, how) => [
    `small data state ${HOPS[state]}`,
    `${MARKS[HOPS[state]]} ${mac ?? `no answer to ${how}`}${state === "stale" ? ", silent" : ""}`,
  ];
  const lines = hop6
    ? [
        ["small", "next hops"],
        ["strong data", hop.ip],
        answers(hop, "ARP"),
        ["strong data", hop6.ip],
        answers(hop6, "discovery"),
      ]
    : hop
    ? [
        ["small", "next hop"],
        ["strong data", hop.ip],
        [hop.mac ? "small data" : "small data wrong", hop.mac ?? "no answer to ARP"],
        [
          `small state ${HOPS[hop.state]}`,
          hop.state === "resolved"
            ? "● answers ARP"
            : hop.state === "stale"
              ? "○ silent now"
              : "✕ unresolved",
        ],
      ]
    : [
        ["small", "next hop"],
        ["strong", "this host"],
        ["small", "it routes the packets on,"],
        ["small", `by ${gateway.core.device}`],
      ];
  const top = y + (height - lines.length * 17) / 2 + 12;
  const lost = [hop, hop6].some((each) => each && each.state === "unresolved");
  return svg(
    "g",
    { class: "core" },
    box(x, y, width, height, lost ? "down" : ""),
    lines.map(([kind, content], i) =>
      fitting(x + width / 2, top + 17 * i, kind, content, "middle", width - 12),
    ),
  );
}

/* Two lanes between two points, level or upright. */
function lanes(x1, y1, x2, y2) {
  const [dx, dy] = x1 === x2 ? [7, 0] : [0, 7];
  const line = (way, sign, from, to) =>
    svg("path", {
      class: `wire ${way}`,
      d: `M${from[0] + sign * dx} ${from[1] + sign * dy}L${to[0] + sign * dx} ${to[1] + sign * dy}`,
    });
  return [line("uplink", -1, [x1, y1], [x2, y2]), line("downlink", 1, [x2, y2], [x1, y1])];
}

function frame(gateway, width, height, ...parts) {
  const { up, unknown, down } = gateway.paths;
  const told = `${gateway.name}: ${up} peers up, ${unknown} that never answered, ${down} down`;
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": told },
    ...parts,
  );
}

const total = (gateway) => gateway.paths.up + gateway.paths.down + gateway.paths.unknown;

/* ---- peers at the left, the core at the right */

function level(gateway, peers, width) {
  const some = peers.slice(0, SHOWN_PEERS);
  const more = total(gateway) > some.length;
  const left = Math.min(270, Math.max(225, width * 0.24));
  const right = Math.min(210, Math.max(165, width * 0.18));
  const [from, to] = [left + Math.max(70, width * 0.11), width - right - Math.max(95, width * 0.1)];
  const rows = some.length * 52 - 8 + (more ? 38 : 0);
  const height = Math.max(rows, 128);
  const top = 26;
  const middle = top + height / 2;
  const knot = from - 44;
  const start = top + (height - rows) / 2;
  const boxTop = middle - 64;
  const wires = some.map((peer, i) => {
    const y = start + 52 * i + 22;
    const bend = (left + knot) / 2;
    return svg("path", {
      class: `path ${peer.state}`,
      d: `M${left} ${y}C${bend} ${y} ${bend} ${middle} ${knot} ${middle}`,
    });
  });
  if (more) {
    const y = start + 52 * some.length + 15;
    const bend = (left + knot) / 2;
    wires.push(
      svg("path", {
        class: "path",
        d: `M${left} ${y}C${bend} ${y} ${bend} ${middle} ${knot} ${middle}`,
      }),
    );
  }
  const gap = (to + width - right) / 2;
  return frame(
    gateway,
    width,
    top + height + 4,
    text(0, 12, "label", "ACCESS: BASE STATIONS, PEERS"),
    text((from + to) / 2, 12, "label", "GATEWAY", "middle"),
    text(width, 12, "label", "CORE: PACKET DATA NETWORK", "end"),
    wires,
    some.length ? lanes(knot, middle, from, middle) : [],
    some.length ? svg("circle", { class: "knot", cx: knot, cy: middle, r: 5 }) : [],
    lanes(to, middle, width - right, middle),
    text(gap, middle - 16, "rate uplink", "", "middle"),
    text(gap, middle + 26, "rate downlink", "", "middle"),
    box(from, boxTop, to - from, 128, gateway.connected ? "gateway" : "gateway down"),
    portLines(gateway.access, gateway.access.port, from + 14, boxTop + 42),
    portLines(gateway.core, gateway.core.device, to - 14, boxTop + 42, "end"),
    middleLines(gateway, (from + to) / 2, boxTop + 44),
    coreBox(gateway, width - right, boxTop + 14, right - 1, 100),
    some.map((peer, i) => peerBox(peer, 1, start + 52 * i, left - 1)),
    more ? moreBox(gateway, some, 1, start + 52 * some.length, left - 1) : [],
    some.length || more ? [] : nobody(left, middle),
  );
}

function nobody(width, y) {
  return svg(
    "g",
    {},
    box(1, y - 22, width - 2, 44, "more"),
    text(width / 2, y + 4, "small", "no session names a peer yet", "middle"),
  );
}

/* ---- one below the other */

function upright(gateway, peers, width) {
  const some = peers.slice(0, SHOWN_PEERS);
  const more = total(gateway) > some.length;
  const centre = width / 2;
  const parts = [text(0, 12, "label", "ACCESS: BASE STATIONS, PEERS")];
  let y = 22;
  for (const peer of some) {
    parts.push(peerBox(peer, 1, y, width - 2));
    y += 50;
  }
  if (more) {
    parts.push(moreBox(gateway, some, 1, y, width - 2));
    y += 36;
  }
  if (!some.length && !more) {
    parts.push(nobody(width, y + 22));
    y += 50;
  }
  y -= 6;
  parts.push(
    lanes(centre, y, centre, y + 46),
    text(centre - 20, y + 27, "rate uplink", "", "end"),
    text(centre + 20, y + 27, "rate downlink"),
  );
  y += 46;
  const high = gateway.core.ip6 || gateway.access.ip6 ? 177 : 160;
  parts.push(
    box(1, y, width - 2, high, gateway.connected ? "gateway" : "gateway down"),
    middleLines(gateway, centre, y + 24),
    portLines(gateway.access, gateway.access.port, 12, y + 98),
    portLines(gateway.core, gateway.core.device, width - 12, y + 98, "end"),
  );
  y += high;
  parts.push(lanes(centre, y, centre, y + 40));
  y += 40;
  parts.push(
    coreBox(gateway, 1, y, width - 2, 94),
    text(width, y + 112, "label", "CORE: PACKET DATA NETWORK", "end"),
  );
  return frame(gateway, width, y + 118, ...parts);
}
