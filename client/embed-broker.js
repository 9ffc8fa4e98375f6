/**
 * embed-broker.js: embeds Power BI items with tokens from embed-broker, and never lets
 * a token die while somebody looks at the report.
 *
 * powerbi-client renews nothing for embed tokens. This file asks the broker for a token,
 * embeds with the configuration that comes back, and renews at `refreshAfter` for as long
 * as the page lives. It holds no secret and decides nothing: which rows and rights the
 * user has is in the token, and the broker made that.
 *
 * ES module, no build step, no dependency but powerbi-client (passed in, or global).
 * Types and the meaning of every option: embed-broker.d.ts. Recipes: README.md.
 */

const MAX_TIMER = 2 ** 31 - 1; // setTimeout fires at once for anything longer
const REQUEST_TIMEOUT = 30_000;
const BACKOFF_LAST = 60_000;
const OPERATOR_RETRY = 300_000; // after a 5xx that only the operator can mend
const CALM = 60_000; // after so long without an expired token, recoveries count from zero
const QUIET_POLL = 1_000;

/** Embeds one item into `element` and keeps it alive until `dispose()`. */
export function embed(element, options) {
  const { item, config } = options;
  return start([{ element, item, config }], options);
}

/** Embeds several items under one shared token. `frames`: `{ element, item, config? }`. */
export function embedMany(frames, options) {
  const items = [...new Set(frames.map(({ item }) => item))];
  return start(frames, { ...options, items });
}

/**
 * Mints and renews without embedding, for wrappers that embed by themselves: `onAnswer`
 * gets the broker's answer now and after each renewal.
 */
export function watchToken(options, onAnswer) {
  const { item, items, target, access, saveAs, onError = console.error } = options;
  const gone = new AbortController();
  let request = { item, items, target, access, save_as: saveAs };
  let busy = null; // never two renewals at once
  let timer, dueAt, lastError;
  let lastRun = 0;
  let failures = 0;
  let recoveries = 0;

  const plan = (at) => {
    dueAt = at;
    clearTimeout(timer);
    if (gone.signal.aborted || at === Infinity) return;
    timer = setTimeout(check, Math.min(at - Date.now(), MAX_TIMER));
  };

  // Timers sleep in hidden tabs and closed laptops, so the clock decides, not the timer.
  const check = () => {
    if (busy) return;
    if (Date.now() < dueAt) plan(dueAt);
    else renew();
  };

  const renew = () => (busy ??= run().finally(() => { busy = null; }));

  const run = async () => {
    plan(Infinity);
    lastRun = Date.now();
    try {
      const answer = await ask(request, options, gone.signal);
      if (gone.signal.aborted) return;
      failures = 0;
      lastError = null;
      plan(renewalTime(answer));
      onAnswer(answer);
    } catch (error) {
      if (!gone.signal.aborted) fail(error);
    }
  };

  const fail = (error) => {
    const wait = error.retryable ? Math.max(error.retryAfter, backoff(failures++))
      : error.status >= 500 ? OPERATOR_RETRY : Infinity;
    error.retryIn = wait / 1000;
    lastError = error;
    plan(Date.now() + wait);
    onError(error);
  };

  // The iframe says that its token is dead: ask at once, but never in a tight loop.
  const recover = () => {
    if (lastError?.retryIn < Infinity) return; // planned, and Retry-After holds here too
    if (Date.now() - lastRun > CALM) recoveries = 0;
    const pause = recoveries ? backoff(recoveries) : 0;
    recoveries++;
    plan(Math.min(dueAt, lastRun + pause));
  };

  // From now on another item: the report that was just saved.
  const change = async (next) => {
    await busy;
    request = { ...request, ...next };
    await renew();
  };

  document.addEventListener("visibilitychange", check, gone);
  addEventListener("online", () => (lastError?.code === "network" ? renew() : check()), gone);
  renew();
  return { renew, recover, change, dispose: () => { gone.abort(); clearTimeout(timer); } };
}

/* ---------------------------------------------------------------- asking --- */

async function ask(request, { brokerUrl, getUserToken }, gone) {
  for (let forceRefresh = false; ; forceRefresh = true) {
    const bearer = await attempt("user_token_failed", () => getUserToken?.({ forceRefresh }));
    const response = await attempt("network", () => fetch(`${brokerUrl.replace(/\/+$/, "")}/embed-token`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(bearer && { Authorization: `Bearer ${bearer}` }) },
      credentials: getUserToken ? "same-origin" : "include",
      body: JSON.stringify(request),
      signal: AbortSignal.any([gone, AbortSignal.timeout(REQUEST_TIMEOUT)]),
    }));
    const { ok, status, headers } = response;
    const body = await response.json().catch(() => ({}));
    if (ok && body.token) return body;
    if (status === 401 && getUserToken && !forceRefresh) continue;
    throw failure(body.code ?? "invalid_response", body.detail ?? `The broker answered ${status}.`, {
      status,
      retryable: body.retryable ?? (ok || status === 429 || status >= 500),
      requestId: headers.get("X-Request-Id"),
      retryAfter: headers.get("Retry-After") * 1000 || 0,
    });
  }
}

async function attempt(code, action) {
  try {
    return await action();
  } catch (cause) {
    throw failure(code, textOf(cause), { cause, retryable: true });
  }
}

function failure(code, message, more) {
  const error = Object.assign(new Error(message), { code, status: 0, retryable: false, retryAfter: 0, retryIn: Infinity }, more);
  error.name = "EmbedError";
  return error;
}

/**
 * The broker's `refreshAfter`, unless this computer's clock runs fast: at least
 * `expiration - refreshAfter` of life was left when the broker answered, so half of that
 * is a pause that is always short enough.
 */
function renewalTime({ expiration, refreshAfter }) {
  const after = Date.parse(refreshAfter);
  return Math.max(after, Date.now() + (Date.parse(expiration) - after) / 2);
}

function backoff(tries) {
  return Math.min(1_000 * 2 ** tries, BACKOFF_LAST) * (0.5 + Math.random() / 2);
}

/* ------------------------------------------------------------- embedding --- */

function start(frames, options) {
  const { powerbi = globalThis.powerbi, onToken, onError = console.error } = options;
  let resolve, reject;
  const ready = new Promise((...both) => { [resolve, reject] = both; });
  ready.catch(() => {}); // whoever uses only `onError` must not see an unhandled rejection
  const context = {
    ...options,
    powerbi,
    onError(error) {
      if (error.retryIn === Infinity) reject(error);
      onError(error);
    },
  };
  const views = frames.map((frame) => view(frame, context));
  context.watcher = watchToken(context, (answer) => {
    for (const { take } of views) take(answer);
    onToken?.(answer);
    resolve(handle);
  });
  const handle = {
    ready,
    get component() { return views[0].component; },
    get components() { return views.map(({ component }) => component); },
    renew: context.watcher.renew,
    dispose() {
      context.watcher.dispose();
      for (const { dispose } of views) dispose();
    },
  };
  return handle;
}

/** One element: what it shows, and which token its iframe has. */
function view({ element, item, config: own }, context) {
  const { powerbi, bootstrap, onError } = context;
  let component = null;
  let answer, essence, timer;
  let expired = false; // the iframe said TokenExpired
  powerbi.reset(element);
  // The iframe loads while the token is being minted.
  let boot = bootstrap === false ? null : powerbi.bootstrap(element, { type: "report", ...bootstrap });

  function take(next) {
    const { embedConfig, renewal } = next.items.find((entry) => entry.item === item) ?? next.items[0];
    const extra = typeof own === "function" ? own(embedConfig) : own;
    const config = { ...embedConfig, ...extra, settings: { ...embedConfig.settings, ...extra?.settings } };
    const [before, known] = [answer, essence];
    answer = next;
    // What may not change under a running iframe. The rest is only a new token.
    essence = JSON.stringify({ ...embedConfig, accessToken: 0, embedUrl: 0 });
    if (essence !== known) show(config);
    else if (next.token === before.token) { if (expired) context.watcher.recover(); } // still the dead one
    else if (renewal === "re_embed") wait(config, before);
    else swap(config, before);
  }

  async function swap(config, before) {
    const [target, shared] = [component, powerbi.accessToken];
    try {
      await target.setAccessToken(config.accessToken);
      // powerbi-client also makes it the default token of every other embed on the page.
      if (powerbi.accessToken === config.accessToken) powerbi.accessToken = shared;
      if (expired) await reload();
    } catch (cause) {
      if (target !== component) return;
      onError(failure("swap_failed", textOf(cause), { cause, retryIn: 0 }));
      if (config.type !== "create") wait(config, before); // an unsaved report is never thrown away
    }
  }

  // Reloading loses the state of the report: only after an expiry, never with unsaved changes.
  async function reload() {
    expired = false;
    if (component.config.type !== "create" && await (component.isSaved?.() ?? true)) await component.reload();
  }

  // Re-embedding interrupts: wait until nobody is busy with the report, but not until the token is dead.
  function wait(config, before) {
    const end = Date.parse(before.expiration);
    const latest = end - (end - Date.parse(before.refreshAfter)) / 4;
    clearTimeout(timer);
    if (expired || Date.now() >= latest || (context.isQuiet ?? isQuiet)(element)) show(config);
    else timer = setTimeout(wait, QUIET_POLL, config, before);
  }

  function show(config) {
    const { id, parameterValues } = component?.config ?? {};
    if (parameterValues && id === config.id) config.parameterValues = parameterValues;
    clearTimeout(timer);
    expired = false;
    if (!bootFits(config)) powerbi.reset(element);
    boot = null;
    try {
      component = config.type === "create" ? powerbi.createReport(element, config) : powerbi.embed(element, config);
      component.on("error", failed);
      component.on("saved", saved);
      context.onEmbedded?.(component, item);
    } catch (cause) {
      essence = null; // the next renewal embeds from scratch
      onError(failure("embed_failed", textOf(cause), { cause }));
    }
  }

  // A bootstrapped iframe serves if its address would be the same, language and layout included.
  function bootFits({ type, embedUrl, settings }) {
    if (boot?.config.type !== type || type === "create" || type === "qna") return false;
    const page = (url) => url.split("?")[0];
    return page(boot.config.embedUrl) === page(embedUrl) && (bootstrap || !(settings.localeSettings || settings.layoutType));
  }

  function failed({ detail }) {
    if (detail.message === "TokenExpired") {
      expired = true;
      context.watcher.recover();
    } else {
      const more = { status: Number(detail.errorCode) || 0, requestId: detail.technicalDetails?.requestId, retryIn: 0 };
      onError(failure(detail.message, detail.detailedMessage, more));
    }
  }

  function saved({ detail: { reportObjectId, reportName, saveAs } }) {
    const { openSaved, target, access, watcher, onSaved } = context;
    const isNew = component.config.type === "create" || saveAs === true;
    onSaved?.({ item, reportId: reportObjectId, reportName, isNew });
    if (!isNew || !(openSaved ?? target)) return;
    item = openSaved ?? item; // the token at hand does not cover the new report
    watcher.change({ item, target: reportObjectId, access: access === "edit" ? access : undefined });
  }

  return {
    take,
    get component() { return component; },
    dispose() {
      clearTimeout(timer);
      component = null;
      powerbi.reset(element);
      element.removeAttribute("powerbi-access-token");
    },
  };
}

function isQuiet(element) {
  return document.hidden || !(element.matches(":hover") || element.contains(document.activeElement));
}

/** powerbi-client throws errors, strings, and lists of `{ message, detailedMessage }`. */
function textOf(cause) {
  const [first] = [cause].flat();
  return first?.detailedMessage ?? first?.message ?? String(first);
}
