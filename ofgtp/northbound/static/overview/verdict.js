/* Is all well? What is wrong, in words, and what to do about it. */
"use strict";

const BAD = 2;
const WARN = 1;

/* `rising` tells whether a reason's drops, or the repairs, of a gateway go up right now. */
function verdict(health, gateways, peers, rising) {
  const found = [];
  const say = (level, text, todo, action) => found.push({ level, text, todo, action });
  if (health && health.store !== undefined && health.store !== "ok") {
    const todo = "Requests to change sessions fail; traffic goes on. Is the disk full (df)?";
    say(BAD, `The session store cannot be written: ${health.store}.`, todo);
  }
  for (const gateway of gateways) {
    for (const trouble of gateway.troubles ?? []) ofTrouble(gateway, trouble, peers, say);
    ofChanges(gateway, say, rising);
  }
  return found.sort((one, other) => other.level - one.level);
}

/* What the controller judges to be wrong: ofgtp/core/troubles.py. */
function ofTrouble(gateway, { what, level, text, do: todo }, peers, say) {
  const { name } = gateway;
  const mine = peers.filter((peer) => peer.gateway === name);
  const named = (NAMES[what]?.(mine) ?? []).slice(0, NAMED);
  const which = named.length ? `: ${named.join(", ")}` : "";
  const more = what === "disconnected" ? ` ${withoutIt(gateway)}` : "";
  const state = what === "failed" || what === "error_indicated" || what === "pending" ? what : null;
  const action = state && { text: "Show them", run: () => showSessions({ state }) };
  const away = what === "disconnected" && gateway.problem ? " is not connected" : "";
  const end = /[.?!]$/.test(text) && !which ? "" : ".";
  const said = `${name}${away}: ${text}${which}${end}${more}`;
  say(level === "bad" ? BAD : WARN, said, state ? "" : todo, action);
}

const NAMED = 3;

/* Who is concerned, as far as the page has been told. */
const NAMES = {
  paths_down: (peers) => peers.filter((peer) => peer.state === "down").map((peer) => peer.ip),
  unresolved: (peers) => [
    ...new Set(
      peers.filter((peer) => peer.next_hop && !peer.next_hop.mac).map((peer) => peer.next_hop.ip),
    ),
  ],
};

function withoutIt({ lease }) {
  return lease
    ? `Without it, forwarding ends within ${lease.seconds} s.`
    : "A switch that runs goes on forwarding by the flows it has.";
}

function ofChanges(gateway, say, rising) {
  const { name } = gateway;
  if (gateway.lease?.seconds_left !== 0 && rising(name, "lease_expired")) {
    const todo = "Was the controller held up, or OpenFlow cut? See the events lease_expired.";
    say(BAD, `${name}: packets are dropped because the lease had run out.`, todo);
  }
  if (rising(name, "repairs")) {
    const who = "See the events “repaired”: who else changes flows, ports or nftables rules here?";
    say(WARN, `${name}: somebody else changed the switch or the host; it was put right.`, who);
  }
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
