/* Is all well? What is wrong, in words, and what to do about it. */
"use strict";

const BAD = 2;
const WARN = 1;

/* `rising` tells whether a reason's drops, or the repairs, of a gateway go up right now. */
function verdict(health, gateways, peers, rising, nodes = []) {
  const found = [];
  const say = (level, text, todo, action) => found.push({ level, text, todo, action });
  if (health && health.store !== undefined && health.store !== "ok") {
    const todo = "Requests to change sessions fail; traffic goes on. Is the disk full (df)?";
    say(BAD, `The session store cannot be written: ${health.store}.`, todo);
  }
  for (const gateway of gateways) {
    const mine = peers.filter((peer) => peer.gateway === gateway.name);
    ofSwitch(gateway, say, rising);
    ofNeighbours(gateway, mine, say);
    ofSessions(gateway, say);
    for (const node of nodes.filter((each) => each.gateway === gateway.name)) ofPlanes(node, say);
  }
  return found.sort((one, other) => other.level - one.level);
}

function ofSwitch(gateway, say, rising) {
  const { name } = gateway;
  if (!gateway.connected) {
    const kept = gateway.lease
      ? `Without it, forwarding ends within ${gateway.lease.seconds} s.`
      : "A switch that runs goes on forwarding by the flows it has.";
    say(BAD, `${name} is not connected: ${gateway.problem ?? "its switch is away"}.`, kept);
  } else if (gateway.problem) {
    say(WARN, `${name}: ${gateway.problem}.`);
  } else if (!gateway.in_sync) {
    say(WARN, `${name}: the switch's flows are being compared with the sessions.`);
  }
  const todo = "Was the controller held up, or OpenFlow cut? See the events lease_expired.";
  if (gateway.lease?.seconds_left === 0) {
    say(BAD, `${name}: the lease has run out, nothing is forwarded.`, todo);
  } else if (rising(name, "lease_expired")) {
    say(BAD, `${name}: packets are dropped because the lease had run out.`, todo);
  }
  const ports = [
    ["access", gateway.access.port, gateway.access.link],
    ["core", gateway.core.device, gateway.core.link],
  ];
  for (const [side, port, link] of ports) {
    if (link === "up") continue;
    const what = WITHOUT_LINK[link] ?? link;
    const help = {
      "no carrier": "Look at the cable, or at the other end.",
      down: `ip link set dev ${port} up`,
      missing: "The host has no interface of that name.",
    };
    say(BAD, `${name}: the ${side} port ${port} ${what}.`, help[link]);
  }
  if (rising(name, "repairs")) {
    const who = "See the events “repaired”: who else changes flows, ports or nftables rules here?";
    say(WARN, `${name}: somebody else changed the switch or the host; it was put right.`, who);
  }
}

/* The next hops that UEs' packets may go to, how each is asked, and what it gets. */
function nextHops({ next_hop: hop, next_hop6: hop6, ue_pools: pools }) {
  const both = pools.some((pool) => pool.includes(":")) && pools.some((pool) => pool.includes("."));
  return [
    [hop, "ARP", both ? "uplink IPv4 packet" : "uplink packet", "."],
    [hop6, "neighbour discovery", both ? "uplink IPv6 packet" : "uplink packet", ":"],
  ].filter(([found, , , mark]) => found && pools.some((pool) => pool.includes(mark)));
}

function ofNeighbours(gateway, peers, say) {
  const { name } = gateway;
  for (const [hop, how, lost] of nextHops(gateway)) {
    if (!gateway.connected || hop.state === "resolved") continue;
    const [level, what] =
      hop.state === "stale"
        ? [WARN, `does not answer ${how} any more; its last address is used.`]
        : [BAD, `does not answer ${how}: no ${lost} leaves.`];
    say(level, `${name}: the next hop ${hop.ip} ${what}`, "Is the router of the core side up?");
  }
  const down = gateway.paths.down;
  if (down) {
    const known = peers.filter((peer) => peer.state === "down").map((peer) => peer.ip);
    const more = down > known.length ? " …" : "";
    const all = gateway.paths.up + gateway.paths.unknown + down;
    const verb = down === 1 ? "does" : "do";
    const todo = "A base station that is off, or a path that is cut. Their phones get nothing.";
    const which = known.length ? `: ${known.join(", ")}${more}` : "";
    say(
      BAD,
      `${name}: ${whole(down)} of ${plural(all, "peer")} ${verb} not answer Echo Requests any more${which}${which && more ? "" : "."}`,
      todo,
    );
  }
  const { resolved, unresolved, stale } = gateway.neighbours;
  if (unresolved && gateway.connected) {
    const hops = peers
      .filter((peer) => peer.next_hop && !peer.next_hop.mac)
      .map((peer) => peer.next_hop.ip);
    const known = [...new Set(hops)];
    const which = known.length
      ? `: ${known.join(", ")}${known.length < unresolved ? " …" : ""}`
      : "";
    const every = plural(resolved + unresolved + stale, "next hop");
    const how = gateway.access.ip6 ? "ARP or neighbour discovery" : "ARP";
    const what = `${whole(unresolved)} of ${every} on the access side ${unresolved === 1 ? "does" : "do"} not answer ${how}${which}`;
    say(WARN, `${name}: ${what}${what.endsWith("…") ? "" : "."}`, "No packet can be sent there.");
  }
  const lost = peers.filter((peer) => !peer.next_hop).map((peer) => peer.ip);
  if (lost.length)
    say(
      WARN,
      `${name}: no route on the access side leads to ${lost.join(", ")}.`,
      "See access_routes in ofgtp.toml.",
    );
}

function ofPlanes(node, say) {
  const { gateway: name } = node;
  if (node.problem) say(BAD, `${name}: PFCP: ${node.problem}.`, "No control plane is heard.");
  const down = node.associations.filter(({ state }) => state === "down");
  if (down.length) {
    const who = down.map((each) => each.node_id).join(", ");
    const verb = down.length === 1 ? "does" : "do";
    const what = plural(down.length, "control plane");
    const todo = "Its sessions forward on; nobody changes them.";
    say(BAD, `${name}: ${what} ${verb} not answer heartbeats: ${who}.`, todo);
  }
}

function ofSessions(gateway, say) {
  const { name, sessions } = gateway;
  const show = (state) => ({ text: "Show them", run: () => showSessions({ state }) });
  const sum = (count) => `${name}: ${plural(count, "session")}`;
  if (sessions.failed)
    say(
      BAD,
      `${sum(sessions.failed)} failed: the switch refused the flows.`,
      "Each says why.",
      show("failed"),
    );
  if (sessions.error_indicated) {
    const todo =
      "Their base station does not know the tunnel: set it up again, and PATCH the session.";
    say(
      WARN,
      `${sum(sessions.error_indicated)} with an Error Indication.`,
      todo,
      show("error_indicated"),
    );
  }
  if (sessions.pending)
    say(
      WARN,
      `${sum(sessions.pending)} pending: stored, not confirmed by the switch.`,
      "",
      show("pending"),
    );
}

function allWell(gateways) {
  const sessions = gateways.reduce((sum, each) => sum + each.sessions.active, 0);
  const peers = gateways.reduce((sum, each) => sum + each.paths.up, 0);
  const unknown = gateways.reduce((sum, each) => sum + each.paths.unknown, 0);
  const silent = unknown ? `, ${whole(unknown)} that never answered` : "";
  return [
    `${plural(gateways.length, "gateway")} connected`,
    `${plural(sessions, "session")} active`,
    `${plural(peers, "peer")} up${silent}`,
  ].join(" · ");
}
