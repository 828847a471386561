/* The page: asks every two seconds as long as somebody looks at it, and says how old its data is. */
"use strict";

const EVERY_MS = 2000;
const STALE_S = 7;
const AGAIN_S = 75; // of the history

const page = {
  gateways: [],
  peers: [],
  nodes: [], // of PFCP
  health: null,
  historyAt: null, // when it was asked for, by performance.now() in seconds
  answeredAt: null, // of the last whole answer, by performance.now()
  error: null,
  timer: 0,
  running: false,
  turn: 0,
  wanted: new Set(),

  /* Have a chore done at the next turn. */
  hurry(chore) {
    this.wanted.add(chore);
  },

  failed: (error) => {
    if (error.status === 401) askForToken();
    else {
      page.error = error;
      showPulse();
    }
  },
};

/* Beside the gateways, which are asked for each time, one of these a turn. */
const CHORES = {
  health: async () => (page.health = await api.get("/v1/health", {}, 503)),
  history: () => askHistory(),
  peers: async () => (page.peers = (await api.get("/v1/peers", { worst: SHOWN_PEERS })).items),
  peerList: () => listPeers(),
  nodes: async () => (page.nodes = (await api.get("/v1/pfcp")).items),
  sessions: () => (detail.id === null ? listSessions() : refreshDetails()),
};

async function askGateways() {
  const { items } = await api.get("/v1/gateways");
  const at = performance.now() / 1000;
  page.gateways = items;
  readGateways(at, items);
}

/* The points of the last ten minutes that are not here yet; the last ones again, since their drops
   may have been read meanwhile. */
async function askHistory() {
  const now = performance.now() / 1000;
  const since = page.historyAt === null ? SPAN_S : now - page.historyAt + AGAIN_S;
  const seconds = Math.ceil(Math.min(SPAN_S, since));
  const { items } = await api.get("/v1/history", { seconds });
  page.historyAt = now;
  readHistory(items);
}

/* Who looks at one session wants it fresh. */
function nextChore() {
  const names =
    detail.id === null
      ? ["history", "sessions", "peers", "history", "sessions", "peerList", "health"]
      : ["sessions", "history", "sessions", "peers", "sessions", "health"];
  if (page.nodes.length) names.push("nodes");
  const due = names[(page.turn += 1) % names.length];
  const [hurried] = page.wanted;
  const chore = hurried ?? due;
  page.wanted.delete(chore);
  return CHORES[chore];
}

async function turn() {
  clearTimeout(page.timer);
  if (page.running || document.hidden) return;
  page.running = true;
  try {
    await askGateways();
    if (page.answeredAt === null || page.error !== null) {
      const first = ["health", "history", "peers", "peerList", "nodes"];
      await Promise.all(first.map((name) => CHORES[name]()));
      await listSessions();
    } else {
      await nextChore()();
    }
    page.answeredAt = performance.now();
    if (page.error !== null) stream.wake();
    page.error = null;
    $("ask").hidden = true;
    $("main").hidden = false;
    $("contents").hidden = false;
    show();
    stream.start();
    openFromAddress();
  } catch (error) {
    page.failed(error);
  } finally {
    page.running = false;
  }
  if ($("ask").hidden) page.timer = setTimeout(turn, EVERY_MS);
}

function show() {
  $("forget").hidden = !api.token;
  showGateways(page.gateways, page.peers, page.nodes);
  showStates();
  showPeerStates();
  showVerdict();
  showPulse();
}

/* ---- the first line */

function showVerdict() {
  const found = verdict(page.health, page.gateways, page.peers, rising);
  const bad = found.filter((each) => each.level === BAD).length;
  const warned = found.length - bad;
  const warnings = warned ? plural(warned, "warning") : "";
  const title = bad
    ? `${plural(bad, "fault")}${warned ? ` and ${warnings}` : ""}`
    : warned
      ? `Working, with ${warnings}`
      : "All is well";
  const shown = JSON.stringify([
    title,
    found.map(({ level, text, todo }) => [level, text, todo]),
    found.length ? "" : allWell(page.gateways),
  ]);
  if (shown === page.verdictShown) return;
  page.verdictShown = shown;
  document.title = `${bad ? "✕ " : found.length ? "! " : "✓ "}ofgtp: ${title.toLowerCase()}`;
  $("verdict").className = bad ? "bad" : found.length ? "warn" : "good";
  $("verdict").replaceChildren(
    el(
      "h2",
      {},
      el("span", { class: "sign", "aria-hidden": "true" }, bad ? "✕" : found.length ? "!" : "✓"),
      title,
    ),
    found.length
      ? el(
          "ul",
          {},
          found.map(({ level, text: what, todo, action }) =>
            el(
              "li",
              { class: level === BAD ? "bad" : "warn" },
              el("b", {}, what),
              todo ? ` ${todo}` : null,
              action
                ? [
                    " ",
                    el(
                      "button",
                      { type: "button", class: "link", onclick: action.run },
                      action.text,
                    ),
                  ]
                : null,
            ),
          ),
        )
      : el("p", {}, allWell(page.gateways)),
  );
}

/* How fresh it all is; and when it is not, that is the first line. */
function showPulse() {
  const since = page.answeredAt === null ? null : (performance.now() - page.answeredAt) / 1000;
  const stale = page.error !== null || since === null || since > STALE_S;
  document.body.classList.toggle("stale", stale && !$("main").hidden);
  if (!stale) {
    setText($("pulse"), "live");
    $("pulse").className = "live";
    return;
  }
  if (!$("ask").hidden) return setText($("pulse"), "");
  const known = page.error instanceof ApiError;
  const words = since === null ? "No answer" : `No answer since ${duration(since)}`;
  const said = known ? `The API answers ${page.error.status}` : words;
  setText($("pulse"), since === null && page.error === null ? "asking …" : said.toLowerCase());
  $("pulse").className = "late";
  if (page.error === null && since === null) return;
  $("main").hidden = false;
  $("contents").hidden = page.answeredAt === null;
  page.verdictShown = null;
  document.title = `✕ ofgtp: ${said.toLowerCase()}`;
  $("verdict").className = "bad";
  const old = since === null ? "" : ` What is below was so ${duration(since)} ago.`;
  const why = known
    ? page.error.message
    : `Is ofgtp running (systemctl status ofgtp)? It is asked again every ${EVERY_MS / 1000} s.`;
  const shown = [
    el("span", { class: "sign", "aria-hidden": "true" }, "✕"),
    known && since !== null ? `${said} since ${duration(since)}` : said,
  ];
  $("verdict").replaceChildren(
    el("h2", {}, shown),
    el("p", {}, capital(why) + (/[.?!]$/.test(why) ? "" : ".") + old),
  );
}

/* ---- the token */

function askForToken() {
  stream.stop();
  clearTimeout(page.timer);
  const given = api.token !== "";
  api.keep("");
  page.answeredAt = null;
  page.error = null;
  $("main").hidden = true;
  $("forget").hidden = true;
  $("ask").hidden = false;
  if ($("details").open) $("details").close(); // its address stays, and opens it again
  setText($("pulse"), "");
  setText($("refused"), given ? "This token is not accepted." : "");
  $("token").value = "";
  $("token").focus();
  document.title = "ofgtp: the token, please";
}

const stream = new EventStream(takeEvents, (problem) => setText($("stream"), problem));

function begin() {
  setText($("where"), location.host);
  wireSessions();
  wirePeers();
  wireDetails();
  wireEvents();
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const token = $("token").value.trim();
    if (!token) return;
    api.keep(token);
    $("ask").hidden = true;
    turn();
  });
  $("forget").addEventListener("click", () => {
    api.keep("");
    askForToken();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(page.timer);
      stream.stop();
    } else {
      turn();
    }
  });
  setInterval(() => document.hidden || showPulse(), 1000);
  showEvents();
  turn();
}

begin();
