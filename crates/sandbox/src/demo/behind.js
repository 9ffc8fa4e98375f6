// The right-hand column: claims → rule → identity → request. The sandbox tells; an application's
// browser learns none of it but the token.
import { $, button, element, getJson, none, pairs, pretty, send } from "/dom.js";

const PLUMBING = new Set(["iat", "nbf", "exp", "jti"]); // claims that say nothing about the person
const OUTCOMES = {
  matched: ["✓", "matches and decides"],
  condition_false: ["–", "its condition is false"],
  failed: ["✕", "its condition failed, which denies"],
  not_reached: ["·", "not reached"],
};
const EARLIER = 4_000; // a token that is older than its answer came from the broker's cache

const turns = { decision: 0, request: 0 }; // an answer that comes late must not cover a later one

/** What the user's token says. */
export function claimsOf(jwt) {
  const payload = atob(jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (c) => c.charCodeAt(0))));
}

export function drawClaims(claims) {
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const shown = Object.entries(claims).filter(([name]) => !PLUMBING.has(name));
  $("claims").replaceChildren(...pairs(shown.map(([name, value]) => [name, text(value)])).children);
}

/** Which rules were tried, and what came of each. */
export async function drawDecision(question, showInPolicy) {
  const turn = ++turns.decision;
  const response = await send("POST", "/sandbox/explain", question);
  if (turn !== turns.decision) return;
  if (!response.ok) {
    $("rule").replaceChildren(none("Which rule decided stands in the broker’s audit record; this sandbox cannot see it."));
    return;
  }
  const { rules = [], tables = [], access, refusal } = (await response.json()) ?? {};
  if (turn !== turns.decision) return;
  const tried = rules.filter(({ outcome }) => outcome in OUTCOMES);
  const row = ({ rule, outcome, cause }) => element("li", { class: outcome },
    element("span", { class: "tick", "aria-hidden": "true" }, OUTCOMES[outcome][0]),
    " ", button(rule, { class: "name", title: "Show this rule in the policy" }, () => showInPolicy(rule)),
    " ", element("span", { class: "why" }, cause ?? OUTCOMES[outcome][1]));
  const facts = pairs([
    ...tables.map(({ table, key, row: found }) => [table, `${key ?? "no key"} → ${found ? Object.entries(found).map((pair) => pair.join(" ")).join(", ") : "no row"}`]),
    ["right", access],
  ]);
  $("rule").replaceChildren(
    tried.length ? element("ol", { class: "rules" }, ...tried.map(row)) : none("No rule speaks of this item."),
    ...(refusal ? [element("p", { class: "line bad" }, refusal)] : [facts]),
    element("p", { class: "fine" }, refusal ? "Told to the audit record; the browser gets one answer for all refusals." : "Told to the audit record, not to browsers."));
}

/** The call that made the token at hand, or the last one that failed. */
export async function drawRequest({ tokenId, asked }) {
  const turn = ++turns.request;
  const mints = ((await getJson("/sandbox/calls")) ?? []).filter(({ path }) => path.includes("GenerateToken"));
  if (turn !== turns.request) return;
  const call = tokenId ? mints.findLast((mint) => mint.token_id === tokenId) : mints.at(-1);
  if (!call) return clearRequest(tokenId ? "The token was made before the sandbox began to take notes." : "None.");
  drawIdentity(call.body?.identities ?? []);
  const earlier = tokenId && asked - Date.parse(call.at) > EARLIER;
  $("request").replaceChildren(
    element("p", { class: "code line" }, `POST ${call.path.replace("/v1.0/myorg", "…")} `, element("span", { class: call.status < 400 ? "good" : "bad" }, `${call.status ?? "no answer"}`)),
    ...(call.profile ? [element("p", { class: "code line" }, `X-PowerBI-Profile-Id: ${call.profile}`)] : []),
    element("pre", { tabindex: "0", role: "group", "aria-label": "Body of the request" }, pretty(call.body)),
    ...(earlier ? [element("p", { class: "fine" }, "Made earlier: this time the broker served the token from its cache, because the plan is the same to the letter.")] : []));
}

export function clearRequest(text) {
  turns.request++;
  for (const id of ["identity", "request"]) $(id).replaceChildren(none(text));
}

function drawIdentity(identities) {
  if (!identities.length) {
    $("identity").replaceChildren(none("None: this item holds nothing to filter."));
    return;
  }
  // A dashboard has one for each of its datasets, mostly the same.
  const told = new Map(identities.map(({ username, roles = [], customData, auditableContext }) => {
    const facts = [["username", username], ["roles", roles.join(", ")], ["custom data", customData], ["audited as", auditableContext]];
    return [JSON.stringify(facts), facts];
  }));
  $("identity").replaceChildren(...[...told.values()].map(pairs));
}
