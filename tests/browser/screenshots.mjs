// Takes the pictures that show what the demo page looks like: `node screenshots.mjs [folder]`.
import { mkdir } from "node:fs/promises";
import { report, startBrowser, startSandbox } from "./support.mjs";

const folder = process.argv[2] ?? new URL("screenshots", import.meta.url).pathname;
await mkdir(folder, { recursive: true });
const sandbox = await startSandbox({ EMBED_BROKER__CACHE__EMBED_TOKENS_MAX_BYTES: "0" });
const browser = await startBrowser(sandbox);
const DESK = { width: 1440, height: 1000 };
const PHONE = { width: 390, height: 844 };

async function shoot(name, hash, { viewport = DESK, scheme = "light", act = async () => {}, full = true } = {}) {
  const context = await browser.newContext({ viewport, colorScheme: scheme, deviceScaleFactor: viewport === PHONE ? 2 : 1 });
  const page = await context.newPage();
  if (process.env.LIVE) {
    const src = new URL("../../src/sandbox/", import.meta.url).pathname;
    for (const f of ["behind.js", "dom.js", "demo.js", "policy.js", "demo.css", "stand-in.js"]) await page.route(`**/${f}`, (r) => r.fulfill({ path: `${src}demo/${f}` }));
    for (const f of ["embed.js", "embed.css"]) await page.route(`**/sandbox/embed_page/${f}`, (r) => r.fulfill({ path: `${src}embed_page/${f}` }));
    await page.route((u) => u.pathname === "/", (r) => r.fulfill({ path: `${src}demo/index.html` }));
  }
  page.on("pageerror", (e) => console.log(name, e.message));
  await page.goto(`${sandbox.upstream}/#${hash}`);
  await act(page);
  await page.waitForTimeout(600);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: full });
  await context.close();
}
const open = async (page) => { await report(page).locator("#identity", { hasText: "@" }).waitFor(); };
const refused = async (page) => { await page.locator("#refusal h3").waitFor(); };
const renewed = async (page) => { await open(page); await page.getByRole("button", { name: "Renew now" }).click(); await report(page).locator("#swaps", { hasText: "renewed" }).waitFor(); };

const only = process.argv.slice(3);
const take = (name, ...rest) => (only.length && !only.some((o) => name.includes(o)) ? null : shoot(name, ...rest));
await take("ana-light", "persona=ana&item=sales", { act: open });
await take("ana-dark", "persona=ana&item=sales", { scheme: "dark", act: open });
await take("ben-light", "persona=ben&item=sales", { act: open });
await take("renewal-light", "persona=ana&item=sales", { act: renewed });
await take("refusal-light", "persona=dora", { act: refused });
await take("refusal-dark", "persona=dora", { scheme: "dark", act: refused });
await take("phone-ana-light", "persona=ana&item=sales", { viewport: PHONE, act: open });
await take("phone-ana-dark", "persona=ana&item=sales", { viewport: PHONE, scheme: "dark", act: open });
await take("phone-refusal", "persona=dora", { viewport: PHONE, act: refused });
for (const item of ["invoices", "sales-dashboard", "sales-tile", "ask-sales", "sales-visual", "new-sales-report"]) await take(`item-${item}`, `persona=ana&item=${item}`, { act: open });
process.exit(0);
