/* The REST API. The token is sent in a header and nowhere else, and kept for this tab. */
"use strict";

const PATIENCE_MS = 10_000;
const SILENCE_MS = 40_000; // a stream of events says something every 15 s

class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const api = {
  token: sessionStorage.getItem("ofgtp-token") ?? "",
  ahead: 0, // ms that the server's clock is before this one

  keep(token) {
    this.token = token;
    if (token) sessionStorage.setItem("ofgtp-token", token);
    else sessionStorage.removeItem("ofgtp-token");
  },

  now() {
    return Date.now() + this.ahead;
  },

  async ask(path, headers, signal) {
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const options = { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" };
    const response = await fetch(path, options);
    const date = Date.parse(response.headers.get("Date") ?? "");
    // A whole second is all that the header tells.
    if (date && Math.abs(date + 500 - this.now()) > 1500) this.ahead = date + 500 - Date.now();
    return response;
  },

  /* JSON; `also` is a status beside 2xx that has an answer. */
  async get(path, query = {}, also = 0) {
    const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
    const url = given.length ? `${path}?${new URLSearchParams(given)}` : path;
    const response = await this.ask(url, {}, AbortSignal.timeout(PATIENCE_MS));
    if (response.ok || response.status === also) return response.json();
    throw await refusal(response);
  },
};

async function refusal(response) {
  let detail = response.statusText;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // not a problem document: the status has to do
  }
  return new ApiError(response.status, detail);
}

/* Events by `fetch`: an EventSource cannot send the token. After a loss it goes on where it was. */
class EventStream {
  constructor(take, say) {
    this.take = take;
    this.say = say;
    this.last = "0"; // of no run of the controller: all that is kept
    this.run = null; // names the loop that reads
  }

  start() {
    if (this.run !== null) return;
    this.run = Symbol("run");
    this.loop(this.run);
  }

  stop() {
    this.run = null;
    this.abort?.abort();
    this.wake();
  }

  /* Try now, if it waits to try again. */
  wake() {
    this.resume?.();
  }

  async loop(run) {
    let pause = 1000;
    while (this.run === run) {
      const abort = (this.abort = new AbortController());
      try {
        await this.read(abort, () => (pause = 1000));
        if (this.run === run) this.say("The stream of events ended; it is opened again.");
      } catch (error) {
        if (this.run !== run) return;
        if (error.status === 401) return this.stop();
        const why = error instanceof ApiError ? `${error.status}: ${error.message}` : "no answer";
        this.say(`No stream of events (${why}); it is tried again.`);
      }
      abort.abort();
      await new Promise((resolve) => {
        this.resume = resolve;
        setTimeout(resolve, pause);
      });
      pause = Math.min(pause * 2, 15_000);
    }
  }

  async read(abort, opened) {
    let timer = setTimeout(() => abort.abort(), PATIENCE_MS);
    try {
      const response = await api.ask("/v1/events", { "Last-Event-ID": this.last }, abort.signal);
      if (!response.ok) throw await refusal(response);
      opened();
      this.say("");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), SILENCE_MS);
        const { done, value } = await reader.read();
        if (done) return;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        this.deliver(blocks);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  deliver(blocks) {
    const events = [];
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block
          .split("\n")
          .map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]),
      );
      if (fields.data === undefined) continue; // a comment
      this.last = fields.id;
      events.push({ ...JSON.parse(fields.data), id: fields.id });
    }
    if (events.length) this.take(events);
  }
}
