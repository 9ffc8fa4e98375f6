// The demo page: signs a persona in, embeds an item through client/embed-broker.js exactly as an
// application would, and shows beside it what happened on the way.
import { embed } from "/embed-broker.js";
import { powerbi } from "/stand-in.js";

const $ = (id) => document.getElementById(id);
const PLUMBING = new Set(["iat", "nbf", "exp", "jti"]); // claims that say nothing about the person
const KINDS = {
  report: "Reports", paginated_report: "Paginated reports", dashboard: "Dashboards", tile: "Tiles", qna: "Q&A", create_report: "New reports", visual: "Visuals",
};
const POLICY_TAKEN = 6_000; // the broker looks at the file every five seconds

const demo = {
  broker: "",
  personas: [],
  persona: null,
  items: [],
  catalogue: [], // the last list that was not empty: what a refused persona may still try
  handle: null,
  answer: null,
  mintedAt: 0,
  renewals: 0,
  embeds: 0,
  expired: false,
  policy: "",
};

/* ------------------------------------------------------------------ start --- */

async function start() {
  const state = await (await fetch("/sandbox/state")).json();
  demo.broker = state.broker;
  demo.personas = state.personas;
  $("persona-cards").append(...demo.personas.map(card));
  $("personas").addEventListener("change", ({ target }) => signIn(target.value));
  $("item").addEventListener("change", () => { fillAccess(); open(); });
  $("access").addEventListener("change", open);
  $("renew").addEventListener("click", renew);
  $("age").addEventListener("click", age);
  $("fail-429").addEventListener("click", () => fail(429, { "Retry-After": "5" }));
  $("fail-503").addEventListener("click", () => fail(503, {}));
  $("heal").addEventListener("click", heal);
  $("save-policy").addEventListener("click", savePolicy);
  $("undo-policy").addEventListener("click", () => { $("policy").value = demo.policy; });
  $("short-lives").addEventListener("click", () => { $("policy").value = withShortLives($("policy").value); });
  setInterval(drawClock, 500);
  await readPolicy();
  const wanted = new URLSearchParams(location.hash.slice(1));
  await signIn(demo.personas.find(({ id }) => id === wanted.get("persona"))?.id ?? demo.personas[0].id, wanted.get("item"));
}

function card({ id, name, tenant, role, description }) {
  const initials = name.split(" ").map((word) => word[0]).join("");
  return element("label", { class: "card" },
    element("input", { type: "radio", name: "persona", value: id }),
    element("span", { class: "initials", "aria-hidden": "true" }, initials),
    element("span", { class: "who" },
      element("strong", {}, name),
      element("span", { class: "role" }, `${role} · ${tenant}`),
      element("span", { class: "about" }, description)));
}

/* ---------------------------------------------------- what an application does --- */

const getUserToken = async () => (await fetch(`/idp/token?persona=${encodeURIComponent(demo.persona.id)}`)).text();

async function signIn(id, wantedItem) {
  close();
  demo.persona = demo.personas.find((persona) => persona.id === id);
  for (const radio of document.querySelectorAll("input[name=persona]")) radio.checked = radio.value === id;
  log(`${demo.persona.name} signed in.`);
  const jwt = await getUserToken();
  drawClaims(jwt);
  demo.items = await listItems(jwt);
  if (demo.items.length) demo.catalogue = demo.items;
  else if (!demo.catalogue.length) demo.catalogue = await listItems(await tokenOfAnybody());
  fillItems(wantedItem);
  open();
}

async function listItems(jwt) {
  try {
    const response = await fetch(`${demo.broker}/items`, { headers: { Authorization: `Bearer ${jwt}` } });
    return response.ok ? (await response.json()).items.filter(({ needsTarget }) => !needsTarget) : [];
  } catch {
    return [];
  }
}

// A persona that may open nothing still needs something to try.
async function tokenOfAnybody() {
  return (await fetch(`/idp/token?persona=${encodeURIComponent(demo.personas[0].id)}`)).text();
}

function open() {
  close();
  const item = $("item").value;
  const access = $("access").value;
  location.hash = new URLSearchParams({ persona: demo.persona.id, item });
  say(`Opening ${titleOf(item)}…`);
  drawRules();
  demo.handle = embed($("frame"), {
    item,
    access: access === "view" || access === "create" ? undefined : access,
    brokerUrl: demo.broker,
    getUserToken,
    powerbi,
    bootstrap: { type: "report" },
    onToken,
    onEmbedded,
    onError,
    onSaved: ({ reportName, isNew }) => log(isNew ? `A new report “${reportName}” was saved.` : `“${reportName}” was saved.`, "good"),
  });
}

function close() {
  demo.handle?.dispose();
  Object.assign(demo, { handle: null, answer: null, renewals: 0, embeds: 0, expired: false });
  $("refusal").hidden = true;
  $("frame").classList.remove("gone");
  for (const id of ["identity", "request"]) $(id).replaceChildren(none("Nothing yet."));
  drawClock();
}

function onToken(answer) {
  const again = demo.answer !== null;
  const same = demo.answer?.tokenId === answer.tokenId;
  demo.answer = answer;
  if (!same) demo.mintedAt = Date.now();
  $("refusal").hidden = true;
  $("frame").classList.remove("gone");
  if (!again) {
    log(`${titleOf(answer.items[0].item)} opened with a token that lives ${duration(lifeLeft())}.`, "good");
    say(`${titleOf(answer.items[0].item)} is open for ${demo.persona.name}.`);
  } else if (same) {
    log(demo.expired ? "The broker, which cannot know, still has the dead token cached. Asked again soon."
      : "Asked: the broker’s cached token is still good for this identity.");
  } else {
    demo.renewals += 1;
    const how = answer.items[0].renewal === "re_embed" ? "a paginated report is embedded again at a quiet moment"
      : demo.expired ? "the report is reloaded, because the old one had expired" : "the report was not reloaded";
    log(`Token renewed: ${how}.`, "good");
    say(`The token was renewed; ${how}.`);
  }
  if (!same) demo.expired = false;
  drawClock();
  showRequest();
}

function onEmbedded(component, item) {
  demo.embeds += 1;
  component.setComponentTitle(`${titleOf(item)}, simulated Power BI ${typeOf(item).replace("_", " ")}`);
  component.on("error", ({ detail }) => {
    if (detail?.message !== "TokenExpired") return;
    demo.expired = true;
    log("Power BI: TokenExpired. A new token is fetched, then the report reloaded.", "bad");
  });
}

function onError(error) {
  const when = Number.isFinite(error.retryIn) && error.retryIn > 0 ? ` Trying again in ${Math.ceil(error.retryIn)} s.` : "";
  log(`${error.message} (${error.code})${when}`, "bad");
  if (demo.answer) return say(when ? `${error.message}${when} The report stays open.` : error.message);
  const title = when ? "The report cannot be opened right now" : `${demo.persona.name} may not open this`;
  $("frame").classList.add("gone");
  $("refusal").replaceChildren(
    sign(when ? "clock" : "lock"),
    element("h3", {}, title),
    element("p", {}, `${error.message}${when}`),
    element("p", { class: "fine" }, `${error.status || ""} ${error.code}${error.requestId ? ` · request ${error.requestId}` : ""}`.trim()));
  $("refusal").hidden = false;
  say(title);
  const nothing = error.status === 403 ? "None: refused before Power BI was asked." : "None.";
  $("identity").replaceChildren(none(nothing));
  $("request").replaceChildren(none(nothing));
  if (when) showRequest();
}

/* ---------------------------------------------------------- what happened behind --- */

async function showRequest() {
  const { handle } = demo;
  const answer = await (await fetch("/sandbox/calls")).json();
  if (handle !== demo.handle) return;
  const calls = Array.isArray(answer) ? answer : answer.calls ?? [];
  const last = calls.filter(({ path }) => path?.includes("GenerateToken")).at(-1);
  if (!last) return;
  const body = typeof last.body === "string" ? parse(last.body) : last.body;
  drawIdentity(body?.identities ?? []);
  const profile = last.headers?.["x-powerbi-profile-id"] ?? last.profile;
  $("request").replaceChildren(
    element("p", { class: "code line" }, `POST ${last.path.replace("/v1.0/myorg", "…")}`, element("span", { class: last.status < 400 ? "good" : "bad" }, ` ${last.status ?? ""}`)),
    ...(profile ? [element("p", { class: "code line" }, `X-PowerBI-Profile-Id: ${profile}`)] : []),
    element("pre", { tabindex: "0", "aria-label": "Body of the request" }, JSON.stringify(body, null, 2)));
}

function drawIdentity(identities) {
  if (!identities.length) {
    $("identity").replaceChildren(none("None: this item holds nothing to filter."));
    return;
  }
  $("identity").replaceChildren(...identities.map(({ username, roles = [], customData, auditableContext }) => pairs([
    ["username", username],
    ["roles", roles.join(", ")],
    ["custom data", customData],
    ["audited as", auditableContext],
  ])));
}

function drawClaims(jwt) {
  const claims = parse(new TextDecoder().decode(Uint8Array.from(atob(jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0))));
  const shown = Object.entries(claims).filter(([name]) => !PLUMBING.has(name));
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  $("claims").replaceChildren(...pairs(shown.map(([name, value]) => [name, text(value)])).children);
}

async function readPolicy() {
  demo.policy = await (await fetch("/sandbox/policy")).text();
  $("policy").value = demo.policy;
}

// The broker tells no browser which rule matched: that is in its audit record. So this lists the
// rules that speak about the item, in the order in which the broker tries them.
function drawRules() {
  const item = $("item").value;
  const rules = [...demo.policy.matchAll(/^ *- name: (\S+)\n +items: *\[([^\]]*)\]/gm)]
    .filter(([, , items]) => items.split(",").some((pattern) => covers(pattern.trim().replace(/^["']|["']$/g, ""), item)))
    .map(([, name]) => name);
  $("rule").replaceChildren(
    element("ol", { class: "rules" }, ...rules.map((name) => element("li", {}, element("code", {}, name)))),
    element("p", { class: "fine" }, "The broker tries these in turn. Which one matched is told to the audit record, not to browsers; ", element("code", {}, "embed-broker explain"), " shows why."));
}

function covers(pattern, item) {
  return new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*")}$`).test(item);
}

/* ------------------------------------------------------------------ trouble --- */

async function renew() {
  log("Renewal asked for.");
  await demo.handle?.renew();
}

async function age() {
  if (!demo.answer) return log("There is no token to age.");
  await post("POST", "/sandbox/tokens/age", { token: demo.answer.token, seconds_left: 5 });
  log("The token dies in 5 seconds, whatever its expiration says.", "bad");
}

async function fail(status, headers) {
  await post("PUT", "/sandbox/faults", [{ service: "power_bi", path_contains: "GenerateToken", times: 20, status, headers }]);
  log(`Power BI answers ${status} from now on.`, "bad");
  await demo.handle?.renew();
}

async function heal() {
  await fetch("/sandbox/faults", { method: "DELETE" });
  log("Power BI is well again.", "good");
  if (!demo.answer) open();
}

async function savePolicy() {
  const text = $("policy").value;
  const response = await fetch("/sandbox/policy", { method: "PUT", headers: { "Content-Type": "text/plain" }, body: text });
  if (!response.ok) return log(`The policy was not saved: ${await response.text()}`, "bad");
  demo.policy = text;
  log("Policy saved. The broker reads it within five seconds.");
  say("Policy saved; waiting for the broker to take it.");
  const { handle } = demo;
  setTimeout(async () => {
    if (handle !== demo.handle) return;
    demo.items = await listItems(await getUserToken());
    if (demo.items.length) demo.catalogue = demo.items;
    fillItems($("item").value);
    log("Asking under the new policy.");
    open();
  }, POLICY_TAKEN);
}

/** The policy with `lifetime: 1m` in every rule that grants something, so that one can watch renewals. */
function withShortLives(policy) {
  const rule = /^(  - name: .+\n    items: .+\n)((?:    .*\n)*)/gm;
  return policy.replace(rule, (all, head, rest) => {
    if (rest.includes("deny: true")) return all;
    return `${head}    lifetime: 1m\n${rest.replace(/^    lifetime: .*\n/gm, "")}`;
  });
}

async function post(method, path, body) {
  return fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/* ------------------------------------------------------------------ drawing --- */

function fillItems(wanted) {
  const kept = wanted ?? $("item").value;
  const groups = Map.groupBy(demo.catalogue, ({ type }) => KINDS[type] ?? type);
  $("item").replaceChildren(...[...groups].map(([label, entries]) => element("optgroup", { label },
    ...entries.map(({ item, title }) => element("option", { value: item }, title)))));
  if (demo.catalogue.some(({ item }) => item === kept)) $("item").value = kept;
  fillAccess();
}

function fillAccess() {
  const granted = demo.items.find(({ item }) => item === $("item").value)?.access ?? ["view"];
  $("access").replaceChildren(...granted.map((right) => element("option", { value: right }, right)));
  $("access-field").hidden = granted.length < 2;
}

function drawClock() {
  const { answer } = demo;
  $("no-token").hidden = answer !== null;
  $("clock").hidden = answer === null;
  for (const id of ["renew", "age"]) $(id).disabled = !demo.handle;
  if (!answer) return;
  const end = Date.parse(answer.expiration);
  const whole = Math.max(end - demo.mintedAt, 1);
  const part = (time) => `${Math.min(Math.max((time / whole) * 100, 0), 100)}%`;
  $("life-left").style.width = part(end - Date.now());
  $("life-mark").style.left = part(end - Date.parse(answer.refreshAfter));
  $("expires").textContent = duration(lifeLeft());
  $("renews").textContent = duration(Date.parse(answer.refreshAfter) - Date.now());
  $("renewals").textContent = `${demo.renewals}, page loaded ${demo.embeds === 1 ? "once" : `${demo.embeds} times`}`;
  $("token-id").textContent = answer.tokenId;
}

const lifeLeft = () => Date.parse(demo.answer.expiration) - Date.now();

function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

const entryOf = (item) => demo.catalogue.find((entry) => entry.item === item);
const titleOf = (item) => entryOf(item)?.title ?? item;
const typeOf = (item) => entryOf(item)?.type ?? "report";

function say(text) {
  $("status").textContent = text;
}

function log(text, tone = "") {
  const time = new Date().toLocaleTimeString("en-GB");
  $("log").prepend(element("li", { class: tone }, element("time", {}, time), element("span", {}, text)));
  while ($("log").children.length > 40) $("log").lastChild.remove();
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function pairs(entries) {
  const told = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", { class: "pairs" }, ...told.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** An icon; the words beside it say the same. */
function sign(name) {
  const span = element("span", { class: "sign", "aria-hidden": "true" });
  span.append(document.getElementById(`sign-${name}`).content.cloneNode(true));
  return span;
}

const none = (text) => element("p", { class: "none" }, text);

function parse(text) {
  try { return JSON.parse(text); } catch { return null; }
}

await start();
