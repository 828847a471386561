/* One session in detail, fresh as long as somebody looks at it. */
"use strict";

const detail = { id: null, before: null };

function showDetails(id) {
  detail.id = id;
  detail.before = null;
  setText($("details-title"), id);
  $("detail").replaceChildren(el("p", { class: "note" }, "…"));
  if (!$("details").open) $("details").showModal();
  refreshDetails().catch(page.failed);
}

async function refreshDetails() {
  const { id } = detail;
  if (id === null) return;
  const path = `/v1/sessions/${encodeURIComponent(id)}`;
  let session;
  let flows;
  try {
    [session, flows] = await Promise.all([api.get(path), api.get(`${path}/flows`)]);
  } catch (error) {
    if (error.status !== 404) throw error;
    if (id === detail.id)
      $("detail").replaceChildren(el("p", {}, "There is no such session any more."));
    return;
  }
  if (id !== detail.id) return;
  const at = performance.now() / 1000;
  const unfolded = $("detail").querySelector("details")?.open ?? false;
  $("detail").replaceChildren(...detailParts(session, flows.items, at, unfolded));
  detail.before = { at, session };
}

function detailParts(session, flows, at, unfolded) {
  const { uplink, downlink, counters } = session;
  const facts = [
    ["State", badge(session.state)],
    ["Gateway", session.gateway],
    ...(session.owner
      ? [["Owner", `control plane ${session.owner.node_id} (PFCP, SEID ${session.owner.up_seid})`]]
      : []),
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
    session.reason ? el("p", { class: "reason" }, capital(session.reason)) : null,
    el(
      "dl",
      { class: "facts wide" },
      facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    ),
    el("h3", {}, "Its flows"),
    flows.length
      ? flows.map((flow) =>
          el(
            "div",
            { class: "flow" },
            el(
              "p",
              { class: flow.direction === "uplink" ? "up" : "down" },
              `${flow.direction}: ${plural(flow.packets, "packet")}, ${octets(flow.bytes)}`,
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
    el(
      "details",
      { open: unfolded },
      el("summary", {}, "As JSON"),
      el("pre", {}, json),
      copier("Copy", () => json),
    ),
  ]
    .flat()
    .filter(Boolean);
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
  const passed = at - before.at;
  const packets = Math.max(0, counter.packets - before.session.counters[way].packets) / passed;
  const bits = (8 * Math.max(0, counter.bytes - before.session.counters[way].bytes)) / passed;
  return `${total}; now ${perSecond(packets)}, ${bitRate(bits)}`;
}

function wireDetails() {
  $("close").addEventListener("click", () => $("details").close());
  $("details").addEventListener("close", () => (detail.id = null));
  $("details").addEventListener("click", (event) => {
    if (event.target === $("details")) $("details").close();
  });
}
