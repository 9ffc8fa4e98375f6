// A page for unit tests: just enough DOM, a powerbi-client that records what it is told,
// and a broker whose answers the test decides. Time is node's mock clock.
import { mock } from "node:test";

export const START = Date.parse("2026-01-01T09:00:00Z");
const MINUTE = 60_000;

class Component extends EventTarget {
  constructor(kind, element, config) {
    super();
    Object.assign(this, { kind, element, config: { embedUrl: "https://app.powerbi.com/reportEmbed", ...config } });
    this.calls = [];
    this.saved = true;
  }
  on(name, handler) { this.addEventListener(name, handler); }
  raise(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
  async setAccessToken(token) {
    this.calls.push(["setAccessToken", token]);
    if (this.refuses) throw this.refuses;
    this.config.accessToken = token;
    this.element.powerbi.accessToken = token;
  }
  async isSaved() { return this.saved; }
  async reload() { this.calls.push(["reload"]); }
}

export class Powerbi {
  accessToken = "of somebody else";
  log = [];
  make(kind, element, config) {
    this.log.push([kind, config.type, config.accessToken]);
    if (this.throws) throw this.throws;
    const reused = kind === "embed" && element.component?.config.type === config.type;
    if (reused) element.component.config = { ...element.component.config, ...config };
    else element.component = new Component(kind, element, config);
    element.powerbi = this;
    return element.component;
  }
  bootstrap(element, config) { return this.make("bootstrap", element, config); }
  embed(element, config) { return this.make("embed", element, config); }
  createReport(element, config) { return this.make("createReport", element, { ...config, type: "create" }); }
  reset(element) { this.log.push(["reset"]); element.component = null; }
}

export class Element {
  hover = false;
  attributes = new Map();
  matches() { return this.hover; }
  contains(other) { return other === this; }
  removeAttribute(name) { this.attributes.delete(name); }
}

export function openPage() {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: START });
  const page = { requests: [], bearers: [], answers: [], errors: [], powerbi: new Powerbi(), element: new Element() };
  const document = Object.assign(new EventTarget(), { visibilityState: "visible", hidden: false, activeElement: null });
  const window = new EventTarget();
  globalThis.document = document;
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.fetch = async (url, { headers, body, signal }) => {
    page.requests.push({ url, body: JSON.parse(body), at: Date.now() });
    page.bearers.push(headers.Authorization);
    const answer = page.answers.length > 1 ? page.answers.shift() : page.answers[0];
    const made = typeof answer === "function" ? answer(page.requests.length) : answer;
    if (made instanceof Promise) return made;
    if (made instanceof Error) throw made;
    signal.throwIfAborted();
    return new Response(JSON.stringify(made.body), { status: made.status, headers: made.headers });
  };
  page.document = document;
  page.window = window;
  // The clock goes on, timers do not: a hidden tab, a closed laptop.
  page.sleep = (milliseconds) => mock.timers.setTime(Date.now() + milliseconds);
  page.tick = async (milliseconds) => {
    for (const end = Date.now() + milliseconds; Date.now() < end;) {
      mock.timers.tick(Math.min(1_000, end - Date.now()));
      await settle();
    }
  };
  page.close = () => {
    mock.timers.reset();
    delete globalThis.document;
    delete globalThis.addEventListener;
  };
  return page;
}

/** Lets every promise that can go on go on. */
export async function settle() {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}

/** The broker's answer number `n`: an hour of life, renewal after 52 minutes. */
export function minted({ renewal = "set_access_token", items = ["sales"], life = 60 * MINUTE, after = 52 * MINUTE, ...config } = {}) {
  return (n) => {
    const token = `token-${n}`;
    const at = (offset) => new Date(Date.now() + offset).toISOString();
    const embedConfig = {
      type: "report", id: "r1", embedUrl: "https://app.powerbi.com/reportEmbed?reportId=r1", tokenType: 1, ...config, accessToken: token,
    };
    return {
      status: 200,
      body: { token, tokenId: `id-${n}`, expiration: at(life), refreshAfter: at(after), items: items.map((item) => ({ item, renewal, embedConfig })) },
    };
  };
}

export function refused(status, code, { retryable = status >= 500 || status === 429, ...headers } = {}) {
  return { status, headers, body: { status, code, title: code, detail: `${code} in words`, retryable, request_id: "q1" } };
}

export function options(page, more) {
  return {
    item: "sales",
    brokerUrl: "https://broker.example/",
    getUserToken: ({ forceRefresh }) => (forceRefresh ? "fresh" : "jwt"),
    powerbi: page.powerbi,
    onError: (error) => page.errors.push(error),
    ...more,
  };
}
