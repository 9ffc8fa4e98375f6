// The unmodified powerbi-client, client/embed-broker.js and the broker, in a real browser.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { freePort, openApp, report, startBrowser, startSandbox, until } from "./support.mjs";

// Without a token cache each renewal is a mint; with a short timeout a throttled mint is soon given up.
const sandbox = await startSandbox({
  EMBED_BROKER__CACHE__EMBED_TOKENS_MAX_BYTES: "0",
  EMBED_BROKER__SERVER__REQUEST_TIMEOUT: "5s",
});
const browser = await startBrowser(sandbox);

beforeEach(() => sandbox.call("POST", "/sandbox/reset"));

const open = (page, options) => page.evaluate((given) => globalThis.app.open(given), options);
const app = (page, member) => page.evaluate((name) => globalThis.app[name], member);
const codes = async (page) => (await app(page, "errors")).map(({ code }) => code);
const names = (page) => page.evaluate(() => globalThis.app.names());
const uniqueId = (page) => page.evaluate(() => globalThis.app.handle.component.config.uniqueId);
const renew = (page) => page.evaluate(() => globalThis.app.handle.renew());
const tokensAre = (page, count) => until(async () => (await app(page, "tokens")).length === count, `${count} tokens`);
const firstError = (page) => until(async () => (await app(page, "errors"))[0], "an error");
const set = (page, members) => page.evaluate((given) => Object.assign(globalThis.app, given), members);
const rendered = (page) => until(async () => (await names(page)).includes("rendered"), "the report to be rendered");

const KINDS = [
  { item: "sales", kind: "Report", text: "Sales Overview" },
  { item: "invoices", kind: "Paginated report", text: "Invoices", silent: true },
  { item: "sales-dashboard", kind: "Dashboard", text: "Sales Dashboard" },
  { item: "sales-tile", kind: "Tile", text: "Revenue" },
  { item: "ask-sales", kind: "Q&A", text: "Ask a question about Sales" },
  { item: "sales-visual", kind: "Visual", text: "Sales Overview" },
  { item: "new-sales-report", kind: "New report", text: "New report on Sales" },
];

for (const { item, kind, text, silent } of KINDS) {
  test(`powerbi-client shows, and renews: ${kind}`, async () => {
    const page = await openApp(browser, sandbox);
    await open(page, { item, access: item === "new-sales-report" ? "create" : "view" });
    await report(page).locator("h1", { hasText: text }).waitFor();
    assert.equal(await report(page).locator(".kind").textContent(), kind);
    if (!silent) await rendered(page);
    assert.deepEqual(await codes(page), []);
    assert.equal(new URL(await page.locator("#frame iframe").getAttribute("src")).host, "app.powerbi.com");
    const before = await uniqueId(page);
    await renew(page);
    if (silent) await until(async () => await uniqueId(page) !== before, "a new embed");
    else await report(page).locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
    await report(page).locator("h1", { hasText: text }).waitFor();
    assert.equal((await sandbox.mints()).length, 2);
    assert.deepEqual(await codes(page), []);
  });
}

test("two people see different rows of one report", async () => {
  const seen = {};
  for (const persona of ["ana", "ben"]) {
    const page = await openApp(browser, sandbox);
    await set(page, { persona });
    await open(page, { item: "sales" });
    await rendered(page);
    seen[persona] = await report(page).locator("tbody tr td:first-child").allTextContents();
    assert.match(await report(page).locator("#identity").textContent(), new RegExp(`^${persona}@contoso.example`));
  }
  assert.deepEqual([...new Set(seen.ana)], ["EMEA"]);
  assert.deepEqual([...new Set(seen.ben)], ["AMER"]);
});

test("a view token cannot save, whatever the page claims", async () => {
  const page = await openApp(browser, sandbox);
  await open(page, { item: "sales", config: { viewMode: 1, permissions: 7 } });
  await until(async () => (await codes(page)).length, "a refusal");
  assert.deepEqual(await codes(page), ["PowerBINotAuthorizedException"]);
  const refused = await page.evaluate(async () => {
    const results = [];
    for (const attempt of [(c) => c.save(), (c) => c.saveAs({ name: "Mine" })]) {
      results.push(await attempt(globalThis.app.handle.component).then(() => "saved", (error) => error.message));
    }
    return results;
  });
  assert.deepEqual(refused, ["PowerBINotAuthorizedException", "PowerBINotAuthorizedException"]);
  assert.deepEqual(await app(page, "saved"), []);
});

test("an edit token saves", async () => {
  const page = await openApp(browser, sandbox);
  await open(page, { item: "sales", access: "edit" });
  await rendered(page);
  await report(page).getByRole("button", { name: "Save", exact: true }).click();
  const [saved] = await until(async () => (await app(page, "saved")).length && app(page, "saved"), "the report to be saved");
  assert.equal(saved.isNew, false);
});

test("a report that was just created is opened under a token of its own", async () => {
  const page = await openApp(browser, sandbox);
  // The broker has read the list of reports before; it must look again.
  const bearer = await sandbox.call("GET", "/idp/token?persona=ana");
  const listed = await fetch(`${sandbox.broker}/items/any-report/targets`, { headers: { Authorization: `Bearer ${bearer}` } });
  const [read, { targets }] = [Date.now(), await listed.json()];
  assert.equal(targets.some(({ name }) => name === "Made in the browser"), false);
  await open(page, { item: "new-sales-report", access: "create", openSaved: "any-report" });
  await report(page).getByLabel("Report name").fill("Made in the browser");
  await until(() => Date.now() > read + 1_000, "the list to be a second old");
  await report(page).getByRole("button", { name: "Save" }).click();
  await report(page).locator("h1", { hasText: "Made in the browser" }).waitFor();
  const [saved] = await app(page, "saved");
  assert.equal(saved.isNew, true);
  assert.equal(await page.evaluate(() => globalThis.app.handle.component.config.id), saved.reportId);
  assert.equal((await sandbox.mints()).length, 2);
  assert.deepEqual(await codes(page), []);
});

test("of a copy that no item covers the page is told, and its report stays", async () => {
  const page = await openApp(browser, sandbox);
  await open(page, { item: "benchmarks", access: "edit", saveAs: true });
  await rendered(page);
  const before = await uniqueId(page);
  await report(page).getByRole("button", { name: "Save a copy" }).click();
  const saved = await until(async () => (await app(page, "saved"))[0], "the copy to be saved");
  assert.equal(saved.isNew, true);
  await renew(page);
  await tokensAre(page, 2);
  assert.equal(await uniqueId(page), before);
  await sandbox.call("DELETE", `/sandbox/reports/${saved.reportId}`);
  assert.deepEqual(await codes(page), []);
});

test("a token is renewed five times in a row without a reload", async () => {
  const page = await openApp(browser, sandbox, { clock: true });
  await open(page, { item: "sales" });
  await rendered(page);
  await report(page).getByLabel("Group Sales by").selectOption("Month"); // state that a reload would lose
  for (let renewals = 1; renewals <= 5; renewals++) {
    const { refreshAfter } = (await app(page, "tokens")).at(-1);
    const ahead = Date.parse(refreshAfter) - await page.evaluate(() => Date.now());
    await page.clock.fastForward(Math.max(ahead, 6 * 60_000) + 1_000);
    await until(async () => (await app(page, "tokens")).length === renewals + 1, `renewal ${renewals}`);
  }
  const tokens = await app(page, "tokens");
  assert.equal(new Set(tokens.map(({ tokenId }) => tokenId)).size, 6);
  await report(page).locator("#swaps", { hasText: "renewed 5×, not reloaded" }).waitFor();
  assert.equal((await names(page)).filter((name) => name === "loaded").length, 1);
  assert.equal(await report(page).getByLabel("Group Sales by").inputValue(), "Month");
  assert.equal(await page.evaluate(() => globalThis.app.handle.component.config.accessToken), tokens.at(-1).token);
  assert.deepEqual(await codes(page), []);
});

/** A page whose timers stand still, at a time when its token should long have been renewed. */
async function asleep() {
  const page = await openApp(browser, sandbox, { clock: true });
  await open(page, { item: "sales" });
  await rendered(page);
  await page.clock.pauseAt(await page.evaluate(() => Date.now()) + 1_000);
  const [{ refreshAfter }] = await app(page, "tokens");
  await page.clock.setSystemTime(Date.parse(refreshAfter) + 60_000);
  assert.equal((await app(page, "tokens")).length, 1);
  return page;
}

for (const [what, wake] of [
  ["becomes visible", (page) => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")))],
  ["runs on without a word", (page) => page.clock.runFor(30_000)],
]) {
  test(`a tab that slept and now ${what} renews`, async () => {
    const page = await asleep();
    await wake(page);
    await tokensAre(page, 2);
    await report(page).locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
    assert.equal((await names(page)).filter((name) => name === "loaded").length, 1);
  });
}

test("a page that was offline renews as soon as the network is back", async () => {
  const page = await asleep();
  await page.context().setOffline(true);
  await renew(page);
  assert.match((await firstError(page)).code, /^(network|user_token_failed)$/);
  await page.context().setOffline(false); // no timer runs: the event alone does it
  await tokensAre(page, 2);
  await report(page).locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
  assert.equal((await app(page, "errors")).length, 1);
});

test("a sign-in that has expired is asked for afresh, and nobody notices", async () => {
  const page = await openApp(browser, sandbox);
  await set(page, { oldSignIn: true });
  await open(page, { item: "sales" });
  await rendered(page);
  assert.deepEqual(await app(page, "userTokens"), [false, true]);
  await renew(page);
  await tokensAre(page, 2);
  assert.deepEqual(await app(page, "userTokens"), [false, true, false, true]);
  assert.deepEqual(await codes(page), []);
});

test("a token that died is replaced and the report loaded again", async () => {
  const page = await openApp(browser, sandbox);
  await open(page, { item: "sales" });
  await rendered(page);
  const [{ token }] = await app(page, "tokens");
  await sandbox.call("POST", "/sandbox/tokens/age", { token, seconds_left: 0 });
  await until(async () => (await names(page)).filter((name) => name === "rendered").length === 2, "the report to be back");
  const [expired] = (await app(page, "events")).filter(({ name }) => name === "error");
  assert.equal(expired.detail.message, "TokenExpired");
  assert.deepEqual(await codes(page), []);
  assert.equal(await report(page).locator("tbody tr").count(), 12);
});

test("a throttled broker is waited for, as long as it asks", async () => {
  const page = await openApp(browser, sandbox);
  await sandbox.fault({ status: 429, headers: { "Retry-After": "6" }, times: 1 });
  await open(page, { item: "sales" });
  const error = await firstError(page);
  const asked = Date.now();
  assert.equal(error.code, "power_bi_throttled");
  assert.ok(error.retryIn >= 5 && error.retryIn <= 7, `${error.retryIn}`);
  await rendered(page);
  assert.ok(Date.now() - asked >= 4_500);
  assert.deepEqual((await sandbox.mints()).map(({ status }) => status), [429, 200]);
  assert.equal((await app(page, "errors")).length, 1);
});

/** An open paginated report with a parameter, and somebody's pointer and focus in it. */
async function busyWithInvoices() {
  const page = await openApp(browser, sandbox, { clock: true });
  await open(page, { item: "invoices", config: { parameterValues: [{ name: "Status", value: "paid" }] } });
  await report(page).locator(".parameters", { hasText: "Status: paid" }).waitFor();
  await report(page).locator("tbody tr").first().click();
  return { page, before: await uniqueId(page) };
}

async function embeddedAgain(page, before) {
  await until(async () => await uniqueId(page) !== before, "a new embed");
  await report(page).locator(".parameters", { hasText: "Status: paid" }).waitFor();
  const config = await page.evaluate(() => globalThis.app.handle.component.config);
  assert.equal(config.accessToken, (await app(page, "tokens")).at(-1).token);
  assert.deepEqual(await codes(page), []);
}

test("a paginated report is embedded again, with its parameters, once nobody is busy with it", async () => {
  const { page, before } = await busyWithInvoices();
  await renew(page);
  await tokensAre(page, 2);
  await page.clock.runFor(60_000);
  assert.equal(await uniqueId(page), before);
  await page.locator("h1").first().click();
  await page.clock.runFor(2_000);
  await embeddedAgain(page, before);
});

test("a paginated report is embedded again before its token dies, busy or not", async () => {
  const { page, before } = await busyWithInvoices();
  const [{ refreshAfter, expiration }] = await app(page, "tokens");
  const ahead = async (time) => Date.parse(time) - await page.evaluate(() => Date.now());
  await page.clock.fastForward(await ahead(refreshAfter) + 1_000);
  await tokensAre(page, 2);
  assert.equal(await uniqueId(page), before);
  await page.clock.fastForward(await ahead(expiration) - 1_000);
  await embeddedAgain(page, before);
});

test("parameters that the page changed meanwhile are kept", async () => {
  const { page, before } = await busyWithInvoices();
  await page.evaluate(() => { // as Microsoft's documents say: by embedding again
    const { component } = globalThis.app.handle;
    globalThis.powerbi.embed(document.getElementById("frame"), { ...component.config, parameterValues: [{ name: "Status", value: "open" }] });
  });
  await report(page).locator(".parameters", { hasText: "Status: open" }).waitFor();
  await renew(page);
  await page.locator("h1").first().click();
  await page.clock.runFor(2_000);
  await until(async () => await uniqueId(page) !== before, "a new embed");
  await report(page).locator(".parameters", { hasText: "Status: open" }).waitFor();
});

test("who may see nothing gets a message that a person can read", async () => {
  const page = await openApp(browser, sandbox);
  await set(page, { persona: "dora" });
  await open(page, { item: "sales" });
  const error = await firstError(page);
  assert.deepEqual([error.code, error.status], ["not_permitted", 403]);
  assert.match(error.requestId, /^[\w.-]+$/);
  assert.match(await page.getByRole("alert").textContent(), /\w+ \w+ \w+/);
  assert.deepEqual(await sandbox.mints(), []);
});

test("a report that the token does not cover is refused by its documented name", async () => {
  const page = await openApp(browser, sandbox);
  await open(page, { item: "sales", config: { id: "4e904700-0000-4000-8000-000000000003" } });
  await until(async () => (await codes(page)).length, "a refusal");
  assert.deepEqual(await codes(page), ["LoadReportFailed"]);
});

test("two items share one token and one renewal", async () => {
  const page = await openApp(browser, sandbox, { clock: true });
  await page.evaluate(() => globalThis.app.openMany(["sales", "sales-visual"]));
  await report(page, "#second").locator(".kind", { hasText: "Visual" }).waitFor();
  await rendered(page);
  assert.equal((await sandbox.mints()).length, 1);
  await page.clock.fastForward("15:00");
  await tokensAre(page, 2);
  for (const element of ["#frame", "#second"]) {
    await report(page, element).locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
  }
  assert.equal((await sandbox.mints()).length, 2);
  const inUse = await page.evaluate(() => globalThis.app.handle.components.map(({ config }) => config.accessToken));
  const [, { token }] = await app(page, "tokens");
  assert.deepEqual(inUse, [token, token]);
});

test("the browser refuses the broker's answer to a foreign origin", async () => {
  const page = await openApp(browser, sandbox, { origin: `http://127.0.0.1:${await freePort()}` });
  const refusals = [];
  page.on("console", (message) => { if (message.text().includes("CORS policy")) refusals.push(message.text()); });
  await page.evaluate(() => { globalThis.app.userToken = async () => "from.somewhere.else"; });
  await open(page, { item: "sales" });
  const error = await firstError(page);
  assert.equal(error.code, "network");
  await until(() => refusals.length, "the browser's own words");
  assert.deepEqual(await app(page, "tokens"), []);
});

test("no token travels in an address, and none stays in the page after dispose", async () => {
  const page = await openApp(browser, sandbox);
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));
  await open(page, { item: "sales" });
  await rendered(page);
  await renew(page);
  await tokensAre(page, 2);
  for (const { token } of await app(page, "tokens")) {
    assert.equal(addresses.some((address) => decodeURIComponent(address).includes(token.slice(0, 40))), false);
  }
  await page.evaluate(() => globalThis.app.handle.dispose());
  assert.equal(await page.locator("#frame iframe").count(), 0);
  assert.equal(await page.locator("#frame").getAttribute("powerbi-access-token"), null);
});

/** Keeps count of the timers that will still fire. */
const COUNT_TIMERS = `(() => {
  const live = globalThis.liveTimers = new Set();
  for (const [make, end] of [["setTimeout", "clearTimeout"], ["setInterval", "clearInterval"]]) {
    const [real, realEnd] = [globalThis[make], globalThis[end]];
    globalThis[make] = (action, ...rest) => {
      const id = real((...given) => { if (make === "setTimeout") live.delete(id); action(...given); }, ...rest);
      live.add(id);
      return id;
    };
    globalThis[end] = (id) => { live.delete(id); realEnd(id); };
  }
})()`;

/** Every listener of window, document and the elements, as the browser itself counts them. */
async function listeners(page) {
  const devtools = await page.context().newCDPSession(page);
  const found = {};
  for (const expression of ["window", "document", "document.getElementById('frame')", "document.getElementById('second')"]) {
    const { result } = await devtools.send("Runtime.evaluate", { expression });
    const known = await devtools.send("DOMDebugger.getEventListeners", { objectId: result.objectId });
    found[expression] = known.listeners.map(({ type }) => type).sort();
  }
  await devtools.detach();
  return found;
}

test("dispose leaves no timer, no listener and no request behind", async () => {
  const page = await openApp(browser, sandbox, { script: COUNT_TIMERS });
  const timers = () => page.evaluate(() => globalThis.liveTimers.size);
  const dispose = () => page.evaluate(() => globalThis.app.handle.dispose());
  const opened = async () => {
    await page.evaluate(() => globalThis.app.openMany(["sales", "sales-visual"]));
    await report(page).locator("tbody tr").first().waitFor();
    await report(page, "#second").locator(".kind", { hasText: "Visual" }).waitFor();
  };
  const [idle, before] = [await timers(), await listeners(page)];

  // It waits for the next renewal.
  await opened();
  const during = await listeners(page);
  assert.ok(during.document.includes("visibilitychange") && during.window.includes("online"), JSON.stringify(during));
  assert.ok(await timers() > idle);
  await dispose();
  assert.equal(await timers(), idle);
  assert.deepEqual(await listeners(page), before);

  // A renewal is under way.
  await opened();
  await sandbox.fault({ delay_ms: 4_000 });
  const asked = page.waitForRequest((request) => request.url().endsWith("/embed-token"));
  const failed = page.waitForEvent("requestfailed");
  await page.evaluate(() => { globalThis.app.handle.renew(); });
  await asked;
  await dispose();
  assert.match((await failed).failure().errorText, /ERR_ABORTED/);
  assert.deepEqual(await listeners(page), before);
  await until(async () => await timers() === idle, "all timers to be gone");
  assert.equal((await app(page, "tokens")).length, 2);
  assert.deepEqual(await codes(page), []);
});

test("dispose before the first answer embeds nothing", async () => {
  const page = await openApp(browser, sandbox);
  await sandbox.fault({ delay_ms: 4_000 });
  const asked = page.waitForRequest((request) => request.url().endsWith("/embed-token"));
  const failed = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/embed-token"));
  await open(page, { item: "sales" });
  await asked;
  await page.evaluate(() => globalThis.app.handle.dispose());
  await failed;
  assert.equal(await page.locator("iframe").count(), 0);
  assert.deepEqual([await names(page), await codes(page)], [[], []]);
});
