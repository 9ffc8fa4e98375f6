// The page inside the iframe: a stand-in for Power BI's own, which speaks powerbi-client's
// post-message protocol and refuses a token as the service does.
//
// It decides nothing itself. Each time it draws, it shows the sandbox its token and draws the
// rows that come back, so what is on the screen is what the token's identity lets through.
const HEARTBEAT = 4_000; // how often an open report runs queries, and so notices a dead token
const KIND_OF_PATH = {
  "/rdlembed": "paginated_report", "/dashboardembed": "dashboard", "/embed": "tile", "/tileembed": "tile", "/qnaembed": "qna",
};
const EVENTS_OF_KIND = { dashboard: "dashboards", tile: "tile", qna: "qna" };
const SILENT = "paginated_report"; // has neither `loaded` nor `rendered`, and takes no new token

const { canvas, strip, identity, rows, swaps } = Object.fromEntries(["canvas", "strip", "identity", "rows", "swaps"].map((id) => [id, document.getElementById(id)]));
const state = {
  kind: KIND_OF_PATH[location.pathname.toLowerCase()] ?? "report",
  uid: new URLSearchParams(location.search).get("uid"),
  origin: "*",
  config: null,
  shown: null, // the service's last good answer
  expires: 0,
  loads: 0,
  swaps: 0,
  failed: false,
  unsaved: false,
  drawn: "", // what is on the screen, so that a heartbeat does not take focus or scroll away
  groupBy: {}, // the user's choice for each table: state that a new token must not lose
};

/* ---------------------------------------------------------- the protocol --- */

const routes = {
  "POST /report/load": load,
  "POST /report/prepare": load,
  "POST /report/render": () => draw(),
  "POST /report/create": (config) => load({ ...config, type: "create" }),
  "POST /dashboard/load": load,
  "POST /tile/load": load,
  "POST /qna/load": load,
  "POST /report/token": takeToken,
  "POST /dashboard/token": takeToken,
  "POST /tile/token": takeToken,
  "POST /report/refresh": () => draw(),
  "POST /report/save": () => save({}),
  "POST /report/saveAs": (asked) => save({ saveAs: true, name: asked?.name }),
  "POST /report/switchMode/edit": () => switchMode(1),
  "POST /report/switchMode/view": () => switchMode(0),
  "GET /report/hasUnsavedChanges": () => ({ body: state.unsaved }),
  "GET /report/pages": () => ({ body: [page()] }),
  "GET /getCorrelationId": () => ({ body: crypto.randomUUID() }),
  "POST /frontload/config": () => ({}),
};

addEventListener("message", async ({ data, source, origin }) => {
  if (source !== parent || !data?.method || !data.headers?.id) return;
  state.origin = origin;
  state.uid = data.headers.uid ?? state.uid;
  const route = routes[`${data.method} ${data.url}`];
  const { statusCode = 202, body = null } = route ? await route(data.body) ?? {} : { statusCode: 404, body: { message: `The sandbox does not know ${data.url}` } };
  parent.postMessage({ statusCode, headers: { id: data.headers.id }, body }, origin);
});

function raise(name, body) {
  const family = EVENTS_OF_KIND[state.kind] ?? "reports";
  const url = `/${family}/${state.uid}/events/${name}`;
  parent.postMessage({ method: "POST", url, headers: { id: crypto.randomUUID() }, body }, state.origin);
}

/* -------------------------------------------------------------- what it does --- */

function load(config) {
  if (config.type === "create" || config.type === "visual") state.kind = config.type;
  else if (state.kind === "create" || state.kind === "visual") state.kind = "report";
  Object.assign(state, { config, failed: false, unsaved: false, shown: null, drawn: "", swaps: 0, loads: state.loads + 1 });
  draw({ first: true }); // the answer 202 comes first, then `loaded` and `rendered`
}

async function takeToken(token) {
  if (state.kind === SILENT) return { statusCode: 400, body: { message: "setAccessToken is not supported for paginated reports" } };
  if (!state.config) return { statusCode: 400, body: { message: "Nothing is loaded" } };
  state.config.accessToken = token;
  state.swaps += 1;
  if (!state.failed) await draw(); // a page that failed stays so until it is loaded again
  return {};
}

async function draw({ first = false } = {}) {
  const { config, loads } = state;
  const answer = await service("render", {
    token: config.accessToken,
    kind: state.kind,
    id: config.id,
    dashboardId: config.dashboardId,
    pageName: config.pageName,
    visualName: config.visualName,
    datasetId: config.datasetId ?? config.datasetIds?.[0],
    edit: config.viewMode === 1,
  });
  if (loads !== state.loads || config.accessToken !== state.config.accessToken) return; // overtaken
  if (answer.error) return fail(answer.error);
  state.shown = answer;
  state.expires = Date.now() + answer.secondsLeft * 1_000;
  drawSheet();
  drawStrip();
  if (first && state.kind !== SILENT) {
    raise("loaded", { reportId: config.id });
    raise("rendered", null);
    if (state.kind === "tile") raise("tileLoaded", { tileId: config.id });
    if (state.kind === "qna") raise("visualRendered", {});
  }
}

function fail({ code, message, status }) {
  if (state.failed) return;
  state.failed = true;
  drawFailure(code, message);
  raise("error", {
    message: code,
    detailedMessage: message,
    errorCode: String(status),
    level: 6,
    technicalDetails: { requestId: crypto.randomUUID() },
  });
}

async function save({ saveAs = state.kind === "create", name }) {
  const { config } = state;
  const answer = await service("save", {
    token: config.accessToken,
    id: config.id ?? config.datasetId,
    saveAs,
    name: name ?? state.shown?.title,
  });
  if (answer.error) {
    const { code, message, status } = answer.error;
    raise("error", { message: code, detailedMessage: message, errorCode: String(status), level: 6 });
    return { statusCode: status, body: { message: code, detailedMessage: message } };
  }
  state.unsaved = false;
  raise("saved", {
    reportObjectId: answer.reportObjectId ?? answer.id ?? config.id,
    reportName: answer.reportName ?? answer.name ?? name,
    saveAs,
  });
  return {};
}

async function switchMode(viewMode) {
  state.config.viewMode = viewMode;
  await draw();
}

function page() {
  const name = state.config?.pageName ?? "ReportSection1";
  return { name, displayName: name, isActive: true, visibility: 0 };
}

async function service(call, body) {
  try {
    const response = await fetch(`/sandbox/${call}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (answer.error) answer.error.status ??= response.status;
    return answer;
  } catch {
    return { error: { code: "LoadReportFailed", message: "The simulated service does not answer.", status: 500 } };
  }
}

/* -------------------------------------------------------------------- drawing --- */

const NAMES = { report: "Report", paginated_report: "Paginated report", dashboard: "Dashboard", tile: "Tile", qna: "Q&A", create: "New report", visual: "Visual" };
const MEASURES = ["Revenue", "Amount", "Target", "Price", "Index"];
const COUNTED = new Set([...MEASURES, "Margin", "Units", "Quantity", "Balance", "Budget"]); // other numbers are names, such as an invoice's
const GROUPS = ["Country", "Product", "Customer", "Company", "Region"];
const MOST_ROWS = 60;
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const exact = new Intl.NumberFormat("en");

function node(tag, attributes = {}, ...children) {
  const svg = ["svg", "rect", "text", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

function drawSheet() {
  const { shown, kind, config } = state;
  const look = JSON.stringify([shown.title, shown.tables, shown.canEdit, shown.canSaveAs, config.viewMode, config.parameterValues, kind]);
  if (look === state.drawn) return;
  state.drawn = look;
  const scrolled = canvas.scrollTop;
  const tables = shown.tables.map(kind === "paginated_report" ? drawPaper : drawVisual);
  canvas.replaceChildren(node("article", { class: `sheet ${kind}` },
    node("header", {},
      node("h1", {}, shown.title),
      node("span", { class: "kind" }, NAMES[kind]),
      ...drawEditing(),
    ),
    kind === "qna" ? node("input", { class: "question", "aria-label": "Question", value: config.question ?? "", placeholder: "Ask a question about your data" }) : null,
    ...tables,
  ));
  canvas.scrollTop = scrolled;
}

function drawEditing() {
  const { shown, kind, config } = state;
  const editing = config.viewMode === 1 || kind === "create";
  if (!editing) return [];
  const title = node("input", { "aria-label": "Report name", value: kind === "create" ? "" : shown.title, placeholder: "Name of the report", oninput: () => { state.unsaved = true; } });
  const name = () => title.value.trim() || shown.title;
  const button = (text, action) => node("button", { type: "button", onclick: action }, text);
  return [node("div", { class: "editing" }, title,
    kind === "create" ? null : button("Save", () => save({ name: name() })),
    kind === "create" || shown.canSaveAs ? button(kind === "create" ? "Save" : "Save a copy", () => save({ saveAs: true, name: name() })) : null)];
}

function drawVisual(table, index) {
  const measure = pick(table, MEASURES, isNumeric);
  const groups = table.columns.filter((column) => !isNumeric(table, column));
  const choice = state.groupBy[index];
  const group = groups.includes(choice) ? choice : pick(table, GROUPS, (t, column) => groups.includes(column) && values(t, column).size > 1) ?? groups[0];
  const second = state.kind === "report" ? groups.filter((column) => column !== group && ["Product", "Month"].includes(column)).slice(0, 1) : [];
  const regroup = ({ target }) => {
    state.groupBy[index] = target.value;
    state.drawn = "";
    drawSheet();
    canvas.querySelectorAll("select")[index]?.focus();
  };
  const options = groups.map((column) => node("option", { value: column, selected: column === group }, column));
  return node("section", {},
    node("h2", {}, `${measure} by `, node("select", { "aria-label": `Group ${table.name} by`, onchange: regroup }, ...options)),
    node("div", { class: "charts" },
      drawBars(totals(table, group, measure), `${measure} by ${group}`),
      ...second.flatMap((other) => [node("h3", {}, `by ${other}`), drawBars(totals(table, other, measure), `${measure} by ${other}`)])),
    ["tile", "visual"].includes(state.kind) ? null : drawTable(table));
}

function drawPaper(table) {
  const wanted = (state.config.parameterValues ?? []).filter(({ name, value }) => table.columns.includes(name) && value != null);
  const rows = table.rows.filter((row) => wanted.every(({ name, value }) => String(row[table.columns.indexOf(name)]) === value));
  const parameters = (state.config.parameterValues ?? []).map(({ name, value }) => `${name}: ${value ?? "all"}`).join(", ");
  return node("section", { class: "paper" },
    node("p", { class: "parameters" }, parameters ? `Parameters: ${parameters}` : "Parameters: none"),
    drawTable({ ...table, rows }),
    node("p", { class: "page" }, "Page 1 of 1"));
}

function drawBars(entries, label) {
  const most = Math.max(...entries.map(([, sum]) => sum), 1);
  const bars = entries.flatMap(([name, sum], row) => [
    node("text", { x: 0, y: row * 38 + 13, class: "name" }, name),
    node("text", { x: "100%", y: row * 38 + 13, class: "sum" }, number.format(sum)),
    node("rect", { x: 0, y: row * 38 + 19, width: `${Math.max((sum / most) * 100, 0.5)}%`, height: 12, rx: 2, class: `bar c${row % 6}` }),
  ]);
  const summary = `${label}: ${entries.map(([name, sum]) => `${name} ${number.format(sum)}`).join(", ")}`;
  if (!entries.length) return node("p", { class: "empty" }, "No rows: this identity sees nothing here.");
  return node("svg", { class: "bars", height: entries.length * 38, role: "img", "aria-label": summary }, ...bars);
}

function drawTable({ name, columns, rows }) {
  const numeric = columns.map((column) => isNumeric({ columns, rows }, column));
  const text = (value, index) => (numeric[index] && COUNTED.has(columns[index]) ? exact.format(value) : String(value));
  const cell = (value, index) => node("td", { class: numeric[index] ? "number" : null }, text(value, index));
  const more = rows.length > MOST_ROWS ? ` (first ${MOST_ROWS} shown)` : "";
  return node("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Rows of ${name}` }, node("table", {},
    node("caption", {}, `${name}: ${rows.length} rows${more}`),
    node("thead", {}, node("tr", {}, ...columns.map((column, index) => node("th", { scope: "col", class: numeric[index] ? "number" : null }, column)))),
    node("tbody", {}, ...rows.slice(0, MOST_ROWS).map((row) => node("tr", {}, ...row.map(cell))))));
}

function drawStrip() {
  const { identities = [], tables } = state.shown;
  const left = Math.max(0, Math.round((state.expires - Date.now()) / 1_000));
  const who = identities.map(({ username, roles = [], customData }) => {
    const parts = [username, roles?.length ? `as ${roles.join(", ")}` : null, customData ? `(${customData})` : null];
    return parts.filter(Boolean).join(" ");
  });
  strip.hidden = false;
  put(identity, [...new Set(who)].join("; ") || "none: this model holds nothing to filter");
  const total = (count) => tables.reduce((sum, table) => sum + count(table), 0);
  const filters = [...new Set(tables.map(({ filter }) => filter).filter(Boolean))];
  put(rows, `${total((t) => t.rows.length)} of ${total((t) => t.totalRows ?? t.rows.length)}${filters.length ? ` · ${filters.join(" · ")}` : ""}`);
  put(document.getElementById("left"), `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
  put(swaps, state.swaps ? `renewed ${state.swaps}×, not reloaded` : "");
  strip.classList.toggle("dying", left < 30);
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function drawFailure(code, message) {
  strip.hidden = true;
  state.drawn = "";
  canvas.replaceChildren(node("div", { class: "notice failed", role: "alert" },
    node("strong", {}, code === "TokenExpired" ? "The token has expired" : "This content is not available"),
    node("p", {}, message ?? ""),
    node("code", {}, code)));
}

function values({ columns, rows }, column) {
  return new Set(rows.map((row) => row[columns.indexOf(column)]));
}

function isNumeric(table, column) {
  const all = [...values(table, column)];
  return all.length > 0 && all.every((value) => value !== "" && Number.isFinite(Number(value)));
}

function pick(table, preferred, fits) {
  return [...preferred, ...table.columns].find((column) => table.columns.includes(column) && fits(table, column));
}

function totals({ columns, rows }, group, measure) {
  const [by, of] = [columns.indexOf(group), columns.indexOf(measure)];
  const sums = new Map();
  for (const row of rows) sums.set(row[by], (sums.get(row[by]) ?? 0) + Number(row[of] ?? 1));
  const entries = [...sums];
  const inTime = entries.every(([name]) => /^\d{4}-\d{2}/.test(name));
  return entries.sort(([a, x], [b, y]) => (inTime ? a.localeCompare(b) : y - x)).slice(0, 12);
}

setInterval(() => {
  if (!state.shown || state.failed) return;
  drawStrip();
  if (Date.now() >= state.expires) draw();
}, 1_000);

setInterval(() => {
  if (state.shown && !state.failed && !document.hidden) draw();
}, HEARTBEAT);
