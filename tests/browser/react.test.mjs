// The README's recipes for React as they stand there, bundled and run: the second is Microsoft's own
// powerbi-client-react, which takes the broker's configuration as it is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { writeRecipes } from "./recipes.mjs";
import { newContext, report, startBrowser, startSandbox, until } from "./support.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const sandbox = await startSandbox({ EMBED_BROKER__CACHE__EMBED_TOKENS_MAX_BYTES: "0" });
const browser = await startBrowser(sandbox);
const { jsx } = await writeRecipes("recipes-run", { brokerUrl: sandbox.broker });

const HTML = {
  contentType: "text/html",
  body: `<!doctype html><title>React</title><link rel="icon" href="data:,"><style>.report { height: 500px }</style>
    <div id="root"></div><script src="/app/bundle.js"></script>`,
};

async function bundle(recipe) {
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import { StrictMode, createElement } from "react";
        import { createRoot } from "react-dom/client";
        import { Report } from ${JSON.stringify(recipe)};
        const root = createRoot(document.getElementById("root"));
        const token = (persona) => async () => (await fetch("/idp/token?persona=" + persona)).text();
        const people = { ana: token("ana"), ben: token("ben"), dora: token("dora") };
        globalThis.show = (item, who) => root.render(createElement(StrictMode, null, createElement(Report, { item, getUserToken: people[who] })));
        globalThis.leave = () => root.unmount();`,
      resolveDir: here("."),
    },
    alias: { "embed-broker-client": here("../../client/embed-broker.js") },
    define: { "process.env.NODE_ENV": "\"development\"" }, // StrictMode mounts everything twice
    bundle: true,
    write: false,
    jsx: "automatic",
    logLevel: "error",
  });
  return outputFiles[0].text;
}

async function visit(recipe) {
  const { page } = await newContext(browser, {
    origin: sandbox.upstream,
    clock: true,
    made: { "/app/react.html": HTML, "/app/bundle.js": { contentType: "text/javascript", body: await bundle(recipe) } },
  });
  await page.goto(`${sandbox.upstream}/app/react.html`);
  return page;
}

const shows = (page, who) => report(page, "#root").locator("#identity", { hasText: `${who}@` }).waitFor();

for (const [index, recipe] of jsx.entries()) {
  test(`recipe ${index + 1} for React opens, renews without a reload, changes hands and leaves nothing behind`, async () => {
    await sandbox.call("POST", "/sandbox/reset");
    const page = await visit(recipe);
    await page.evaluate(() => globalThis.show("sales", "ana"));
    await shows(page, "ana");
    const mints = (await sandbox.mints()).length;
    await page.clock.fastForward("15:00");
    await until(async () => (await sandbox.mints()).length > mints, "a renewal");
    await report(page, "#root").locator("#swaps", { hasText: "renewed 1×, not reloaded" }).waitFor();
    await page.evaluate(() => globalThis.show("sales", "ben"));
    await shows(page, "ben");
    await page.evaluate(() => globalThis.leave());
    assert.equal(await page.locator("iframe").count(), 0);
    const asked = (await sandbox.mints()).length;
    await page.clock.runFor("30:00");
    assert.equal((await sandbox.mints()).length, asked);
  });
}

test("recipe 1 for React says why somebody is refused", async () => {
  const page = await visit(jsx[0]);
  await page.evaluate(() => globalThis.show("sales", "dora"));
  assert.match(await page.getByRole("alert").textContent(), /may not/);
});
