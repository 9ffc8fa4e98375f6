// The demo page as a visitor uses it: with the stand-in for powerbi-client, by mouse, keyboard and phone.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, test } from "node:test";
import axe from "axe-core";
import { newContext, report, run, startBrowser, startSandbox, until } from "./support.mjs";

// As a visitor starts it, token cache included; only a failing Power BI is given up sooner.
const sandbox = await startSandbox({ EMBED_BROKER__SERVER__REQUEST_TIMEOUT: "5s" });
const browser = await startBrowser(sandbox);
const policyFile = join(sandbox.folder, "policy.yaml");
const firstPolicy = await readFile(policyFile, "utf8");

beforeEach(async () => {
  await sandbox.call("POST", "/sandbox/reset");
  await sandbox.call("POST", "/sandbox/tokens/forget");
});

async function visit(hash = "", options = {}) {
  const { page } = await newContext(browser, { viewport: { width: 1280, height: 900 }, ...options });
  page.hosts = new Set();
  page.on("request", (request) => page.hosts.add(new URL(request.url()).host));
  await page.goto(`${sandbox.upstream}/#${hash}`);
  return page;
}

/** Waits until the report is shown as somebody. */
const shows = (page, who) => report(page).locator("#identity", { hasText: who }).waitFor();
const logged = (page, text) => page.locator("#log li", { hasText: text }).first().waitFor();
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const as = (page, name) => page.getByRole("radio", { name: new RegExp(name) }).check();
const token = (page) => page.locator("#token-id").textContent();

/** Whatever a test did to the policy: the first one is in force again. */
async function restorePolicy() {
  const { judged } = await sandbox.call("GET", "/sandbox/policy/state");
  await sandbox.call("PUT", "/sandbox/policy", firstPolicy);
  await until(async () => (await sandbox.call("GET", "/sandbox/policy/state")).judged > judged, "the first policy to be back");
}

test("each persona sees her own rows, and how that came about", async () => {
  const page = await visit();
  await shows(page, "ana@contoso.example");
  assert.match(await report(page).locator("#rows").textContent(), /^12 of 36/);
  await page.locator("#identity", { hasText: "Region EMEA" }).waitFor();
  await page.locator("#rule .matched", { hasText: "managers matches and decides" }).waitFor();
  await as(page, "Ben Brook");
  await shows(page, "ben@contoso.example");
  await page.locator("#identity", { hasText: "Region AMER" }).waitFor();
  assert.match(await page.locator("#claims").textContent(), /ben@contoso\.example/);
  assert.match(await page.locator("#request pre").textContent(), /"roles": \["Region AMER"\]/);
  const rules = await page.locator("#rule li").evaluateAll((items) => items.map((it) => [it.querySelector("button").textContent, it.className]));
  assert.deepEqual(rules, [["suspended", "condition_false"], ["auditors", "condition_false"], ["managers", "condition_false"], ["viewers", "matched"]]);
  assert.match(await page.locator("#rule").textContent(), /contoso → .*profile contoso, .*workspace Contoso/);
  assert.match(await page.locator("#expires").textContent(), /^\d+:\d\d$/);
});

test("another company's manager sees another company's rows", async () => {
  const page = await visit("persona=chloe&item=sales");
  await shows(page, "chloe@fabrikam.example as Region EMEA, Region APAC");
  const countries = await report(page).locator("tbody tr td:nth-child(2)").allTextContents();
  await as(page, "Ana Alvarez");
  await shows(page, "ana@contoso.example");
  assert.notDeepEqual(await report(page).locator("tbody tr td:nth-child(2)").allTextContents(), countries);
});

test("a token from the cache is explained by the call that made it", async () => {
  const page = await visit("persona=ana&item=sales");
  await shows(page, "ana@");
  const first = await token(page);
  await as(page, "Ben Brook");
  await shows(page, "ben@");
  await until(async () => (await sandbox.mints()).length === 2, "two mints");
  await page.clock.install();
  await page.clock.fastForward(10_000); // so that the token counts as made earlier
  await as(page, "Ana Alvarez");
  await shows(page, "ana@");
  await page.locator("#request", { hasText: "served the token from its cache" }).waitFor();
  assert.match(await page.locator("#request pre").textContent(), /"username": "ana@contoso\.example"/);
  assert.equal(await token(page), first);
  assert.equal((await sandbox.mints()).length, 2);
});

test("a person who may open nothing is told so, and the operator why", async () => {
  const page = await visit("persona=dora");
  const refusal = page.locator("#refusal");
  await refusal.getByText("Dora Duval may not open this").waitFor();
  assert.match(await refusal.textContent(), /403 not_permitted · request \w/);
  assert.equal(await refusal.getAttribute("role"), "alert");
  await page.locator("#rule .matched", { hasText: "suspended" }).waitFor();
  assert.match(await page.locator("#rule").textContent(), /the rule denies/);
  assert.equal(await page.locator("#no-token").isVisible(), true);
  assert.deepEqual(await sandbox.mints(), []);
});

test("a renewal does not reload the report, an expiry does", async () => {
  const page = await visit("persona=ana&item=sales");
  await shows(page, "ana@");
  const first = await token(page);
  await press(page, "Renew now");
  await logged(page, "Token renewed: the report was not reloaded.");
  await report(page).locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
  assert.notEqual(await token(page), first);
  await press(page, "Let it die in 5 seconds");
  await logged(page, "Power BI: TokenExpired.");
  await logged(page, "the report is reloaded");
  await shows(page, "ana@");
  assert.equal((await sandbox.mints()).length, 3);
});

for (const name of ["Throttle (429)", "Break (503)"]) {
  test(`when Power BI fails, ${name}, an open report stays open and a new one says what is wrong`, async () => {
    const page = await visit("persona=ana&item=sales");
    await shows(page, "ana@");
    await press(page, name);
    await page.locator("#status", { hasText: "The report stays open." }).waitFor();
    assert.equal(await report(page).locator("#identity").isVisible(), true);
    await as(page, "Audra Ames");
    await page.locator("#refusal", { hasText: "cannot be opened right now" }).waitFor();
    assert.match(await page.locator("#refusal").textContent(), /Trying again in/);
    await press(page, "Heal");
    await shows(page, "u-audra");
  });
}

test("a changed policy is taken, and the report opened again under it", async () => {
  const page = await visit("persona=ben&item=sales");
  await page.locator("#identity", { hasText: "Region AMER" }).waitFor();
  await press(page, "Suggest one-minute tokens");
  await press(page, "Save the policy");
  await page.locator("#verdict", { hasText: "Waiting for the broker" }).waitFor();
  await page.locator("#verdict.good", { hasText: "Taken." }).waitFor();
  await page.locator("#request pre", { hasText: "\"lifetimeInMinutes\": 1" }).waitFor();
  assert.match(await page.locator("#expires").textContent(), /^(1:00|0:\d\d)$/);
  await restorePolicy();
});

test("a faulty policy is not taken, and the page says why", async () => {
  const page = await visit("persona=ben&item=sales");
  await shows(page, "ben@");
  await press(page, "Suggest a mistake");
  await press(page, "Save the policy");
  await page.locator("#verdict.bad", { hasText: "Dora is suspended" }).waitFor();
  await as(page, "Dora Duval");
  await page.locator("#refusal", { hasText: "may not open this" }).waitFor();
  await press(page, "Back to the one in force");
  assert.equal(await page.locator("#policy").inputValue(), firstPolicy);
  await press(page, "Save the policy");
  await page.locator("#verdict.good").waitFor();
});

test("a change that an editor makes to the file is seen as well", async () => {
  const page = await visit("persona=ben&item=sales");
  await shows(page, "ben@");
  await writeFile(policyFile, firstPolicy.replace("- name: viewers\n", "- name: viewers\n    lifetime: 7m\n"));
  await page.locator("#request pre", { hasText: "\"lifetimeInMinutes\": 7" }).waitFor();
  assert.match(await page.locator("#policy").inputValue(), /lifetime: 7m/);
  await restorePolicy();
});

test("a rule can be looked up in the policy", async () => {
  const page = await visit("persona=ben&item=sales");
  await page.locator("#rule").getByRole("button", { name: "viewers" }).click();
  const marked = await page.locator("#policy").evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd));
  assert.match(marked, /^- name: viewers\n[^]*identity: \*regions$/);
  assert.doesNotMatch(marked, /managers/);
});

test("with brokers elsewhere the page shows what it can know", async () => {
  const alone = await run(["sandbox", "--upstream-only", "--upstream-port", "0", "--broker-url", "http://127.0.0.1:1"], {
    isReady: (line) => line.startsWith("{\"ready\":true") && JSON.parse(line),
  });
  const { page } = await newContext(browser);
  await page.goto(`${alone.upstream}/#persona=ana`);
  await page.locator("#refusal", { hasText: "cannot be opened right now" }).waitFor();
  await page.locator("#claims", { hasText: "ana@contoso.example" }).waitFor();
  await page.locator("#rule", { hasText: "stands in the broker’s audit record" }).waitFor();
  assert.equal(await page.locator("#policy-tool").isVisible(), false);
});

test("the keyboard alone is enough", async () => {
  const page = await visit("persona=ana&item=sales");
  await shows(page, "ana@");
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  const tab = async (to) => {
    for (let step = 0; step < 40; step++) {
      await page.keyboard.press("Tab");
      if (await focused() === to) return;
    }
    assert.fail(`no way to ${to} by tabulator`);
  };
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the report");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "report-heading");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowRight"); // from Ana, who is checked, to Ben
  await shows(page, "ben@");
  await tab("item");
  await page.keyboard.press("ArrowDown");
  await report(page).locator("h1", { hasText: "Sales by Seller" }).waitFor();
  await page.keyboard.press("ArrowUp");
  await shows(page, "ben@");
  await tab("viewers");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "policy");
  await page.keyboard.press("Shift+Tab");
  await page.reload();
  await shows(page, "ben@");
  await tab("renew");
  await page.keyboard.press("Space");
  await logged(page, "Token renewed");
  await tab("mistake");
  await page.keyboard.press("Enter");
  await page.locator("#verdict", { hasText: "Not saved yet." }).waitFor();
});

test("focus is always seen", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await visit("persona=ana&item=sales", { colorScheme });
    await shows(page, "ana@");
    const unseen = await page.evaluate(() => [...document.querySelectorAll("a, button:not(:disabled), select, textarea, [tabindex='0'], .card input")].filter((it) => {
      it.focus({ focusVisible: true });
      const seen = it.closest(".card") ?? it;
      return it.checkVisibility() && getComputedStyle(seen).outlineStyle === "none";
    }).map((it) => it.outerHTML));
    assert.deepEqual(unseen, []);
  }
});

/** What axe-core finds in the page and in the frame of the report. */
async function violations(page) {
  for (const frame of page.frames()) await frame.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { iframes: true }));
  assert.ok(found.passes.length > 20, "axe looked at next to nothing");
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.flat().join(" ")}: ${failureSummary}`));
}

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing to complain about, ${colorScheme}`, async () => {
    const page = await visit("persona=ana&item=sales", { colorScheme });
    await shows(page, "ana@");
    await page.locator("#request pre").waitFor();
    assert.deepEqual(await violations(page), [], "an open report");
    await press(page, "Renew now");
    await logged(page, "Token renewed");
    assert.deepEqual(await violations(page), [], "a renewed one");
    for (const item of ["invoices", "sales-dashboard", "ask-sales", "new-sales-report"]) {
      await page.locator("#item").selectOption(item);
      await page.locator("#status", { hasText: "is open for" }).waitFor();
      await report(page).locator("#strip").waitFor();
      assert.deepEqual(await violations(page), [], item);
    }
    await as(page, "Dora Duval");
    await page.locator("#refusal h3").waitFor();
    assert.deepEqual(await violations(page), [], "a refusal");
    await press(page, "Suggest a mistake");
    await press(page, "Save the policy");
    await page.locator("#verdict.bad pre").waitFor();
    assert.deepEqual(await violations(page), [], "a faulty policy");
    await restorePolicy();
  });
}

test("axe finds nothing to complain about in a phone's width, nor in a report whose token died", async () => {
  const page = await visit("persona=ana&item=sales", { viewport: { width: 390, height: 844 } });
  await shows(page, "ana@");
  await page.locator("#request pre").waitFor();
  assert.deepEqual(await violations(page), []);
  await sandbox.fault({ status: 503 });
  await press(page, "Let it die in 5 seconds");
  await report(page).getByText("The token has expired").waitFor();
  assert.deepEqual(await violations(page), []);
});

test("everything that can be used has a name, and the frame a title", async () => {
  const page = await visit("persona=ana&item=sales");
  await shows(page, "ana@");
  assert.match(await page.locator("#frame iframe").getAttribute("title"), /^Sales, simulated Power BI report$/);
  await page.getByRole("combobox", { name: "Item" }).waitFor();
  await page.getByRole("textbox", { name: "The policy" }).waitFor();
  await page.getByRole("region", { name: "How this report was opened" }).waitFor();
});

test("a phone shows it without scrolling sideways", async () => {
  for (const hash of ["persona=ana&item=sales", "persona=dora", "persona=ana&item=invoices"]) {
    const page = await visit(hash, { viewport: { width: 360, height: 780 } });
    await page.locator("#log li").nth(1).waitFor();
    await page.locator("#rule .matched").waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, hash);
  }
});

test("nothing is loaded from anywhere else", async () => {
  const page = await visit("persona=ana&item=sales");
  await shows(page, "ana@");
  assert.deepEqual([...page.hosts].sort(), [new URL(sandbox.broker).host, new URL(sandbox.upstream).host].sort());
});
