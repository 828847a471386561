/* The control planes of one gateway (PFCP): who is associated, and what was refused or not answered. */
"use strict";

const PLANE_STATES = { up: "active", down: "failed", unknown: "pending" };
const REFUSED_SHOWN = 5;

class Planes {
  constructor() {
    this.root = el("div", { class: "planes", hidden: true });
  }

  /* `node` is what the API says of the gateway's PFCP; undefined: it speaks none. */
  show(node) {
    this.root.hidden = !node;
    if (!node) return;
    const parts = [el("h3", {}, "Control planes"), el("p", { class: "note" }, where(node))];
    if (node.problem) parts.push(el("p", { class: "wrong" }, capital(node.problem) + "."));
    parts.push(node.associations.length ? associated(node) : noneAssociated(node));
    parts.push(...silent(node), ...lastRefused(node));
    this.root.replaceChildren(...parts);
  }
}

const where = (node) => `PFCP as ${node.node_id}, at ${node.listen}, UDP port 8805.`;

function associated(node) {
  const head = ["State", "Control plane", "Address", "Sessions", "Heard", "Refused"];
  const numbers = new Set(["Sessions", "Refused"]);
  const rows = node.associations.map((each) => {
    const refused = each.answers
      .filter(({ cause }) => cause !== 1)
      .reduce((sum, { count }) => sum + count, 0);
    const state = el("span", { class: `badge ${PLANE_STATES[each.state]}` }, each.state);
    const cells = [
      state,
      each.node_id,
      each.ip,
      whole(each.sessions),
      each.heard_at ? ago(each.heard_at) : "never",
      whole(refused),
    ];
    return el(
      "tr",
      {},
      cells.map((cell, i) => el("td", { class: numbers.has(head[i]) ? "number" : null }, cell)),
    );
  });
  const names = head.map((name) =>
    el("th", { scope: "col", class: numbers.has(name) ? "number" : null }, name),
  );
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, names)),
    el("tbody", {}, rows),
  );
}

function noneAssociated(node) {
  const heard = node.received.length || node.strangers.length;
  const why = heard
    ? ""
    : " Nothing has come yet: does it reach this host (tcpdump -ni any udp port 8805)?";
  return el("p", {}, `No control plane is associated.${why}`);
}

/* Who sends PFCP and is not answered. */
function silent(node) {
  return node.strangers.map((each) =>
    el(
      "p",
      { class: "wrong" },
      `${each.ip} is none of peers, and is not answered: ` +
        `${plural(each.messages, "message")}, the last ${ago(each.heard_at)}.`,
    ),
  );
}

function lastRefused(node) {
  const last = node.refused.slice(-REFUSED_SHOWN).reverse();
  if (!last.length) return [];
  const items = last.map((each) =>
    el("li", {}, el("b", {}, each.ip), ` ${each.reason}, ${ago(each.at)}`),
  );
  return [el("h4", {}, "Refused last"), el("ul", { class: "refused" }, items)];
}
