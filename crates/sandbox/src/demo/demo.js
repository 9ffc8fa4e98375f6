// The demo page: signs a persona in, embeds an item through client/embed-broker.js exactly as an
// application would, and shows beside it what happened on the way.
import { claimsOf, clearRequest, drawClaims, drawDecision, drawRequest } from "/behind.js";
import { $, duration, element, getJson, send, sign } from "/dom.js";
import { embed } from "/embed-broker.js";
import { showInPolicy, startPolicyTool } from "/policy.js";
import { powerbi } from "/stand-in.js";

const KINDS = {
  report: "Reports", paginated_report: "Paginated reports", dashboard: "Dashboards", tile: "Tiles", qna: "Q&A", create_report: "New reports", visual: "Visuals",
};

const demo = {
  broker: "",
  personas: [],
  persona: null,
  claims: {},
  items: [],
  catalogue: [], // the last list that was not empty: what a refused persona may still try
  handle: null,
  answer: null,
  mintedAt: 0,
  renewals: 0,
  embeds: 0,
  expired: false,
};

/* ------------------------------------------------------------------ start --- */

async function start() {
  const state = await getJson("/sandbox/state");
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
  setInterval(drawClock, 500);
  const wanted = new URLSearchParams(location.hash.slice(1));
  const persona = demo.personas.find(({ id }) => id === wanted.get("persona")) ?? demo.personas[0];
  await Promise.all([drawUpstream(), startPolicyTool(policyTaken, log), signIn(persona.id, wanted.get("item"))]);
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
  const { persona } = demo;
  log(`${persona.name} signed in.`);
  const jwt = await getUserToken();
  const items = await listItems(jwt);
  if (persona !== demo.persona) return; // somebody else signed in meanwhile
  demo.claims = claimsOf(jwt);
  drawClaims(demo.claims);
  demo.items = items;
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
  history.replaceState(null, "", `#${new URLSearchParams({ persona: demo.persona.id, item })}`);
  say(`Opening ${titleOf(item)}…`);
  drawDecision({ claims: demo.claims, item, ...(access && { access }) }, showInPolicy);
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
  clearRequest("Nothing yet.");
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
  drawRequest({ tokenId: answer.tokenId, asked: Date.now() });
  drawUpstream();
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
  drawUpstream();
  if (when) drawRequest({});
  else clearRequest(error.status === 403 ? "None: refused before Power BI was asked." : "None.");
}

async function policyTaken() {
  demo.items = await listItems(await getUserToken());
  if (demo.items.length) demo.catalogue = demo.items;
  fillItems($("item").value);
  open();
}

/* ------------------------------------------------------------------ trouble --- */

// The broker serves the token that it has until that grows old. Here time passes at the push of a button, so
// it is made to forget it.
const forget = () => send("POST", "/sandbox/tokens/forget");

async function renew() {
  log("Renewal asked for.");
  await forget();
  await demo.handle?.renew();
}

async function age() {
  await send("POST", "/sandbox/tokens/age", { token: demo.answer.token, seconds_left: 5 });
  await forget();
  log("The token dies in 5 seconds, whatever its expiration says.", "bad");
  say("The token dies in 5 seconds.");
}

async function fail(status, headers) {
  await send("PUT", "/sandbox/faults", [{ service: "power_bi", path_contains: "GenerateToken", times: 20, status, headers }]);
  await forget();
  log(`Power BI answers ${status} from now on.`, "bad");
  await drawUpstream();
  await demo.handle?.renew();
}

async function heal() {
  await send("DELETE", "/sandbox/faults");
  log("Power BI is well again.", "good");
  say("Power BI is well again.");
  await drawUpstream();
  if (!demo.answer) open();
}

/** How the simulated Power BI stands, whoever made it so. */
async function drawUpstream() {
  const fault = ((await getJson("/sandbox/faults")) ?? []).find(({ times }) => times !== 0);
  $("upstream").textContent = fault ? `It answers ${fault.status ?? "late"} now.` : "It is well.";
  $("upstream").className = fault ? "bad" : "good";
  $("heal").disabled = !fault;
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
  $("renew").disabled = !demo.handle;
  $("age").disabled = !answer;
  if (!answer) return;
  const end = Date.parse(answer.expiration);
  const whole = Math.max(end - demo.mintedAt, 1);
  const part = (time) => `${Math.min(Math.max((time / whole) * 100, 0), 100)}%`;
  $("life-left").style.width = part(end - Date.now());
  $("life-mark").style.left = part(end - Date.parse(answer.refreshAfter));
  $("expires").textContent = duration(lifeLeft());
  $("renews").textContent = duration(Date.parse(answer.refreshAfter) - Date.now());
  $("renewals").textContent = `${demo.renewals}, report embedded ${demo.embeds === 1 ? "once" : `${demo.embeds} times`}`;
  $("token-id").textContent = answer.tokenId;
}

const lifeLeft = () => Date.parse(demo.answer.expiration) - Date.now();

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

await start();
