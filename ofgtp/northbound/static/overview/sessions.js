/* Sessions: search, and pages of what is found. */
"use strict";

const PAGE = 50;
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
  timer: 0,
};

/* Set what is asked for and go there: {state, peer, gateway}; what is not given is taken away. */
function showSessions({ state = "", peer = "", gateway = "" }) {
  $("query").value = peer;
  $("field").value = peer && isUe(peer) ? "peer" : "";
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
  if (IPV6.test(words)) return ["ue_ipv6", "id"];
  return TEID.test(words) && Number(words) < 2 ** 32 ? ["teid", "id"] : ["id"];
}

function isUe(ip) {
  const number = (dotted) => dotted.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return page.gateways.some((gateway) =>
    gateway.ue_pools.some((pool) => {
      if (pool.includes(":")) return false;
      const [base, bits] = pool.split("/");
      const size = 2 ** (32 - Number(bits));
      return Math.floor(number(ip) / size) === Math.floor(number(base) / size);
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
        answer = await api.get("/v1/sessions", field ? { ...asked, [field]: words } : asked);
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
  setText($("told"), saidOfList(answer, told));
  showList(answer.items, Boolean(told || list.filter.state || list.filter.gateway));
  $("paging").hidden = answer.next === null && list.cursors.length === 1;
  $("next").disabled = answer.next === null;
  $("previous").disabled = list.cursors.length === 1;
}

function saidOfList({ items, next }, told) {
  const wanted = [told, list.filter.state && `the state is ${spoken(list.filter.state)}`].filter(
    Boolean,
  );
  const where = wanted.length ? ` where ${wanted.join(" and ")}` : "";
  const first = (list.cursors.length - 1) * PAGE;
  if (!items.length) return where ? `None${where}.` : "";
  if (next === null && !first) return `${plural(items.length, "session")}${where}`;
  return `${whole(first + 1)} to ${whole(first + items.length)}${where}`;
}

/* A UE's addresses, each on a line of its own. */
function ues({ ue_ip: ip, ue_ipv6: prefix }) {
  if (ip && prefix) return el("span", {}, ip, el("br"), prefix);
  return ip ?? prefix ?? "a relay";
}

const COLUMNS = [
  ["State", "", (s) => badge(s.state)],
  [
    "Session",
    "id",
    (s) =>
      el(
        "span",
        {},
        el("button", { type: "button", class: "link", onclick: () => showDetails(s.id) }, s.id),
        s.owner ? el("span", { class: "quiet", title: "Made by PFCP" }, ` ${s.owner.node_id}`) : null,
      ),
  ],
  ["UE address", "data ue", ues],
  ["Uplink TEID", "data", (s) => (s.uplink ? hex(s.uplink.teid) : "none")],
  [
    "Downlink",
    "data far",
    (s) => (s.downlink ? `${hex(s.downlink.teid)} @ ${s.downlink.remote_ip}` : "none: idle"),
  ],
  ["↑ Packets", "number", (s) => whole(s.counters.uplink.packets)],
  ["↓ Packets", "number", (s) => whole(s.counters.downlink.packets)],
  ["Changed", "quiet", (s) => ago(s.updated_at)],
];

/* The same sessions in the same order: their cells change, and nothing loses the focus. */
function showList(items, filtered) {
  const ids = items.map((session) => session.id).join(" ");
  const body = $("listed").querySelector("tbody");
  if (body && ids === list.ids) {
    [...body.rows].forEach((row, i) => fillRow(row, items[i]));
    return;
  }
  list.ids = ids;
  if (!items.length) {
    $("listed").replaceChildren(filtered ? nothingFound() : noSessions());
    return;
  }
  const rows = items.map((session) => {
    const row = el(
      "tr",
      {},
      COLUMNS.map(([name, kind]) => el("td", { class: kind || null, "data-name": name })),
    );
    fillRow(row, session);
    return row;
  });
  const head = el(
    "tr",
    {},
    COLUMNS.map(([name, kind]) =>
      el("th", { class: kind === "number" ? kind : null, scope: "col" }, name),
    ),
  );
  $("listed").replaceChildren(
    el("table", { class: "sessions" }, el("thead", {}, head), el("tbody", {}, rows)),
  );
}

function fillRow(row, session) {
  COLUMNS.forEach(([, , content], i) => {
    const now = content(session);
    if (row.cells[i].textContent !== (typeof now === "string" ? now : now.textContent))
      row.cells[i].replaceChildren(now);
  });
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

function showStates() {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const gateway of page.gateways)
    for (const state of STATES) counts[state] += gateway.sessions[state] ?? 0;
  const all = STATES.reduce((sum, state) => sum + counts[state], 0);
  const chips = $("states");
  if (!chips.children.length) {
    for (const state of ["", ...STATES]) {
      const choose = () => {
        list.filter.state = state;
        listAgain();
      };
      chips.append(
        el(
          "button",
          { type: "button", class: `chip ${state}`, onclick: choose },
          el("span", {}, state ? spoken(state) : "all"),
          " ",
          el("b", {}),
        ),
      );
    }
  }
  ["", ...STATES].forEach((state, i) => {
    setText(chips.children[i].lastChild, whole(state ? counts[state] : all));
    chips.children[i].setAttribute("aria-pressed", String(list.filter.state === state));
    chips.children[i].classList.toggle("none", Boolean(state) && !counts[state]);
  });
  const names = page.gateways.map((gateway) => gateway.name);
  const choices = $("gateway");
  choices.hidden = names.length < 2;
  if (choices.dataset.names !== names.join(" ")) {
    choices.dataset.names = names.join(" ");
    choices.replaceChildren(
      el("option", { value: "" }, "on any gateway"),
      ...names.map((name) => el("option", { value: name }, `on ${name}`)),
    );
    choices.value = list.filter.gateway;
  }
}

function wireSessions() {
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
    listSessions().then(() => $("sessions").scrollIntoView({ block: "start" }), page.failed);
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || $("details").open) return;
    event.preventDefault();
    $("query").focus();
  });
}
