// The policy tool: shows the file, saves it, and tells whether the broker has taken it. A change that
// somebody makes to the file in an editor is seen as well.
import { $, element, getJson } from "/dom.js";

const LOOK = 1_000; // the broker reads a changed file after three to four seconds

const tool = {
  text: "", // of the file
  taken: "", // of the version in force, as far as this page knows
  judged: 0,
};

/** Starts the tool; `onTaken` is called after each version that the broker took. */
export async function startPolicyTool(onTaken, log) {
  const state = await getJson("/sandbox/policy/state");
  const file = await fetch("/sandbox/policy");
  $("policy-tool").hidden = !state || !file.ok;
  if (!state || !file.ok) return;
  tool.judged = state.judged;
  tool.text = tool.taken = $("policy").value = await file.text();
  if (state.refusal) refused(state.refusal);
  $("save-policy").addEventListener("click", () => save(log));
  $("undo-policy").addEventListener("click", () => suggest(tool.taken));
  $("short-lives").addEventListener("click", () => suggest(withShortLives($("policy").value)));
  $("mistake").addEventListener("click", () => suggest(withMistake($("policy").value)));
  setInterval(() => { if (!document.hidden) look(onTaken, log); }, LOOK);
}

/** Scrolls to a rule and marks it. */
export function showInPolicy(rule) {
  const area = $("policy");
  const start = area.value.indexOf(`- name: ${rule}\n`);
  if (start < 0) return;
  const rest = area.value.slice(start + 1);
  const length = rest.search(/\n\s*(?:- name:|#|\n)|\n\S/);
  const line = Number.parseFloat(getComputedStyle(area).lineHeight);
  area.focus({ preventScroll: true });
  area.setSelectionRange(start, length < 0 ? area.value.length : start + 1 + length);
  area.scrollTop = (area.value.slice(0, start).split("\n").length - 3) * line;
  area.scrollIntoView({ block: "center" });
}

function suggest(text) {
  $("policy").value = text;
  verdict(text === tool.text ? "" : "waiting", text === tool.text ? "" : "Not saved yet.");
}

async function save(log) {
  const text = $("policy").value;
  const response = await fetch("/sandbox/policy", { method: "PUT", headers: { "Content-Type": "text/plain" }, body: text });
  if (!response.ok) return verdict("bad", `Not saved: ${await response.text()}`);
  tool.text = text;
  log("Policy saved. The broker reads it within five seconds.");
  verdict("waiting", "Saved. Waiting for the broker to read it …");
}

async function look(onTaken, log) {
  const state = await getJson("/sandbox/policy/state").catch(() => null);
  if (!state || state.judged <= tool.judged) return;
  tool.judged = state.judged;
  const text = await (await fetch("/sandbox/policy")).text();
  const untouched = $("policy").value === tool.text;
  if (untouched) $("policy").value = text;
  tool.text = text;
  if (state.refusal) {
    refused(state.refusal);
    log("The broker refused the new policy; the former one goes on.", "bad");
  } else {
    tool.taken = text;
    verdict("good", "Taken. The report was opened again under it.");
    log("The broker took the new policy.", "good");
    onTaken();
  }
}

function refused(mistakes) {
  verdict("bad", "Refused: the former policy goes on.", element("pre", { tabindex: "0", role: "group", "aria-label": "Mistakes" }, mistakes.replace(/\S*\/policy\.yaml/g, "policy.yaml")));
}

function verdict(tone, text, ...more) {
  $("verdict").className = tone;
  $("verdict").replaceChildren(...(text ? [element("p", {}, text)] : []), ...more);
}

/** The policy with `lifetime: 1m` in every rule that grants something, so that one can watch renewals. */
function withShortLives(policy) {
  const rule = /^(  - name: .+\n    items: .+\n)((?:    .*\n)*)/gm;
  return policy.replace(rule, (all, head, rest) => {
    if (rest.includes("deny: true")) return all;
    return `${head}    lifetime: 1m\n${rest.replace(/^    lifetime: .*\n/gm, "")}`;
  });
}

/** The policy without the rule that keeps Dora out. One of its cases says that she is, so it will not be taken. */
function withMistake(policy) {
  const open = policy.replace(/^  - name: suspended\n(?:    .*\n)+/m, "");
  return open === policy ? `${policy}\nnonsense: true\n` : open;
}
