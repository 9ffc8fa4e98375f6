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

/** JSON for narrow columns: what fits into a line stays in one. */
export function pretty(value, indent = "", width = 44) {
  const flat = JSON.stringify(value);
  if (flat.length + indent.length <= width || typeof value !== "object" || value === null) return flat;
  if (Array.isArray(value) && value.length === 1) return `[${pretty(value[0], indent, width)}]`;
  const inner = `${indent}  `;
  const lines = Array.isArray(value)
    ? value.map((entry) => pretty(entry, inner, width))
    : Object.entries(value).map(([name, entry]) => `"${name}": ${pretty(entry, inner, width)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return `${open}\n${lines.map((line) => inner + line).join(",\n")}\n${indent}${close}`;
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
