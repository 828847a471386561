/* One session in detail, fresh as long as somebody looks at it. Its address is `#session=ID`. */
"use strict";

const detail = { id: null, before: null, opened: false };

/* The id in the address of the page; null: there is none. */
function addressed() {
  const found = /^#session=(.+)$/.exec(location.hash);
  if (!found) return null;
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return null;
  }
}

/* Show what the address names, or nothing. */
function followAddress() {
  const id = addressed();
  if (id === detail.id) return;
  if (id === null) $("details").close();
  else if ($("main").hidden) detail.opened = false;
  else showDetails(id);
}

/* Once the page has been answered, and once more after the token was asked for. */
function openFromAddress() {
  if (detail.opened) return;
  detail.opened = true;
  followAddress();
}

function showDetails(id) {
  detail.id = id;
  detail.before = null;
  setText($("details-title"), id);
  const link = () => location.origin + location.pathname + linkTo(id);
  $("linking").replaceChildren(...[copier("Copy link", link)].filter(Boolean));
  $("detail").replaceChildren(el("p", { class: "note" }, "…"));
  if (!$("details").open) $("details").showModal();
  refreshDetails().catch(page.failed);
}

async function refreshDetails() {
  const { id } = detail;
  if (id === null) return;
  const gone = (words) => id === detail.id && $("detail").replaceChildren(el("p", {}, words));
  // In a path these lead elsewhere.
  if (id === "." || id === "..") return gone("There is no such session.");
  const path = `/v1/sessions/${encodeURIComponent(id)}`;
  let session;
  let flows;
  let rules = null;
  try {
    [session, flows] = await Promise.all([api.get(path), api.get(`${path}/flows`)]);
    if (session.owner) rules = await api.get(`${path}/rules`);
  } catch (error) {
    if (error.status !== 404) throw error;
    gone(detail.before ? "There is no such session any more." : "There is no such session.");
    return;
  }
  if (id !== detail.id) return;
  const at = performance.now() / 1000;
  const unfolded = [...$("detail").querySelectorAll("details[open]")].map((each) => each.id);
  const focused = document.activeElement?.closest?.("#detail details")?.id;
  $("detail").replaceChildren(...detailParts(session, flows.items, rules, at));
  for (const each of unfolded) if ($(each)) $(each).open = true;
  if (focused) $(focused)?.querySelector("summary").focus({ preventScroll: true });
  detail.before = { at, session };
}

/* Something long, folded: it stays as it was when the rest is drawn anew. */
const folded = (id, title, ...parts) => el("details", { id }, el("summary", {}, title), parts);

function detailParts(session, flows, rules, at) {
  const { uplink, downlink, counters } = session;
  const facts = [
    [
      "State",
      session.reason
        ? el(
            "span",
            {},
            badge(session.state),
            el("span", { class: "reason" }, ` ${capital(session.reason)}`),
          )
        : badge(session.state),
    ],
    ["Gateway", session.gateway],
    ...ofOwner(session),
    ["UE address", [session.ue_ip, session.ue_ipv6].filter(Boolean).join(", ") || "none: a relay"],
    [
      "Uplink",
      uplink
        ? `TEID ${hex(uplink.teid)} (${uplink.teid}) at ${uplink.local_ip ?? "no gateway any more"}${uplink.remote_ip ? `, from ${uplink.remote_ip} only` : ""}`
        : "none",
    ],
    [
      "Downlink",
      downlink
        ? `TEID ${hex(downlink.teid)} (${downlink.teid}) at ${downlink.remote_ip}`
        : "none: the UE is idle",
    ],
    ["Uplink has carried", carried(counters.uplink, "uplink", at)],
    [
      "Downlink has carried",
      downlink && session.state !== "error_indicated"
        ? carried(counters.downlink, "downlink", at)
        : `${carried(counters.downlink, "downlink", at)} (${downlink ? "its peer does not know the tunnel" : "the UE is idle"})`,
    ],
    ...limits(session),
    [
      "Made",
      `${new Date(session.created_at).toLocaleString("en-GB")} (${ago(session.created_at)})`,
    ],
    [
      "Changed",
      `${new Date(session.updated_at).toLocaleString("en-GB")} (${ago(session.updated_at)})`,
    ],
  ];
  const json = JSON.stringify(session, null, 2);
  return [
    el(
      "dl",
      { class: "facts wide" },
      facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    ),
    ...ofBearers(session, at),
    el("h3", {}, "Its flows"),
    flows.length
      ? flows.map((flow) =>
          el(
            "div",
            { class: "flow" },
            el(
              "p",
              { class: flow.direction === "uplink" ? "up" : "down" },
              flow.direction + (flow.bearer ? ` of ${flow.bearer}` : ""),
              `: ${plural(flow.packets, "packet")}, ${octets(flow.bytes)}`,
            ),
            el("pre", {}, flow.flow),
          ),
        )
      : el("p", { class: "note" }, "Not known while the bridge's ports are not."),
    el(
      "p",
      { class: "note" },
      "Where its packets go, and why they do not, tells on the gateway's host: ",
      el("code", {}, `ofgtp trace ${session.id}`),
    ),
    rules && folded("as-rules", said(rules), el("pre", {}, JSON.stringify(rules, null, 2))),
    folded("as-json", "As JSON", el("pre", {}, json), copier("Copy", () => json)),
  ]
    .flat()
    .filter(Boolean);
}

/* The control plane that made it, and whether that still answers. */
function ofOwner({ owner, gateway }) {
  if (!owner) return [];
  const facts = [
    [
      "Owner",
      `control plane ${owner.node_id} (PFCP, SEID ${owner.up_seid} here, ${owner.cp_seid} there)`,
    ],
  ];
  const node = page.nodes.find((each) => each.gateway === gateway);
  const known = node?.associations.find((each) => each.node_id === owner.node_id);
  const shown = known
    ? el(
        "span",
        {},
        el("span", { class: `badge ${PLANE_STATES[known.state] ?? ""}` }, known.state),
        ` ${known.ip}, heard ${ago(known.heard_at)}`,
      )
    : "none now";
  return [...facts, ["Association", shown]];
}

const KINDS_OF_RULES = ["pdrs", "fars", "qers", "urrs", "bars"];

/* How many rules a control plane has given it, in words. */
function said(rules) {
  const counts = KINDS_OF_RULES.filter((kind) => rules[kind]?.length).map((kind) =>
    plural(rules[kind].length, kind.slice(0, -1).toUpperCase()),
  );
  return `As its control plane made it: ${counts.join(", ") || "no rules"}`;
}

const BEARER_HEADS = ["Bearer", "Precedence", "Takes", "Uplink", "Downlink", "Limits", "Carried"];

/* Its bearers: whose traffic each takes, where, and how much it has been. */
function ofBearers(session, at) {
  const { bearers } = session;
  if (!bearers?.length) return [];
  const rows = bearers.map((bearer) => {
    const cells = [
      el("span", { class: "data" }, bearer.id),
      whole(bearer.precedence),
      bearer.filters.map((each) => el("div", { class: "data" }, filterWords(each))),
      bearer.uplink ? el("span", { class: "data" }, hex(bearer.uplink.teid)) : "the session's",
      bearer.downlink === undefined
        ? "the session's"
        : bearer.downlink === null
          ? "none: idle"
          : el(
              "span",
              { class: "data" },
              `${hex(bearer.downlink.teid)} @ ${bearer.downlink.remote_ip}`,
            ),
      limitsOf(bearer).map((line) => el("div", {}, line)),
      carriedBy(bearer, at).map((line) => el("div", {}, line)),
    ];
    return el(
      "tr",
      {},
      cells.map((cell, i) => el("td", { "data-name": BEARER_HEADS[i] }, cell)),
    );
  });
  const head = BEARER_HEADS.map((name) => el("th", { scope: "col" }, name));
  return [
    el("h3", {}, "Its bearers"),
    el(
      "div",
      { class: "listed" },
      el("table", { class: "bearers" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
    ),
  ];
}

/* A packet filter as it was given: text, or its members. */
const filterWords = (filter) =>
  typeof filter === "string"
    ? filter
    : Object.entries(filter)
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => `${name} ${worded(value)}`)
        .join(", ");
const worded = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

function limitsOf(bearer) {
  const { mbr, gate, qfi } = bearer;
  const kbps = (rate) => (rate === null || rate === undefined ? "any" : bitRate(1000 * rate));
  return [
    mbr && `↑ ${kbps(mbr.uplink_kbps)}, ↓ ${kbps(mbr.downlink_kbps)}`,
    gate !== "open" && (gate === "closed" ? "nothing passes: its gate is closed" : `only ${gate}`),
    qfi !== null && qfi !== undefined && `QFI ${qfi}`,
    bearer.closed === "quota" && "nothing passes: the quota is used up",
    bearer.error_indicated && "its peer does not know the tunnel",
  ].filter(Boolean);
}

function carriedBy(bearer, at) {
  const { counters } = bearer;
  if (!counters) return ["not known"];
  const before = detail.before?.session.bearers?.find((each) => each.id === bearer.id)?.counters;
  return ["uplink", "downlink"].map((way) => {
    const rate = before && rateBetween(before[way], counters[way], at - detail.before.at);
    const now = rate ? `, now ${bitRate(rate.bits)}` : "";
    return `${way === "uplink" ? "↑" : "↓"} ${octets(counters[way].bytes)}${now}`;
  });
}

/* What there is of limits of usage, of its bearers too, and of packets that are held. */
function limits(session) {
  const own = [{ ...session, id: null }, ...(session.bearers ?? [])];
  const facts = own
    .filter((each) => each.usage)
    .map(({ id, usage, closed }) => [
      id === null ? "Usage" : `Usage of ${id}`,
      [
        usage.quota_bytes && `quota ${octets(usage.quota_bytes)}`,
        usage.threshold_bytes && `an event each ${octets(usage.threshold_bytes)}`,
        usage.inactivity_seconds && `inactive after ${usage.inactivity_seconds} s`,
        closed === "quota" && "nothing passes: the quota is used up",
      ]
        .filter(Boolean)
        .join(", "),
    ]);
  if (session.buffer)
    facts.push(["While idle", `up to ${plural(session.buffer, "packet")} held`]);
  return facts;
}

function carried(counter, way, at) {
  const before = detail.before;
  const since = new Date(Date.now() - 1000 * counter.duration_seconds).toISOString();
  const total = `${plural(counter.packets, "packet")}, ${octets(counter.bytes)} since the session was made, ${ago(since)}`;
  if (!before) return total;
  const rate = rateBetween(before.session.counters[way], counter, at - before.at);
  return `${total}; now ${perSecond(rate.packets)}, ${bitRate(rate.bits)}`;
}

function wireDetails() {
  $("close").addEventListener("click", () => $("details").close());
  $("details").addEventListener("close", () => {
    detail.id = null;
    // While the token is asked for the address stays.
    if (!$("ask").hidden) detail.opened = false;
    else if (addressed() !== null)
      history.replaceState(null, "", location.pathname + location.search);
  });
  window.addEventListener("hashchange", followAddress);
  $("details").addEventListener("click", (event) => {
    if (event.target === $("details")) $("details").close();
  });
}
