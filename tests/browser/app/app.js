// A page as an application would write it, with a memory for the tests: `app.events` holds what
// the iframe reported, `app.errors` what embed-broker.js did, `app.tokens` each answer of the broker.
import { embed, embedMany } from "/app/embed-broker.js";

const { powerbi } = globalThis;

globalThis.app = {
  events: [],
  errors: [],
  tokens: [],
  saved: [],
  userTokens: [], // whether each was asked for afresh
  persona: "ana",
  oldSignIn: false, // the token that is at hand has expired
  handle: null,

  configure(settings) { Object.assign(this, settings); },

  async userToken({ forceRefresh }) {
    this.userTokens.push(forceRefresh);
    const old = this.oldSignIn && !forceRefresh ? "&expires_in=-3600" : "";
    const response = await fetch(`${this.upstream}/idp/token?persona=${this.persona}${old}`);
    return response.text();
  },

  options(more) {
    return {
      brokerUrl: this.broker,
      powerbi,
      getUserToken: (request) => this.userToken(request),
      onError: (error) => {
        this.errors.push({ code: error.code, status: error.status, message: error.message, retryIn: error.retryIn, requestId: error.requestId });
        document.getElementById("message").textContent = error.message;
      },
      onToken: (answer) => this.tokens.push(answer),
      onSaved: (saved) => this.saved.push(saved),
      onEmbedded: (component, item) => {
        for (const name of ["loaded", "rendered", "error", "saved", "tileLoaded"]) {
          if (component.allowedEvents.includes(name)) component.on(name, ({ detail }) => this.events.push({ name, item, detail }));
        }
      },
      ...more,
    };
  },

  open(options) {
    this.handle = embed(document.getElementById("frame"), this.options(options));
  },

  openMany(items, options) {
    const elements = ["frame", "second"].map((id) => document.getElementById(id));
    this.handle = embedMany(items.map((item, index) => ({ item, element: elements[index] })), this.options(options));
  },

  names() { return this.events.map(({ name }) => name); },
};
