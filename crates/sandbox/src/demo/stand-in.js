// A stand-in for powerbi-client, for the demo page only.
//
// The real one refuses every embedUrl that is not https on a host of Microsoft's, so it cannot
// show the sandbox to a person whose browser resolves names as usual. This one has the same
// surface, speaks the same post-message protocol to the iframe, and puts the sandbox's own
// origin in the place of Microsoft's host. In an application load `powerbi-client` instead;
// nothing else changes. The browser tests run the real one.

const ENDPOINTS = { report: "reportEmbed", visual: "reportEmbed", create: "reportEmbed", dashboard: "dashboardEmbed", tile: "tileEmbed", qna: "qnaEmbed" };
const LOAD = { dashboard: "/dashboard/load", tile: "/tile/load", qna: "/qna/load", create: "/report/create" };
const TOKEN = { dashboard: "/dashboard/token", tile: "/tile/token" };
const EVENT = /^\/(?:reports|dashboards|tile|qna)\/([^/]+)\/events\/(\w+)$/;

class Embed {
  #pending = new Map();
  #iframeLoaded = false;

  constructor(service, element, config) {
    Object.assign(this, { service, element });
    this.uniqueId = crypto.randomUUID();
    this.configure(config);
    const url = new URL(this.config.embedUrl);
    this.iframe = document.createElement("iframe");
    this.iframe.src = `${location.origin}${url.pathname}${url.search ? `${url.search}&` : "?"}uid=${this.uniqueId}`;
    this.iframe.title = "Power BI";
    this.iframe.allowFullscreen = true;
    Object.assign(this.iframe.style, { width: "100%", height: "100%", border: "0" });
    this.iframe.addEventListener("load", () => {
      this.#iframeLoaded = true;
      this.load();
    });
    element.replaceChildren(this.iframe);
  }

  configure(config) {
    const embedUrl = config.embedUrl ?? `${config.hostname ?? "https://app.powerbi.com"}/${ENDPOINTS[config.type]}`;
    this.config = { ...config, embedUrl, uniqueId: this.uniqueId };
  }

  async load() {
    if (this.config.accessToken && this.#iframeLoaded) await this.send("POST", LOAD[this.config.type] ?? "/report/load", this.config);
  }

  reload() { return this.load(); }

  async setAccessToken(token) {
    if (!token) throw new Error("Access token cannot be empty");
    await this.send("POST", TOKEN[this.config.type] ?? "/report/token", token);
    this.config.accessToken = token;
    this.element.setAttribute("powerbi-access-token", token);
    this.service.accessToken = token;
  }

  getAccessToken() { return this.config.accessToken; }
  getId() { return this.config.id; }
  getCorrelationId() { return this.send("GET", "/getCorrelationId"); }
  getPages() { return this.send("GET", "/report/pages"); }
  refresh() { return this.send("POST", "/report/refresh", null); }
  save() { return this.send("POST", "/report/save", null); }
  saveAs(parameters) { return this.send("POST", "/report/saveAs", parameters); }
  switchMode(mode) { return this.send("POST", `/report/switchMode/${mode}`, null); }
  async isSaved() { return !await this.send("GET", "/report/hasUnsavedChanges"); }
  setComponentTitle(title) { this.iframe.title = title; }

  // Like powerbi-client's, handlers are listeners of the element, and reset() removes them.
  on(name, handler) {
    this.handlers ??= [];
    this.handlers.push([name, handler]);
    this.element.addEventListener(name, handler);
  }

  off(name, handler) {
    for (const [known, listener] of this.handlers ?? []) {
      if (known === name && (!handler || handler === listener)) this.element.removeEventListener(known, listener);
    }
  }

  send(method, url, body) {
    const id = crypto.randomUUID();
    const target = this.iframe.contentWindow;
    if (!target) return Promise.reject(new Error("The iframe is gone"));
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      target.postMessage({ method, url, headers: { id, uid: this.uniqueId }, body }, location.origin);
    });
  }

  /** A message from the iframe: an answer to ours, or an event, which is answered. */
  receive({ method, url, headers, body, statusCode }) {
    const waiting = this.#pending.get(headers.id);
    if (waiting) {
      this.#pending.delete(headers.id);
      if (statusCode >= 200 && statusCode < 300) waiting.resolve(body);
      else waiting.reject(body);
      return;
    }
    const event = method === "POST" && EVENT.exec(url);
    if (!event || event[1] !== this.uniqueId) return;
    this.iframe.contentWindow?.postMessage({ statusCode: 200, headers: { id: headers.id }, body: null }, location.origin);
    this.element.dispatchEvent(new CustomEvent(event[2], { detail: body, cancelable: true }));
  }

  remove() {
    for (const [name, listener] of this.handlers ?? []) this.element.removeEventListener(name, listener);
    this.iframe.remove();
  }
}

export class Service {
  accessToken;
  #embeds = new Map();

  constructor() {
    addEventListener("message", ({ source, origin, data }) => {
      if (origin !== location.origin || !data?.headers?.id) return;
      for (const embed of this.#embeds.values()) {
        if (embed.iframe.contentWindow === source) embed.receive(data);
      }
    });
  }

  embed(element, config) {
    const existing = this.#embeds.get(element);
    if (!existing) return this.#make(element, config);
    if (existing.config.type !== config.type) throw new Error("Embedding another type into the same element is not supported");
    existing.configure(config);
    existing.load();
    return existing;
  }

  bootstrap(element, config) {
    if (this.#embeds.has(element)) throw new Error("The element is already a powerbi element");
    return this.#make(element, config);
  }

  load(element, config) { return this.embed(element, config); }

  createReport(element, config) {
    this.reset(element);
    return this.#make(element, { ...config, type: "create" });
  }

  get(element) {
    const embed = this.#embeds.get(element);
    if (!embed) throw new Error("Nothing is embedded in this element");
    return embed;
  }

  reset(element) {
    this.#embeds.get(element)?.remove();
    this.#embeds.delete(element);
  }

  #make(element, config) {
    const embed = new Embed(this, element, config);
    this.#embeds.set(element, embed);
    return embed;
  }
}

export const powerbi = new Service();
