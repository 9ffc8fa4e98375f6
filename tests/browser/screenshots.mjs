// Takes the pictures that show the demo page to people, into screenshots/:
// node --test screenshots.mjs, or with --test-name-pattern='ana' a part of them.
import { mkdir } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { newContext, report, startBrowser, startSandbox } from "./support.mjs";

const folder = fileURLToPath(new URL("screenshots/", import.meta.url));
const DESK = { width: 1440, height: 1000 };
const PHONE = { width: 390, height: 844 };

await mkdir(folder, { recursive: true });
const sandbox = await startSandbox({ EMBED_BROKER__SERVER__REQUEST_TIMEOUT: "5s" });
const browser = await startBrowser(sandbox);

const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const open = async (page) => {
  await report(page).locator("#strip").waitFor();
  await page.locator("#request pre").waitFor();
};
const refused = async (page) => {
  await page.locator("#refusal h3").waitFor();
  await page.locator("#rule .matched").waitFor();
};
const renewed = async (page) => {
  await open(page);
  for (const times of [1, 2]) {
    await press(page, "Renew now");
    await report(page).locator("#swaps", { hasText: `renewed ${times}×` }).waitFor();
  }
};
const expired = async (page) => {
  await open(page);
  await press(page, "Let it die in 5 seconds");
  await page.locator("#log li", { hasText: "the report is reloaded" }).waitFor();
  await open(page);
};
const throttled = async (page) => {
  await open(page);
  await press(page, "Throttle (429)");
  await page.locator("#status", { hasText: "stays open" }).waitFor();
};
const looked = async (page) => {
  await open(page);
  await page.locator("#rule").getByRole("button", { name: "managers" }).click();
};
const failed = async (page) => {
  await page.locator("#refusal h3", { hasText: "right now" }).waitFor();
};
const faulty = async (page) => {
  await open(page);
  await press(page, "Suggest a mistake");
  await press(page, "Save the policy");
  await page.locator("#verdict.bad pre").waitFor();
};
const restored = async (page) => {
  await press(page, "Back to the one in force");
  await press(page, "Save the policy");
  await page.locator("#verdict.good").waitFor();
};

const SCENES = [
  ["ana", "persona=ana&item=sales", open],
  ["ben", "persona=ben&item=sales", open],
  ["chloe", "persona=chloe&item=sales", open],
  ["refusal", "persona=dora", refused],
  ["renewal", "persona=ana&item=sales", renewed],
  ["expiry", "persona=ana&item=sales", expired],
  ["unreachable", "persona=audra&item=sales", failed, async () => {}, { status: 503 }],
  ["throttled", "persona=ana&item=sales", throttled],
  ["rule-in-the-policy", "persona=ana&item=sales", looked],
  ["faulty-policy", "persona=ana&item=sales", faulty, restored],
  ...["invoices", "sales-dashboard", "sales-tile", "ask-sales", "sales-visual", "new-sales-report", "benchmark-ledger", "group-plan"]
    .map((item) => [`item-${item}`, `persona=ana&item=${item}`, open]),
];

const LOOKS = {
  light: { viewport: DESK },
  dark: { viewport: DESK, colorScheme: "dark" },
  phone: { viewport: PHONE, deviceScaleFactor: 2 },
  "phone-dark": { viewport: PHONE, deviceScaleFactor: 2, colorScheme: "dark" },
};

for (const [name, hash, act, after = async () => {}, fault] of SCENES) {
  for (const [look, options] of Object.entries(LOOKS)) {
    test(`${name}-${look}`, async () => {
      await sandbox.call("POST", "/sandbox/reset");
      await sandbox.call("POST", "/sandbox/tokens/forget");
      if (fault) await sandbox.fault(fault);
      const { page } = await newContext(browser, options);
      await page.goto(`${sandbox.upstream}/#${hash}`);
      await act(page);
      await page.screenshot({ path: `${folder}${name}-${look}.png`, fullPage: true });
      await after(page);
    });
  }
}
