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

const MINUTE = 60_000;

/** Embeds one item into `element` and keeps it alive until `dispose()`. */
export function embed(element, options) {
  return start([{ ...options, element }], options);
}

/** Embeds several items under one shared token. `frames`: `{ element, item, config? }`. */
export function embedMany(frames, options) {
  return start(frames, { ...options, items: [...new Set(frames.map(({ item }) => item))] });
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
  let timer, dueAt, endsAt, lastRun, lastError;
  let tries, pause; // of runs in quick succession

  // Timers sleep in hidden tabs and closed laptops, so the clock decides, and is looked at often.
  const plan = (at) => {
    dueAt = at;
    clearTimeout(timer);
    if (at < Infinity && !gone.signal.aborted) timer = setTimeout(check, Math.min(at - Date.now(), MINUTE / 2));
  };

  const check = () => (Date.now() < dueAt ? plan(dueAt) : renew());

  const renew = () => (busy ??= run().finally(() => { busy = null; }));

  const run = async () => {
    plan(Infinity);
    tries = Date.now() - lastRun < 2 * MINUTE ? tries + 1 : 0;
    pause = Math.min(1_000 * 2 ** tries, MINUTE) * (0.5 + Math.random() / 2);
    lastRun = Date.now();
    try {
      const answer = await ask(request, options, gone.signal);
      if (gone.signal.aborted) return;
      lastError = null;
      endsAt = Date.parse(answer.expiration);
      // If this computer's clock runs fast: half of what was left after `refreshAfter` is always short enough.
      const after = Date.parse(answer.refreshAfter);
      plan(Math.max(after, Date.now() + (endsAt - after) / 2));
      tell(onAnswer, answer);
    } catch (error) {
      if (!gone.signal.aborted) fail(error);
    }
  };

  const fail = (error) => {
    const wait = error.retryable ? Math.max(error.retryAfter, pause)
      : error.status >= 500 ? 5 * MINUTE // only the operator can mend it
      : error.status === 401 && Date.now() < endsAt ? MINUTE // may pass, as when keys are changed
      : Infinity;
    error.retryIn = wait / 1000;
    lastError = error;
    plan(Date.now() + wait);
    tell(onError, error);
  };

  // The iframe says that its token is dead: ask at once, but never in a tight loop.
  const recover = () => {
    if (lastError?.retryIn < Infinity) return; // planned, and Retry-After holds here too
    plan(Math.min(dueAt, lastRun + (tries && pause)));
  };

  // From now on another item: the report that was just saved.
  const change = async (next) => {
    while (busy) await busy;
    request = { ...request, ...next() };
    renew();
  };

  document.addEventListener("visibilitychange", check, gone);
  addEventListener("online", () => (lastError?.status === 0 ? renew() : check()), gone); // 0: nobody was reached
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
      signal: AbortSignal.any([gone, AbortSignal.timeout(MINUTE / 2)]),
    }));
    const body = await response.json().catch(() => ({}));
    const { ok, status, headers } = response;
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
    throw failure(code, cause, { retryable: true });
  }
}

/** `cause` is a text, or what powerbi-client throws: errors, strings, lists of `{ message, detailedMessage }`. */
function failure(code, cause, more) {
  const [first] = [cause].flat();
  const error = new Error(first?.detailedMessage ?? first?.message ?? first, { cause });
  return Object.assign(error, { name: "EmbedError", code, status: 0, retryable: false, retryAfter: 0, retryIn: Infinity, ...more });
}

/** Calls the page. What it throws is reported as its own, and stops nothing here. */
async function tell(callback, ...news) {
  callback?.(...news);
}

/* ------------------------------------------------------------- embedding --- */

function start(frames, options) {
  const { powerbi = globalThis.powerbi, onToken, onError = console.error } = options;
  if (!powerbi) throw new TypeError("powerbi-client is not loaded");
  let resolve, reject;
  const ready = new Promise((...both) => { [resolve, reject] = both; });
  ready.catch(() => {}); // whoever uses only `onError` must not see an unhandled rejection
  const context = {
    ...options,
    powerbi,
    onError(error) {
      if (error.retryIn === Infinity) reject(error);
      tell(onError, error);
    },
  };
  const views = frames.map((frame) => view(frame, context));
  const watcher = context.watcher = watchToken(context, (answer) => {
    for (const { take } of views) take(answer);
    tell(onToken, answer);
    resolve(handle);
  });
  const handle = {
    ready,
    renew: watcher.renew,
    get component() { return views[0].component; },
    get components() { return views.map(({ component }) => component); },
    dispose() {
      for (const { dispose } of [watcher, ...views]) dispose();
    },
  };
  return handle;
}

/** One element: what it shows, and which token its iframe has. */
function view({ element, item, config: own }, context) {
  const { powerbi, bootstrap, onError } = context;
  let component = null;
  let shown = null; // the answer whose token the iframe has
  let expired = false; // the iframe said TokenExpired
  let timer;
  powerbi.reset(element);
  // The iframe loads while the token is being minted.
  let boot = bootstrap === false ? null : powerbi.bootstrap(element, { type: "report", ...bootstrap });

  function take(answer) {
    const { embedConfig, renewal } = answer.items.find((entry) => entry.item === item) ?? answer.items[0];
    // What may not change under a running iframe. The rest is only a new token.
    const next = { ...answer, embedConfig, essence: JSON.stringify({ ...embedConfig, accessToken: 0, embedUrl: 0 }) };
    if (!shown) show(next);
    else if (next.token === shown.token) { if (expired) context.watcher.recover(); } // still the dead one
    else if (renewal === "re_embed" || next.essence !== shown.essence) wait(next);
    else swap(next);
  }

  async function swap(next) {
    const [target, shared, { accessToken, type }] = [component, powerbi.accessToken, next.embedConfig];
    try {
      await target.setAccessToken(accessToken);
      // powerbi-client also makes it the default token of every other embed on the page.
      if (powerbi.accessToken === accessToken) powerbi.accessToken = shared;
      // Reloading loses the state of the report: only after an expiry, never with unsaved changes.
      if (expired && type !== "create" && await (target.isSaved?.() ?? true)) await target.reload();
      if (target === component) [shown, expired] = [next, false];
    } catch (cause) {
      if (target !== component) return;
      onError(failure("swap_failed", cause, { retryIn: 0 }));
      if (type !== "create") wait(next); // an unsaved report is never thrown away
    }
  }

  // Re-embedding interrupts: wait until nobody is busy with the report, but not until the token is dead.
  function wait(next) {
    const [from, end] = [shown?.refreshAfter, shown?.expiration].map(Date.parse);
    clearTimeout(timer);
    if (expired || Date.now() > end - (end - from) / 4 || (context.isQuiet ?? isQuiet)(element)) show(next);
    else timer = setTimeout(wait, 1_000, next);
  }

  function show(next) {
    clearTimeout(timer);
    try {
      const config = configure(next.embedConfig);
      if (!bootFits(config)) powerbi.reset(element);
      boot = null;
      component = config.type === "create" ? powerbi.createReport(element, config) : powerbi.embed(element, config);
      component.on("error", failed);
      component.on("saved", saved);
    } catch (cause) {
      component = shown = null; // the next renewal embeds from scratch
      return onError(failure("embed_failed", cause));
    }
    shown = next;
    expired = false;
    tell(context.onEmbedded, component, item);
  }

  // A paginated report keeps its parameters, unless the page's function knows better.
  function configure(embedConfig) {
    const { id, parameterValues } = component?.config ?? {};
    const kept = parameterValues && id === embedConfig.id && { parameterValues };
    const page = typeof own === "function" ? { ...kept, ...own(embedConfig) } : { ...own, ...kept };
    return { ...embedConfig, ...page, settings: { ...embedConfig.settings, ...page.settings } };
  }

  // A bootstrapped iframe serves if its address would be the same, language and layout included.
  function bootFits({ type, embedUrl, settings }) {
    if (boot?.config.type !== type || type === "qna") return false;
    const page = boot.config.embedUrl.split("?")[0];
    return embedUrl.startsWith(page) && (bootstrap || !(settings.localeSettings || settings.layoutType));
  }

  function failed({ detail: { message, detailedMessage, errorCode, technicalDetails } }) {
    if (message === "TokenExpired") {
      expired = true;
      context.watcher.recover();
    } else onError(failure(message, detailedMessage, { status: +errorCode || 0, requestId: technicalDetails?.requestId, retryIn: 0 }));
  }

  function saved({ detail: { reportObjectId, reportName, saveAs } }) {
    const { openSaved, target, access } = context;
    const isNew = component.config.type === "create" || saveAs === true;
    tell(context.onSaved, { item, reportId: reportObjectId, reportName, isNew });
    if (!isNew || !(openSaved ?? target)) return;
    context.watcher.change(() => {
      item = openSaved ?? item; // the token at hand does not cover the new report
      shown = null;
      return { item, target: reportObjectId, access: access === "edit" ? access : undefined };
    });
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
