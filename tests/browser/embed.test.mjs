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
  test(`powerbi-client shows: ${kind}`, async () => {
    const page = await openApp(browser, sandbox);
    await open(page, { item, access: item === "new-sales-report" ? "create" : "view" });
    await report(page).locator("h1", { hasText: text }).waitFor();
    assert.equal(await report(page).locator(".kind").textContent(), kind);
    if (!silent) await rendered(page);
    assert.deepEqual(await codes(page), []);
    assert.equal(new URL(await page.locator("#frame iframe").getAttribute("src")).host, "app.powerbi.com");
  });
}

test("two people see different rows of one report", async () => {
  const seen = {};
  for (const persona of ["ana", "ben"]) {
    const page = await openApp(browser, sandbox);
    await page.evaluate((who) => { globalThis.app.persona = who; }, persona);
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
  await open(page, { item: "new-sales-report", access: "create", openSaved: "any-report" });
  await report(page).getByLabel("Report name").fill("Made in the browser");
  await report(page).getByRole("button", { name: "Save" }).click();
  await report(page).locator("h1", { hasText: "Made in the browser" }).waitFor();
  const [saved] = await app(page, "saved");
  assert.equal(saved.isNew, true);
  assert.equal(await page.evaluate(() => globalThis.app.handle.component.config.id), saved.reportId);
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

test("a tab that slept renews when it wakes up", async () => {
  const page = await openApp(browser, sandbox, { clock: true });
  await open(page, { item: "sales" });
  await rendered(page);
  const [{ refreshAfter }] = await app(page, "tokens");
  await page.clock.setSystemTime(Date.parse(refreshAfter) + 60_000); // the clock goes on, no timer fires
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal((await app(page, "tokens")).length, 1);
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await until(async () => (await app(page, "tokens")).length === 2, "a renewal");
  assert.equal((await names(page)).filter((name) => name === "loaded").length, 1);
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
  const [error] = await until(async () => (await app(page, "errors")).length && app(page, "errors"), "an error");
  const asked = Date.now();
  assert.equal(error.code, "power_bi_throttled");
  assert.ok(error.retryIn >= 5 && error.retryIn <= 7, `${error.retryIn}`);
  await rendered(page);
  assert.ok(Date.now() - asked >= 4_500);
  assert.deepEqual((await sandbox.mints()).map(({ status }) => status), [429, 200]);
  assert.equal((await app(page, "errors")).length, 1);
});

test("a paginated report is embedded again, with its parameters, once nobody is busy with it", async () => {
  const page = await openApp(browser, sandbox);
  await open(page, { item: "invoices", config: { parameterValues: [{ name: "Status", value: "paid" }] } });
  await report(page).locator(".parameters", { hasText: "Status: paid" }).waitFor();
  const before = await page.evaluate(() => globalThis.app.handle.component.config.uniqueId);
  await report(page).locator("tbody tr").first().click(); // somebody is busy with it
  await page.evaluate(() => globalThis.app.handle.renew());
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  assert.equal(await page.evaluate(() => globalThis.app.handle.component.config.uniqueId), before);
  await page.locator("h1").first().click();
  await until(async () => await page.evaluate(() => globalThis.app.handle.component.config.uniqueId) !== before, "a new embed");
  await report(page).locator(".parameters", { hasText: "Status: paid" }).waitFor();
  const config = await page.evaluate(() => globalThis.app.handle.component.config);
  assert.equal(config.accessToken, (await app(page, "tokens")).at(-1).token);
  assert.deepEqual(await codes(page), []);
});

test("who may see nothing gets a message that a person can read", async () => {
  const page = await openApp(browser, sandbox);
  await page.evaluate(() => { globalThis.app.persona = "dora"; });
  await open(page, { item: "sales" });
  const [error] = await until(async () => (await app(page, "errors")).length && app(page, "errors"), "a refusal");
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

test("two items share one token", async () => {
  const page = await openApp(browser, sandbox);
  await page.evaluate(() => globalThis.app.openMany(["sales", "sales-visual"]));
  await report(page, "#second").locator(".kind", { hasText: "Visual" }).waitFor();
  await rendered(page);
  assert.equal((await sandbox.mints()).length, 1);
  assert.equal((await app(page, "tokens")).length, 1);
});

test("the browser refuses the broker's answer to a foreign origin", async () => {
  const page = await openApp(browser, sandbox, { origin: `http://127.0.0.1:${await freePort()}` });
  const refusals = [];
  page.on("console", (message) => { if (message.text().includes("CORS policy")) refusals.push(message.text()); });
  await page.evaluate(() => { globalThis.app.userToken = async () => "from.somewhere.else"; });
  await open(page, { item: "sales" });
  const [error] = await until(async () => (await app(page, "errors")).length && app(page, "errors"), "a refusal");
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
  await page.evaluate(() => globalThis.app.handle.renew());
  await until(async () => (await app(page, "tokens")).length === 2, "a renewal");
  for (const { token } of await app(page, "tokens")) {
    assert.equal(addresses.some((address) => decodeURIComponent(address).includes(token.slice(0, 40))), false);
  }
  await page.evaluate(() => globalThis.app.handle.dispose());
  assert.equal(await page.locator("#frame iframe").count(), 0);
  assert.equal(await page.locator("#frame").getAttribute("powerbi-access-token"), null);
});
