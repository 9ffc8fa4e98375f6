// Small help for drawing; knows nothing of the demo.

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function button(text, attributes, action) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", action);
  return made;
}

export const none = (text) => element("p", { class: "none" }, text);

/** Names and values; what has no value is left out. */
export function pairs(entries) {
  const told = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", { class: "pairs" }, ...told.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** An icon; the words beside it say the same. */
export function sign(name) {
  const span = element("span", { class: "sign", "aria-hidden": "true" });
  span.append($(`sign-${name}`).content.cloneNode(true));
  return span;
}

const LINE = 48; // characters that fit into the column

/** JSON for narrow columns: what fits into a line stays in one. `lead`: what stands before it in its line. */
export function pretty(value, indent = "", lead = 0) {
  const flat = JSON.stringify(value);
  if (typeof value !== "object" || value === null || indent.length + lead + flat.length <= LINE) return flat;
  const isList = Array.isArray(value);
  if (isList && value.length === 1 && typeof value[0] === "object") return `[${pretty(value[0], indent, lead + 1)}]`;
  const inner = `${indent}  `;
  const entry = ([name, member]) => (isList ? pretty(member, inner) : `"${name}": ${pretty(member, inner, name.length + 4)}`);
  const lines = Object.entries(value).map(entry).map((line) => inner + line).join(",\n");
  return isList ? `[\n${lines}\n${indent}]` : `{\n${lines}\n${indent}}`;
}

export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export async function getJson(path) {
  const response = await fetch(path);
  return response.ok ? response.json() : null;
}

export function send(method, path, body) {
  return fetch(path, { method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
}
