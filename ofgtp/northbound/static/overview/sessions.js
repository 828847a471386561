/* Sessions: search, and pages of what is found. */
"use strict";

const PAGE = 50;
const LEAST_S = 1.5; // between two readings for a rate
const IPV4 = /^\d{1,3}(\.\d{1,3}){3}$/;
const IPV6 = /^(?=.*:.*:)[\da-f:.]+(\/\d{1,3})?$/i;
const TEID = /^(0x[0-9a-f]{1,8}|[1-9]\d{0,9})$/i;
const FIELDS = {
  id: "the id contains",
  ue_ip: "the UE address is",
  ue_ipv6: "the UE's IPv6 prefix holds, or is in,",
  teid: "the uplink TEID is",
  peer: "the peer is",
};

const list = {
  filter: { state: "", gateway: "" },
  cursors: [null], // of the pages up to the one shown
  field: "", // what was searched by
  asked: 0,
  shown: null, // {items, next}
  told: "", // what was searched for, in words
  timer: 0,
  counted: new Map(), // what each session had carried when it was asked for last, by id
  rates: new Map(), // since the time before
};

/* Set what is asked for and go there: {state, peer, gateway}; what is not given is taken away. */
function showSessions({ state = "", peer = "", gateway = "" }) {
  $("query").value = peer;
  // What else it may be is not looked for: it is a peer.
  $("field").value = peer && (isUe(peer) || peer.includes(":")) ? "peer" : "";
  list.filter = { state, gateway };
  $("gateway").value = gateway;
  listAgain();
  $("sessions").scrollIntoView({ behavior: "smooth", block: "start" });
}

/* What to search by: where the first finds nothing, the next is tried. */
function searches(words) {
  if (!words) return [""];
  if ($("field").value) return [$("field").value];
  if (IPV4.test(words)) return isUe(words) ? ["ue_ip"] : ["peer"];
  if (IPV6.test(words)) return ["ue_ipv6", "peer", "id"];
  return TEID.test(words) && Number(words) < 2 ** 32 ? ["teid", "id"] : ["id"];
}

const numberOf = (dotted) =>
  dotted.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);

function isUe(ip) {
  return page.gateways.some((gateway) =>
    gateway.ue_pools.some((pool) => {
      if (pool.includes(":")) return false;
      const [base, bits] = pool.split("/");
      const size = 2 ** (32 - Number(bits));
      return Math.floor(numberOf(ip) / size) === Math.floor(numberOf(base) / size);
    }),
  );
}

function listAgain() {
  list.cursors = [null];
  showStates();
  return listSessions().catch(page.failed);
}

/* Ask for the page, and show it unless another one was asked for meanwhile. */
async function listSessions() {
  const turn = (list.asked += 1);
  const words = $("query").value.trim();
  const fields = list.cursors.length > 1 ? [list.field] : searches(words);
  const only = page.gateways.length === 1 ? page.gateways[0].name : "";
  const gateway = list.filter.gateway || only; // with it, indexes help
  const asked = { state: list.filter.state, gateway, limit: PAGE, cursor: list.cursors.at(-1) };
  let answer;
  let field;
  try {
    for (field of fields) {
      try {
        const searched = field ? { ...asked, [field]: words, total: true } : asked;
        answer = await api.get("/v1/sessions", searched);
      } catch (error) {
        // What looks like an address, and is none, may be a part of an id.
        if (error.status !== 422 || field === fields.at(-1)) throw error;
        continue;
      }
      if (answer.items.length) break;
    }
  } catch (error) {
    if (turn !== list.asked) return;
    if (error.status !== 422) throw error;
    setText($("told"), capital(error.message) + ".");
    $("told").classList.add("wrong");
    return;
  }
  if (turn !== list.asked) return;
  list.shown = answer;
  list.field = field;
  const told = field ? `${FIELDS[field]} ${words}` : "";
  $("told").classList.remove("wrong");
  readRates(answer.items, performance.now() / 1000);
  list.told = told;
  sayList();
  showList(answer.items, Boolean(told || list.filter.state || list.filter.gateway));
  $("paging").hidden = answer.next === null && list.cursors.length === 1;
  $("next").disabled = answer.next === null;
  $("previous").disabled = list.cursors.length === 1;
}

const sayList = () => setText($("told"), saidOfList(list.shown, list.told));

function saidOfList({ items, next, total }, told) {
  const wanted = [told, list.filter.state && `the state is ${spoken(list.filter.state)}`].filter(
    Boolean,
  );
  const where = wanted.length ? ` where ${wanted.join(" and ")}` : "";
  const first = (list.cursors.length - 1) * PAGE;
  if (!items.length) return where ? `None${where}.` : "";
  if (next === null && !first) return `${plural(items.length, "session")}${where}`;
  const { gateway, state } = list.filter;
  const counts = countsOf(page.gateways.filter(({ name }) => !gateway || name === gateway));
  // How many match a search the answer says; of the rest the gateways tell.
  const last = first + items.length;
  const of = ` of ${whole(Math.max(total ?? counts[state], last))}`;
  const order = list.order.key ? "; this page is sorted" : "";
  return `${whole(first + 1)} to ${whole(last)}${of}${where}${order}`;
}

/* A UE's addresses, each on a line of its own. */
function ues({ ue_ip: ip, ue_ipv6: prefix }) {
  if (ip && prefix) return el("span", {}, ip, el("br"), prefix);
  return ip ?? prefix ?? "a relay";
}

const COLUMNS = [
  {
    name: "State",
    key: "state",
    content: (s) => filled(badge(s.state), { title: s.reason ?? null }, []),
  },
  {
    name: "Session",
    kind: "id",
    key: "id",
    content: (s) =>
      el(
        "span",
        {},
        el("a", { class: "link", href: linkTo(s.id) }, s.id),
        s.owner
          ? el("span", { class: "quiet", title: "Made by PFCP" }, ` ${s.owner.node_id}`)
          : null,
        s.bearers?.length
          ? el("span", { class: "quiet" }, ` + ${plural(s.bearers.length, "bearer")}`)
          : null,
        s.reason ? el("small", { class: "below reason" }, capital(s.reason)) : null,
      ),
  },
  { name: "UE address", kind: "data ue", key: "ue", content: ues },
  {
    name: "Uplink TEID",
    kind: "data",
    key: "teid",
    content: (s) => (s.uplink ? hex(s.uplink.teid) : "none"),
  },
  {
    name: "Downlink",
    kind: "data far",
    key: "peer",
    content: (s) =>
      s.downlink ? `${hex(s.downlink.teid)} @ ${s.downlink.remote_ip}` : "none: idle",
  },
  ...["uplink", "downlink"].flatMap((way) => {
    const arrow = way === "uplink" ? "↑" : "↓";
    return [
      {
        name: `${arrow} Now`,
        kind: "number",
        key: `${way}.rate`,
        falls: true,
        content: (s) => {
          const rate = rateOf(s.id, way);
          return rate ? two(bitRate(rate.bits), perSecond(rate.packets)) : "–";
        },
      },
      {
        name: `${arrow} In all`,
        kind: "number",
        key: `${way}.bytes`,
        falls: true,
        content: (s) =>
          two(octets(s.counters[way].bytes), plural(s.counters[way].packets, "packet")),
      },
    ];
  }),
  {
    name: "Changed",
    kind: "quiet",
    key: "changed",
    falls: true,
    content: (s) => ago(s.updated_at),
  },
];

const linkTo = (id) => `#session=${encodeURIComponent(id)}`;

/* By what sessions are sorted, as far as they are on the page. */
const SORTED_BY = {
  state: (s) => -STATES.indexOf(s.state),
  id: (s) => s.id,
  ue: (s) => (s.ue_ip ? numberOf(s.ue_ip) : (s.ue_ipv6 ?? null)),
  teid: (s) => s.uplink?.teid ?? null,
  peer: (s) => s.downlink?.remote_ip ?? null,
  "uplink.rate": (s) => rateOf(s.id, "uplink")?.bits ?? null,
  "uplink.bytes": (s) => s.counters.uplink.bytes,
  "downlink.rate": (s) => rateOf(s.id, "downlink")?.bits ?? null,
  "downlink.bytes": (s) => s.counters.downlink.bytes,
  changed: (s) => Date.parse(s.updated_at),
};

/* From what was counted when the session was asked for the time before. */
const rateOf = (id, way) => list.rates.get(id)?.[way] ?? null;

function readRates(items, at) {
  const [counted, rates] = [new Map(), new Map()];
  for (const session of items) {
    const before = list.counted.get(session.id);
    const { counters, created_at: made } = session;
    if (!before || before.made !== made) {
      counted.set(session.id, { at, made, counters });
      continue;
    }
    const passed = at - before.at;
    if (passed < LEAST_S) {
      counted.set(session.id, before);
      rates.set(session.id, list.rates.get(session.id));
      continue;
    }
    counted.set(session.id, { at, made, counters });
    const ways = ["uplink", "downlink"].map((way) => [
      way,
      rateBetween(before.counters[way], counters[way], passed),
    ]);
    rates.set(session.id, Object.fromEntries(ways));
  }
  list.counted = counted;
  list.rates = rates;
}

/* Packets and bits a second, between two readings of a counter. */
const rateBetween = (before, now, seconds) => ({
  packets: Math.max(0, now.packets - before.packets) / seconds,
  bits: (8 * Math.max(0, now.bytes - before.bytes)) / seconds,
});

function showList(items, filtered) {
  if (!items.length) {
    $("listed").replaceChildren(filtered ? nothingFound() : noSessions());
    return;
  }
  const sorted = list.order.sorted(items, (session, key) => SORTED_BY[key](session));
  list.rows.show(sorted.map((session) => [session.id, session]));
  if (!list.table.isConnected) $("listed").replaceChildren(list.table);
}

function nothingFound() {
  const clear = el(
    "button",
    { type: "button", onclick: () => showSessions({}) },
    "Show all sessions",
  );
  return el("div", { class: "empty" }, el("p", {}, "No session is like that."), clear);
}

function noSessions() {
  const pools = page.gateways[0]?.ue_pools ?? ["10.45.0.0/16"];
  const pool = pools.find((each) => !each.includes(":"));
  const ue = pool
    ? pool.split("/")[0].replace(/\d+$/, (last) => Number(last) + 2)
    : `${pools[0].split("/")[0]}/64`;
  const [option, member] = pool ? ["--ue-ip", "ue_ip"] : ["--ue-ipv6", "ue_ipv6"];
  const peer =
    page.gateways[0]?.access.ip
      .split("/")[0]
      .replace(/\d+$/, (last) => (Number(last) === 2 ? 3 : 2)) ?? "10.1.0.2";
  const brief = `ofgtp session add phone-1 ${option} ${ue} --peer ${peer} --teid 0x2001`;
  const token = api.token ? ' \\\n    -H "Authorization: Bearer $(cat TOKEN_FILE)"' : "";
  const session = `{"id": "phone-1", "${member}": "${ue}", \n            "downlink": {"teid": 8193, "remote_ip": "${peer}"}}`;
  const command = `curl ${location.origin}/v1/sessions${token} \\\n    --json '${session}'`;
  return el(
    "div",
    { class: "empty" },
    el(
      "p",
      {},
      "There are no sessions yet. On the gateway's host, this makes one, with a base station at ",
      el("code", {}, peer),
      ":",
    ),
    el("pre", {}, brief),
    el("p", {}, "and so does this, from anywhere that reaches the API:"),
    el("pre", {}, command),
    copier("Copy", () => command),
  );
}

/* How many sessions some gateways have, by state; in all under "". */
function countsOf(gateways) {
  const counts = Object.fromEntries(["", ...STATES].map((state) => [state, 0]));
  for (const gateway of gateways)
    for (const state of STATES) {
      counts[state] += gateway.sessions[state] ?? 0;
      counts[""] += gateway.sessions[state] ?? 0;
    }
  return counts;
}

function showStates() {
  const counts = countsOf(page.gateways);
  const all = counts[""];
  const chosen = (state) => {
    list.filter.state = state;
    listAgain();
  };
  chips($("states"), STATES, chosen, spoken);
  markChips($("states"), STATES, list.filter.state, (state) => (state ? counts[state] : all));
  gatewayChoice($("gateway"), list.filter.gateway);
}

/* Buttons that choose one of some states, or all: made once. */
function chips(root, states, chosen, words) {
  if (root.children.length) return;
  for (const state of ["", ...states])
    root.append(
      el(
        "button",
        { type: "button", class: `chip ${state}`, onclick: () => chosen(state) },
        el("span", {}, state ? words(state) : "all"),
        " ",
        el("b", {}),
      ),
    );
}

/* How many there are in each, and which is chosen. */
function markChips(root, states, chosen, count) {
  ["", ...states].forEach((state, i) => {
    const chip = root.children[i];
    setText(chip.lastChild, whole(count(state)));
    chip.setAttribute("aria-pressed", String(chosen === state));
    chip.classList.toggle("none", Boolean(state) && !count(state));
  });
}

/* Where there are several gateways: the one to show. */
function gatewayChoice(choices, chosen) {
  const names = page.gateways.map((gateway) => gateway.name);
  choices.hidden = names.length < 2;
  if (choices.dataset.names !== names.join(" ")) {
    choices.dataset.names = names.join(" ");
    choices.replaceChildren(
      el("option", { value: "" }, "on any gateway"),
      ...names.map((name) => el("option", { value: name }, `on ${name}`)),
    );
    choices.value = chosen;
  }
}

function wireSessions() {
  const sort = () => {
    if (!list.shown) return;
    sayList();
    showList(list.shown.items, Boolean(list.told || list.filter.state || list.filter.gateway));
  };
  list.order = new Order(COLUMNS, sort);
  list.rows = new Rows(COLUMNS);
  list.table = el(
    "table",
    { class: "list sessions", "aria-labelledby": "sessions-title" },
    list.order.root,
    list.rows.body,
  );
  $("search").append(list.order.choice);
  const soon = (ms) => {
    clearTimeout(list.timer);
    list.timer = setTimeout(listAgain, ms);
  };
  $("query").addEventListener("input", () => soon(250));
  $("field").addEventListener("change", () => soon(0));
  $("gateway").addEventListener("change", () => {
    list.filter.gateway = $("gateway").value;
    soon(0);
  });
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    soon(0);
  });
  $("next").addEventListener("click", () => {
    list.cursors.push(list.shown.next);
    turnPage();
  });
  $("previous").addEventListener("click", () => {
    list.cursors.pop();
    turnPage();
  });
  const turnPage = () => {
    $("next").disabled = $("previous").disabled = true;
    page.hurry("sessions"); // once more, for the rates
    listSessions().then(() => $("sessions").scrollIntoView({ block: "start" }), page.failed);
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || $("details").open) return;
    event.preventDefault();
    $("query").focus();
  });
}
