// The demo page as a visitor uses it: with the stand-in for powerbi-client, by mouse, keyboard and phone.
import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { report, startBrowser, startSandbox, until } from "./support.mjs";

// Short lives and no token cache: so every button shows its effect at once.
const sandbox = await startSandbox({
  EMBED_BROKER__CACHE__EMBED_TOKENS_MAX_BYTES: "0",
  EMBED_BROKER__SERVER__REQUEST_TIMEOUT: "5s",
});
const browser = await startBrowser(sandbox);

beforeEach(() => sandbox.call("POST", "/sandbox/reset"));

async function visit(hash = "", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(10_000);
  after(() => context.close());
  const page = await context.newPage();
  page.problems = [];
  page.hosts = new Set();
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("request", (request) => page.hosts.add(new URL(request.url()).host));
  await page.goto(`${sandbox.upstream}/#${hash}`);
  return page;
}

const logged = (page, text) => page.locator("#log li", { hasText: text }).first().waitFor();

test("each persona sees her own rows, and how that came about", async () => {
  const page = await visit();
  await report(page).locator("#identity", { hasText: "ana@contoso.example" }).waitFor();
  assert.match(await report(page).locator("#rows").textContent(), /^12 of 36/);
  await page.locator("#identity", { hasText: "Region EMEA" }).waitFor();
  await page.getByRole("radio", { name: /Ben Brook/ }).check();
  await report(page).locator("#identity", { hasText: "ben@contoso.example" }).waitFor();
  await page.locator("#identity", { hasText: "Region AMER" }).waitFor();
  assert.match(await page.locator("#claims").textContent(), /ben@contoso\.example/);
  assert.match(await page.locator("#request pre").textContent(), /"roles": \[\s*"Region AMER"/);
  assert.match(await page.locator("#rule").textContent(), /suspended.*auditors.*managers.*viewers/);
  assert.match(await page.locator("#expires").textContent(), /^\d+:\d\d$/);
  assert.deepEqual(page.problems, []);
});

test("a person who may open nothing is told so", async () => {
  const page = await visit("persona=dora");
  const refusal = page.locator("#refusal");
  await refusal.getByText("Dora Duval may not open this").waitFor();
  assert.match(await refusal.textContent(), /403 not_permitted · request \w/);
  assert.equal(await refusal.getAttribute("role"), "alert");
  assert.equal(await page.locator("#no-token").isVisible(), true);
  assert.deepEqual(page.problems, []);
});

test("a renewal does not reload the report, an expiry does", async () => {
  const page = await visit("persona=ana&item=sales");
  await report(page).locator("#identity", { hasText: "ana@" }).waitFor();
  await page.getByRole("button", { name: "Renew now" }).click();
  await logged(page, "Token renewed: the report was not reloaded.");
  await report(page).locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
  await page.getByRole("button", { name: "Let it die in 5 seconds" }).click();
  await logged(page, "Power BI: TokenExpired.");
  await logged(page, "the report is reloaded");
  await report(page).locator("#identity", { hasText: "ana@" }).waitFor();
  assert.deepEqual(page.problems, []);
});

for (const [button, words] of [["Throttle (429)", "Trying again in"], ["Break (503)", "Trying again in"]]) {
  test(`when Power BI fails, ${button}, an open report stays open and a new one says what is wrong`, async () => {
    const page = await visit("persona=ana&item=sales");
    await report(page).locator("#identity", { hasText: "ana@" }).waitFor();
    await page.getByRole("button", { name: button }).click();
    await page.locator("#status", { hasText: "The report stays open." }).waitFor();
    assert.equal(await report(page).locator("#identity").isVisible(), true);
    await page.getByRole("radio", { name: /Audra Ames/ }).check();
    await page.locator("#refusal", { hasText: "cannot be opened right now" }).waitFor();
    assert.match(await page.locator("#refusal").textContent(), new RegExp(words));
    await page.getByRole("button", { name: "Heal" }).click();
    await report(page).locator("#identity", { hasText: "u-audra" }).waitFor({ timeout: 20_000 });
    assert.deepEqual(page.problems, []);
  });
}

test("a changed policy is taken, and a faulty one is not", async () => {
  const page = await visit("persona=ben&item=sales");
  await page.locator("#identity", { hasText: "Region AMER" }).waitFor();
  const policy = await page.locator("#policy").inputValue();
  const changed = policy
    .replace("- name: viewers\n", "- name: viewers\n    lifetime: 7m\n");
  assert.notEqual(changed, policy);
  await page.locator("#policy").fill(changed);
  await page.getByRole("button", { name: "Save the policy" }).click();
  await page.locator("#request pre", { hasText: "\"lifetimeInMinutes\": 7" }).waitFor({ timeout: 15_000 });
  await page.locator("#policy").fill(`${changed}\nnonsense: true\n`);
  await page.getByRole("button", { name: "Save the policy" }).click();
  await until(async () => await page.locator("#log li", { hasText: "Asking under the new policy" }).count() === 2, "the page to ask again");
  await page.locator("#request pre", { hasText: "\"lifetimeInMinutes\": 7" }).waitFor();
  await sandbox.call("PUT", "/sandbox/policy", policy);
  assert.deepEqual(page.problems, []);
});

test("the keyboard alone is enough", async () => {
  const page = await visit("persona=ana&item=sales");
  await report(page).locator("#identity", { hasText: "ana@" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the report");
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowRight");
  await report(page).locator("#identity", { hasText: "ben@" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "item");
});

test("everything that can be used has a name, and the frame a title", async () => {
  const page = await visit("persona=ana&item=sales");
  await report(page).locator("#identity", { hasText: "ana@" }).waitFor();
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, select, textarea, input")]
    .filter((control) => !(control.textContent.trim() && control.tagName === "BUTTON") && !control.labels?.length && !control.getAttribute("aria-label"))
    .map((control) => control.outerHTML));
  assert.deepEqual(nameless, []);
  assert.match(await page.locator("#frame iframe").getAttribute("title"), /^Sales, simulated Power BI report$/);
});

test("a phone shows it without scrolling sideways", async () => {
  for (const hash of ["persona=ana&item=sales", "persona=dora", "persona=ana&item=invoices"]) {
    const page = await visit(hash, { viewport: { width: 360, height: 780 } });
    await page.locator("#log li").nth(1).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, hash);
  }
});

test("nothing is loaded from anywhere else", async () => {
  const page = await visit("persona=ana&item=sales");
  await report(page).locator("#identity", { hasText: "ana@" }).waitFor();
  assert.deepEqual([...page.hosts].sort(), [new URL(sandbox.broker).host, new URL(sandbox.upstream).host].sort());
});
