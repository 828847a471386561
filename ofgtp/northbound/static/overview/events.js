/* What happens, as it happens. */
"use strict";

const KEPT_EVENTS = 300; // of single sessions, and as many of all else: many do not push the few out
const DRAWN_EVENTS = 200;

const told = { session: [], rest: [], paused: false, missed: 0, due: false, number: 0 };

const SENTENCES = {
  connected: (e) => `The switch connected (Open vSwitch ${e.ovs_version}).`,
  disconnected: () => "The switch disconnected.",
  in_sync: (e) => `The switch has the sessions' flows: ${plural(e.flows_changed, "flow")} changed.`,
  repaired: (e) => `Put right: ${e.what}.`,
  lease_expired: () => "The lease ran out: forwarding ended until it was renewed.",
  session_created: (e) => spoken(e.state),
  session_changed: (e) => spoken(e.state),
  session_deleted: () => "",
  path_up: (e) => `The path to ${e.peer} is up (${plural(e.sessions, "session")}).`,
  path_down: (e) => `The path to ${e.peer} is down (${plural(e.sessions, "session")}).`,
  sessions_removed: (e) =>
    `${plural(e.deleted, "session")} of ${e.peer} removed, whose path is down.`,
  error_indicated: (e) =>
    `${e.peer} does not know the tunnel ${hex(e.teid)}: its downlink is stopped.`,
  batch: (e) =>
    `A batch: ${whole(e.created)} made, ${whole(e.replaced)} replaced, ${whole(e.deleted)} deleted.`,
};
const GRAVE = new Set([
  "disconnected",
  "lease_expired",
  "path_down",
  "sessions_removed",
  "error_indicated",
]);
const GOOD = new Set(["connected", "in_sync", "path_up"]);

const PEERS_CHANGE = new Set(["path_up", "path_down", "in_sync", "sessions_removed", "batch"]);

const CLASSES = {
  all: () => true,
  rest: (kind) => !kind.startsWith("session_"),
  session: (kind) => kind.startsWith("session") || kind === "error_indicated" || kind === "batch",
  path: (kind) =>
    kind.startsWith("path_") || kind === "sessions_removed" || kind === "error_indicated",
  gateway: (kind) =>
    ["connected", "disconnected", "in_sync", "repaired", "lease_expired"].includes(kind),
};

function sentence(event) {
  const known = SENTENCES[event.kind];
  if (known) return known(event);
  const facts = Object.entries(event).filter(
    ([key]) => !["at", "kind", "id", "gateway", "session", "number"].includes(key),
  );
  return facts.map(([key, value]) => `${key}=${value}`).join(" ");
}

function takeEvents(events) {
  for (const event of events) {
    event.number = told.number += 1;
    const kept = event.kind.startsWith("session_") ? told.session : told.rest;
    kept.push(event);
    if (kept.length > 2 * KEPT_EVENTS) kept.splice(0, KEPT_EVENTS);
  }
  if (told.paused) told.missed += events.length;
  if (events.some((event) => PEERS_CHANGE.has(event.kind))) {
    page.hurry("peers");
    page.hurry("peerList");
  }
  if (events.some((event) => event.kind.startsWith("session") || event.kind === "batch"))
    page.hurry("sessions");
  showEventsSoon();
}

/* At most a few times a second, however many come. */
function showEventsSoon() {
  if (told.due) return;
  told.due = true;
  setTimeout(() => {
    told.due = false;
    showEvents();
  }, 200);
}

function showEvents() {
  setText(
    $("pause"),
    told.paused ? `Go on${told.missed ? ` (${whole(told.missed)} more)` : ""}` : "Pause",
  );
  if (told.paused) return;
  const fits = CLASSES[$("kinds").value];
  const words = $("words").value.trim().toLowerCase();
  const wanted = [...told.session, ...told.rest]
    .filter((event) => fits(event.kind))
    .sort((one, other) => other.number - one.number)
    .map((event) => ({ event, line: sentence(event) }))
    .filter(
      ({ event, line }) =>
        !words ||
        `${event.kind} ${event.gateway ?? ""} ${event.session ?? ""} ${line}`
          .toLowerCase()
          .includes(words),
    )
    .slice(0, DRAWN_EVENTS);
  $("log").replaceChildren(...wanted.map(({ event, line }) => eventItem(event, line)));
  if (!wanted.length) {
    const any = told.session.length + told.rest.length;
    $("log").append(
      el("li", { class: "note" }, any ? "No event is like that." : "Nothing has happened yet."),
    );
  }
}

function eventItem(event, line) {
  const weight = GRAVE.has(event.kind)
    ? "bad"
    : GOOD.has(event.kind)
      ? "good"
      : event.kind === "repaired"
        ? "warn"
        : "";
  const gone = event.kind === "session_deleted";
  const session =
    event.session === undefined
      ? null
      : gone
        ? el("span", { class: "data" }, event.session)
        : el("a", { class: "link", href: linkTo(event.session) }, event.session);
  return el(
    "li",
    { class: weight || null },
    el(
      "time",
      { datetime: event.at, title: new Date(event.at).toLocaleString("en-GB") },
      clock(event.at),
    ),
    el(
      "div",
      {},
      el("span", { class: "kind" }, spoken(event.kind)),
      event.gateway && page.gateways.length > 1
        ? el("span", { class: "note" }, ` ${event.gateway}`)
        : null,
      " ",
      session,
      session ? " " : null,
      line,
    ),
  );
}

function wireEvents() {
  $("kinds").addEventListener("change", showEvents);
  $("words").addEventListener("input", showEventsSoon);
  $("pause").addEventListener("click", () => {
    told.paused = !told.paused;
    told.missed = 0;
    $("pause").setAttribute("aria-pressed", String(told.paused));
    showEvents();
  });
}
