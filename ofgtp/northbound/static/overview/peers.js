/* GTP-U peers: all of them, by pages that the API puts in order. */
"use strict";

const PEERS_PAGE = 15;
const PEER_STATES = ["down", "unknown", "up"];
const PEER_WORDS = { down: "down", unknown: "never answered", up: "up" };

const peerList = { state: "", gateway: "", offset: 0, asked: 0, total: 0, order: null, rows: null };

const PEER_COLUMNS = [
  {
    name: "State",
    key: "state",
    content: ({ state }) =>
      el(
        "span",
        { class: `badge ${PLANE_STATES[state] ?? ""}`, title: PATHS[state] ?? null },
        PEER_WORDS[state] ?? state,
      ),
  },
  {
    name: "Address",
    kind: "data wrap",
    key: "address",
    content: (peer) =>
      el(
        "span",
        {},
        el(
          "button",
          {
            type: "button",
            class: "link",
            "aria-label": `${peer.ip}: show its sessions`,
            onclick: () => showSessions({ gateway: peer.gateway, peer: peer.ip }),
          },
          peer.ip,
        ),
        page.gateways.length > 1 ? el("small", { class: "below" }, peer.gateway) : null,
      ),
  },
  {
    name: "Sessions",
    kind: "number",
    key: "sessions",
    falls: true,
    content: (peer) => whole(peer.sessions),
  },
  {
    name: "Next hop",
    kind: "data wrap",
    key: "next_hop",
    content: (peer) =>
      peer.next_hop === null
        ? el("span", { class: "wrong", title: "See access_routes in ofgtp.toml" }, "no route")
        : peer.next_hop.ip === peer.ip
          ? "itself"
          : peer.next_hop.ip,
  },
  {
    name: "MAC address",
    kind: "data",
    content: ({ next_hop: hop }) =>
      hop === null ? "–" : (hop.mac ?? el("span", { class: "wrong" }, "no answer")),
  },
  {
    name: "Last Echo",
    kind: "quiet",
    key: "answered",
    falls: true,
    content: (peer) =>
      el(
        "span",
        {
          title: `asked ${ago(peer.echo_sent_at)}; asked us ${ago(peer.echo_heard_at)}`,
        },
        peer.echo_answered_at === null ? "no answer yet" : `answered ${ago(peer.echo_answered_at)}`,
      ),
  },
];

/* Set what is shown of them, and go there. */
function showPeers({ state = "", gateway = "" }) {
  peerList.state = state;
  peerList.gateway = gateway;
  $("peer-gateway").value = gateway;
  peersAgain();
  $("peers").scrollIntoView({ block: "start" });
  $("peers-title").focus({ preventScroll: true });
}

function peersAgain() {
  peerList.offset = 0;
  showPeerStates();
  return listPeers().catch(page.failed);
}

/* Ask for the page, and show it unless another one was asked for meanwhile. */
async function listPeers() {
  const turn = (peerList.asked += 1);
  const { order, state, gateway } = peerList;
  const answer = await api.get("/v1/peers", {
    ...{ state, gateway, limit: PEERS_PAGE, offset: peerList.offset },
    ...(order.key ? { sort: order.key, order: order.falls ? "desc" : "asc" } : {}),
  });
  if (turn !== peerList.asked) return;
  peerList.total = answer.total;
  if (!answer.items.length && peerList.offset) {
    // Those of this page are gone.
    peerList.offset = Math.max(0, PEERS_PAGE * Math.floor((answer.total - 1) / PEERS_PAGE));
    return listPeers();
  }
  peerList.rows.show(answer.items.map((peer) => [`${peer.gateway} ${peer.ip}`, peer]));
  const some = answer.items.length > 0;
  $("peer-list").hidden = !some;
  const [first, last] = [peerList.offset + 1, peerList.offset + answer.items.length];
  const none = state || gateway ? "No peer is like that." : "No session names a peer yet.";
  const part = `${whole(first)} to ${whole(last)} of ${whole(answer.total)}`;
  setText($("peers-told"), some ? part : none);
  $("peers-paging").hidden = answer.total <= PEERS_PAGE;
  $("peers-previous").disabled = !peerList.offset;
  $("peers-next").disabled = last >= answer.total;
}

/* How many there are in each state, of the gateway that is shown or of all. */
function showPeerStates() {
  const shown = page.gateways.filter(({ name }) => !peerList.gateway || name === peerList.gateway);
  const count = (state) => shown.reduce((sum, gateway) => sum + (gateway.paths[state] ?? 0), 0);
  const all = PEER_STATES.reduce((sum, state) => sum + count(state), 0);
  const chosen = (state) => {
    peerList.state = state;
    peersAgain();
  };
  chips($("peer-states"), PEER_STATES, chosen, (state) => PEER_WORDS[state]);
  markChips($("peer-states"), PEER_STATES, peerList.state, (state) => (state ? count(state) : all));
  gatewayChoice($("peer-gateway"), peerList.gateway);
}

function wirePeers() {
  peerList.order = new Order(PEER_COLUMNS, peersAgain, "state");
  peerList.rows = new Rows(PEER_COLUMNS);
  $("peer-list").append(
    el(
      "table",
      { class: "list peers", "aria-labelledby": "peers-title" },
      peerList.order.root,
      peerList.rows.body,
    ),
  );
  $("peer-tools").append(peerList.order.choice);
  $("peer-gateway").addEventListener("change", () => {
    peerList.gateway = $("peer-gateway").value;
    peersAgain();
  });
  const turnPage = (by) => {
    peerList.offset = Math.max(0, peerList.offset + by);
    listPeers().catch(page.failed);
  };
  $("peers-previous").addEventListener("click", () => turnPage(-PEERS_PAGE));
  $("peers-next").addEventListener("click", () => turnPage(PEERS_PAGE));
}
