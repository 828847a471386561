/* A gateway as a picture: access peers – gateway – core. Units are pixels: it is drawn anew for each
   width, and stands upright where there is little of it. */
"use strict";

const SHOWN_PEERS = 8;
const LINE = 17; // from one line of text to the next
/* About how wide a letter is, by the class of its text: enough to know what does not fit. */
const LETTERS = { title: 9.6, "strong data": 7.6, data: 7.6, "small data": 6.7, strong: 7.6 };
const SMALL_LETTER = 6.2;
const SQUEEZED = 0.85; // the narrowest that letters may become, to stay in one line
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
      this.root.replaceChildren(
        width < NARROW ? upright(gateway, peers, width) : level(gateway, peers, width),
      );
      this.drawn = scene;
      if (held) this.root.querySelector(`[data-peer="${CSS.escape(focused)}"]`)?.focus();
    }
    for (const way of ["uplink", "downlink"]) {
      const rate = rates?.[way].packets ?? null;
      const arrow = way === "uplink" ? "↑ up" : "↓ down";
      for (const label of this.root.querySelectorAll(`.rate.${way}`))
        setText(label, rate === null ? "" : `${arrow} ${perSecond(rate)}`);
      for (const line of this.root.querySelectorAll(`.wire.${way}`))
        line.classList.toggle("flows", Boolean(rate) && condition(gateway).kind !== "down");
    }
  }
}

const NO_TIMES = { echo_sent_at: 0, echo_answered_at: 0, echo_heard_at: 0 };

function likeness(gateway) {
  const { name, connected, in_sync, bridge, ovs_version, ports, access, core, paths, ue_pools } = gateway;
  const { next_hop, next_hop6 } = gateway;
  const ended = leaseEnded(gateway);
  return {
    ...{ name, connected, in_sync, bridge, ovs_version, ports, access, core, paths, ue_pools },
    ...{ next_hop, next_hop6, ended },
  };
}

const leaseEnded = (gateway) => gateway.lease?.seconds_left === 0;
const WITHOUT_LINK = { "no carrier": "has no carrier", down: "is down", missing: "is missing" };

/* Whether a gateway can forward, and what keeps it from that. */
function condition(gateway) {
  const down = (words) => ({ kind: "down", mark: "✕", words });
  if (!gateway.connected) return down("not connected");
  for (const side of ["access", "core"]) {
    const { link } = gateway[side];
    if (link !== "up") return down(`${side} port ${WITHOUT_LINK[link] ?? link}`);
  }
  if (leaseEnded(gateway)) return down("the lease has run out");
  return gateway.in_sync
    ? { kind: "up", mark: "●", words: "connected, in sync" }
    : { kind: "unknown", mark: "○", words: "comparing flows" };
}

const gatewayKind = (gateway) =>
  ({ up: "gateway", unknown: "gateway waits", down: "gateway down" })[condition(gateway).kind];

/* ---- boxes */

const text = (x, y, kind, content, anchor) =>
  svg("text", { x, y, class: kind, "text-anchor": anchor }, content);
const widthOf = (kind, content) =>
  content.length * (LETTERS[kind.replace(" wrong", "").replace(/ ?state \w+/, "")] ?? SMALL_LETTER);

/* The same, narrowed if it is longer than that. */
function fitting(x, y, kind, content, anchor, width) {
  const made = text(x, y, kind, content, anchor);
  if (widthOf(kind, content) > width) {
    made.setAttribute("textLength", width);
    made.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
  return made;
}

/* Lines of [kind, content] none of which is wider than that: a long address goes on in the next line,
   in small letters, from a colon on if it has one. */
function broken(kind, content, width) {
  if (widthOf(kind, content) <= width) return [[kind, content]];
  const small = kind.includes("small") ? kind : `small ${kind}`.replace("strong ", "");
  if (SQUEEZED * widthOf(small, content) <= width) return [[small, content]];
  const most = Math.max(4, Math.floor(width / LETTERS["small data"]));
  const found = [];
  let rest = content;
  while (rest.length > most) {
    const colon = rest.lastIndexOf(":", most - 1);
    const cut = colon > 0 ? colon + 1 : most;
    found.push([small, rest.slice(0, cut)]);
    rest = rest.slice(cut);
  }
  return [...found, [small, rest]];
}
const box = (x, y, width, height, kind) =>
  svg("rect", { x, y, width, height, rx: 8, class: `box ${kind}` });

/* What is written of a peer: its lines, at the left and at the right. An IPv6 address has a line of
   its own where it would meet what stands beside it. */
function peerLines(peer, width) {
  const { state, next_hop: hop } = peer;
  const arp = hop === null ? "no route" : (hop.mac ?? silence(hop.ip));
  const way = hop !== null && hop.ip !== peer.ip ? `via ${hop.ip}` : arp;
  const quiet = hop?.mac ? "small data" : "small data wrong";
  const many = peer.sessions === 1 ? " session" : " sessions";
  const sessions = ["small", short(peer.sessions) + many];
  const known = [`small state ${state}`, state === "unknown" ? "never answered" : state];
  const room = width - 38;
  const beside = (left, right) => widthOf(...left) + 8 + widthOf(...right) <= room;
  const [ip, at] = [["strong data", peer.ip], [quiet, way]];
  if (beside(ip, sessions) && beside(at, known))
    return [
      [ip, sessions],
      [at, known],
    ];
  return [
    ...broken(...ip, room).map((line) => [line, null]),
    ...broken(...at, room).map((line) => [line, null]),
    [sessions, known],
  ];
}

const silence = (ip) => `no answer to ${ip.includes(":") ? "discovery" : "ARP"}`;
const peerHeight = (lines) => 10 + LINE * lines.length;

function peerBox(peer, lines, x, y, width) {
  const { state, next_hop: hop } = peer;
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
    box(x, y, width, peerHeight(lines), "peer"),
    text(x + 11, y + 19, `mark ${state}`, MARKS[state]),
    lines.map(([left, right], i) => [
      fitting(x + 28, y + 19 + LINE * i, ...left, undefined, width - 38),
      right && text(x + width - 10, y + 19 + LINE * i, ...right, "end"),
    ]),
  );
}

function moreBox(gateway, peers, x, y, width) {
  const left = { ...gateway.paths };
  for (const peer of peers) left[peer.state] = Math.max(0, left[peer.state] - 1);
  const told = ["down", "unknown", "up"]
    .filter((state) => left[state])
    .map((state) => `${short(left[state])} ${state}`);
  const count = left.up + left.down + left.unknown;
  return svg(
    "g",
    {
      class: "more",
      "aria-label": `${plural(count, "peer")} more: ${told.join(", ")}: show all`,
      ...pressable(() => showPeers({ gateway: gateway.name })),
    },
    box(x, y, width, 30, "more"),
    text(x + 11, y + 20, "small strong", `+ ${short(count)} more`),
    text(x + width - 10, y + 20, "small", told.join(" · "), "end"),
  );
}

/* What is written of a port: lines of [kind, content], none wider than that. The first is its name,
   and its link's state where that fits beside it. */
function portLines(port, device, width) {
  const state = port.link === "up" ? "up" : "down";
  const link = `${state === "up" ? "●" : "✕"} ${port.link}`;
  const beside = widthOf("strong", device) + 8 + widthOf("small", link) <= width;
  return [
    ["strong", device, beside ? [state, link] : null],
    ...(beside ? [] : [[`small state ${state}`, link]]),
    ...broken("data", port.ip, width),
    ...(port.ip6 ? broken("data", port.ip6, width) : []),
    ...(port.mac ? [["small data", port.mac]] : []),
    ...(port.mtu ? [["small", `MTU ${port.mtu}`]] : []),
  ];
}

function drawnLines(lines, x, y, anchor, width) {
  return lines.map(([kind, content, link], i) => {
    if (!link) return fitting(x, y + LINE * i, kind, content, anchor, width);
    const made = text(x, y + LINE * i, kind, "", anchor);
    const [state, words] = link;
    made.append(
      svg("tspan", {}, content),
      svg("tspan", { class: `mark ${state}`, dx: 6 }, words.slice(0, 1)),
      svg("tspan", { class: "small plain" }, words.slice(1)),
    );
    return made;
  });
}

const widest = (lines) =>
  Math.max(
    ...lines.map(([kind, content, beside]) =>
      widthOf(kind, content) + (beside ? 8 + widthOf("small", beside[1]) : 0),
    ),
  );

function middleLines(gateway) {
  const by = gateway.ports?.type === "afxdp" ? ", AF_XDP" : "";
  const { kind, mark, words } = condition(gateway);
  return [
    ["title", gateway.name],
    ["small", `Open vSwitch ${gateway.ovs_version ?? ""}`.trim() + by],
    [kind === "down" ? "small state down" : "small", words, [kind, mark]],
    ["small data", gateway.bridge],
  ];
}

function drawnMiddle(lines, x, y, width) {
  return lines.map(([kind, content, beside], i) => {
    const at = y + (i ? 2 : 0) + LINE * i;
    if (!beside) return fitting(x, at, kind, content, "middle", width);
    const made = text(x, at, kind, "", "middle");
    made.append(
      svg("tspan", { class: `mark ${beside[0]}` }, beside[1]),
      svg("tspan", { dx: 5 }, content),
    );
    return made;
  });
}

/* The gateway's box: its ports at the sides, or below where they have no room there. */
function gatewayBox(gateway, width, { below = false } = {}) {
  const middle = middleLines(gateway);
  const ends = [
    [gateway.access, gateway.access.port],
    [gateway.core, gateway.core.device],
  ];
  const aside = ends.map(([port, device]) => portLines(port, device, Infinity));
  const most = Math.max(...aside.map(widest));
  const high = LINE * Math.max(...aside.map((lines) => lines.length)) + 51;
  if (!below && 2 * (most + 26) + widest(middle) <= width) {
    const height = Math.max(128, high);
    return {
      height,
      draw: (x, y) => [
        box(x, y, width, height, gatewayKind(gateway)),
        drawnLines(aside[0], x + 14, y + 42, undefined, most),
        drawnLines(aside[1], x + width - 14, y + 42, "end", most),
        drawnMiddle(middle, x + width / 2, y + 44, widest(middle)),
      ],
    };
  }
  const each = (width - 40) / 2;
  const under = ends.map(([port, device]) => portLines(port, device, each));
  const height = 98 + LINE * Math.max(...under.map((lines) => lines.length));
  return {
    height,
    draw: (x, y) => [
      box(x, y, width, height, gatewayKind(gateway)),
      drawnMiddle(middle, x + width / 2, y + 24, width - 24),
      drawnLines(under[0], x + 12, y + 100, undefined, each),
      drawnLines(under[1], x + width - 12, y + 100, "end", each),
    ],
  };
}

/* The core side's box. */
function coreBox(gateway, width) {
  const { next_hop: hop, next_hop6: hop6 } = gateway;
  const answers = ({ mac, state }, how) => [
    `small data state ${HOPS[state]}`,
    `${MARKS[HOPS[state]]} ${mac ?? `no answer to ${how}`}${state === "stale" ? ", silent" : ""}`,
  ];
  const room = width - 14;
  const lines = hop6
    ? [
        ["small", hop ? "next hops" : "next hop"],
        ...(hop ? [["strong data", hop.ip], answers(hop, "ARP")] : []),
        ...broken("strong data", hop6.ip, room),
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
  const lost = [hop, hop6].some((each) => each && each.state === "unresolved");
  const height = Math.max(100, LINE * lines.length + 20);
  return {
    height,
    draw: (x, y) => {
      const top = y + (height - lines.length * LINE) / 2 + 12;
      return svg(
        "g",
        { class: "core" },
        box(x, y, width, height, lost || gateway.core.link !== "up" ? "down" : ""),
        lines.map(([kind, content], i) =>
          fitting(x + width / 2, top + LINE * i, kind, content, "middle", room),
        ),
      );
    },
  };
}

/* Two lanes between two points, level or upright. */
function lanes(port, x1, y1, x2, y2) {
  const [dx, dy] = x1 === x2 ? [7, 0] : [0, 7];
  const line = (way, sign, from, to) =>
    svg("path", {
      class: `wire ${way}${port.link === "up" ? "" : " cut"}`,
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
  const written = some.map((peer) => peerLines(peer, left - 1));
  const heights = [...written.map(peerHeight), ...(more ? [30] : [])];
  const rows = heights.reduce((sum, each) => sum + each + 8, -8);
  const [own, core] = [gatewayBox(gateway, to - from), coreBox(gateway, right - 1)];
  const height = Math.max(rows, own.height, core.height);
  const top = 26;
  const middle = top + height / 2;
  const knot = from - 44;
  const start = top + (height - rows) / 2;
  const starts = heights.map((_, i) =>
    heights.slice(0, i).reduce((sum, each) => sum + each + 8, start),
  );
  const bend = (left + knot) / 2;
  const wires = heights.map((each, i) => {
    const y = starts[i] + each / 2;
    return svg("path", {
      class: `path ${some[i]?.state ?? ""}`,
      d: `M${left} ${y}C${bend} ${y} ${bend} ${middle} ${knot} ${middle}`,
    });
  });
  const gap = (to + width - right) / 2;
  return frame(
    gateway,
    width,
    top + height + 4,
    text(0, 12, "label", "ACCESS: BASE STATIONS, PEERS"),
    text((from + to) / 2, 12, "label", "GATEWAY", "middle"),
    text(width, 12, "label", "CORE: PACKET DATA NETWORK", "end"),
    wires,
    some.length ? lanes(gateway.access, knot, middle, from, middle) : [],
    some.length ? svg("circle", { class: "knot", cx: knot, cy: middle, r: 5 }) : [],
    lanes(gateway.core, to, middle, width - right, middle),
    text(gap, middle - 16, "rate uplink", "", "middle"),
    text(gap, middle + 26, "rate downlink", "", "middle"),
    own.draw(from, middle - own.height / 2),
    core.draw(width - right, middle - core.height / 2),
    some.map((peer, i) => peerBox(peer, written[i], 1, starts[i], left - 1)),
    more ? moreBox(gateway, some, 1, starts.at(-1), left - 1) : [],
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
    const lines = peerLines(peer, width - 2);
    parts.push(peerBox(peer, lines, 1, y, width - 2));
    y += peerHeight(lines) + 6;
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
    lanes(gateway.access, centre, y, centre, y + 46),
    text(centre - 20, y + 27, "rate uplink", "", "end"),
    text(centre + 20, y + 27, "rate downlink"),
  );
  y += 46;
  const own = gatewayBox(gateway, width - 2, { below: true });
  parts.push(own.draw(1, y));
  y += own.height;
  parts.push(lanes(gateway.core, centre, y, centre, y + 40));
  y += 40;
  const core = coreBox(gateway, width - 2);
  parts.push(core.draw(1, y));
  y += core.height;
  parts.push(text(width, y + 18, "label", "CORE: PACKET DATA NETWORK", "end"));
  return frame(gateway, width, y + 24, ...parts);
}
