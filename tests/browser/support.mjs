// What the browser tests stand on: the sandbox as a process of its own, Debian's Chromium, and a
// small page that embeds with the unmodified powerbi-client and client/embed-broker.js.
//
// The page is put into the sandbox's origin by routing, so it is as foreign to the broker as an
// application's page is. `app.powerbi.com` resolves to the sandbox's TLS port.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { after, afterEach } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const START_TIMEOUT = 60_000;
const PATIENCE = Number(process.env.PATIENCE ?? 20_000); // with other work on the machine

/** The binary under test: EMBED_BROKER_BIN, else the newest kind of build that is there. */
export function binary() {
  const places = [process.env.EMBED_BROKER_BIN, here("../../target/release/embed-broker"), here("../../target/debug/embed-broker")];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("no embed-broker: build it first, or set EMBED_BROKER_BIN");
  return found;
}

/** Starts the binary and waits for the line that `isReady` understands, or until `ready`; stopped after the file's tests. */
export async function run(args, { env = {}, isReady = () => null, ready: probe = null }) {
  const child = spawn(binary(), args, { env: { ...process.env, NO_PROXY: "*", ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const output = [];
  const gone = new Promise((resolve) => child.once("exit", resolve));
  after(async () => {
    child.kill("SIGTERM");
    await gone;
  });
  process.once("exit", () => child.kill("SIGKILL")); // whatever happens
  const ready = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready in time:\n${output.join("\n")}`)), START_TIMEOUT).unref();
    const read = (line) => {
      output.push(line);
      const answer = isReady(line);
      if (answer) {
        clearTimeout(timer);
        resolve(answer);
      }
    };
    createInterface({ input: child.stdout }).on("line", read);
    createInterface({ input: child.stderr }).on("line", read);
    gone.then((code) => reject(new Error(`ended with ${code}:\n${output.join("\n")}`)));
  });
  ready.catch(() => {}); // also comes when the process is stopped at the end
  const answer = probe ? await Promise.race([until(probe, `${args[0]} to be ready`, START_TIMEOUT), ready]) : await ready;
  return { ...answer, output };
}

/** The sandbox on free ports. */
export async function startSandbox(env) {
  const sandbox = await run(["sandbox", "--port", "0", "--upstream-port", "0"], {
    env,
    isReady: (line) => line.startsWith("{\"ready\":true") && JSON.parse(line),
  });
  const call = async (method, path, body) => {
    const response = await fetch(`${sandbox.upstream}${path}`, {
      method,
      headers: body && { "Content-Type": typeof body === "string" ? "text/plain" : "application/json" },
      body: typeof body === "string" ? body : body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.headers.get("Content-Type")?.includes("json") ? response.json() : response.text();
  };
  return {
    ...sandbox,
    call,
    fault: (fault) => call("PUT", "/sandbox/faults", [{ service: "power_bi", path_contains: "GenerateToken", ...fault }]),
    heal: () => call("DELETE", "/sandbox/faults"),
    mints: async () => (await call("GET", "/sandbox/calls")).filter(({ path }) => path.includes("GenerateToken")),
  };
}

/** A browser in which app.powerbi.com is the sandbox. */
export async function startBrowser(sandbox) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox", "--disable-quic", "--disable-background-networking", "--ignore-certificate-errors",
      "--disable-features=LocalNetworkAccessChecks", // a routed page counts as one from the internet
      `--host-resolver-rules=MAP app.powerbi.com:443 ${new URL(sandbox.upstream_tls).host}`,
    ],
  });
  after(() => browser.close());
  return browser;
}

const FILES = {
  "/app/": here("app/index.html"),
  "/app/app.js": here("app/app.js"),
  "/app/login.html": here("app/login.html"),
  "/app/login.js": here("app/login.js"),
  "/app/embed-broker.js": here("../../client/embed-broker.js"),
  "/app/powerbi.js": here("node_modules/powerbi-client/dist/powerbi.js"),
  "/app/oidc-client-ts.js": here("node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"),
};

/** Answers `origin`'s /app/… with the test page; `made` are files that are nowhere, by path. */
export async function serveApp(context, origin, made = {}) {
  await context.route(`${origin}/app/**`, (route) => {
    const { pathname } = new URL(route.request().url());
    if (made[pathname]) return route.fulfill(made[pathname]);
    return FILES[pathname] ? route.fulfill({ path: FILES[pathname] }) : route.fulfill({ status: 404 });
  });
}

/**
 * A context of its own with one page. A script error or an unhandled rejection in any page of it fails the test;
 * a test that fails otherwise leaves a picture and tells what the page said.
 */
export async function newContext(browser, { origin, made, script, clock = false, expectErrors = false, ...options } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(PATIENCE);
  const [errors, story] = [[], []];
  context.on("weberror", (error) => errors.push(String(error.error().stack ?? error.error())));
  context.on("console", (message) => story.push(`console: ${message.text()}`));
  context.on("request", (request) => story.push(`${request.method()} ${request.url().slice(0, 120)}`));
  context.on("response", (response) => { if (response.status() >= 400) story.push(`${response.status()} from ${response.url().slice(0, 120)}`); });
  if (origin) await serveApp(context, origin, made);
  if (script) await context.addInitScript(script);
  const page = await context.newPage();
  if (clock) await page.clock.install();
  opened.push({ context, errors, story, expectErrors });
  return { context, page, errors };
}

const opened = [];
afterEach(async (test) => {
  const failures = [];
  for (const { context, errors, story, expectErrors } of opened.splice(0)) {
    if (test.error || errors.length) await tellStory(test, context, story);
    await context.close();
    if (!expectErrors) failures.push(...errors);
  }
  if (failures.length) throw new Error(`errors in the page:\n${failures.join("\n")}`);
});

async function tellStory(test, context, story) {
  for (const line of story.slice(-25)) test.diagnostic(line);
  const [page] = context.pages();
  const path = here(`screenshots/failed ${test.name.replace(/[^\w ]/g, "").slice(0, 80)}.png`);
  await page?.screenshot({ path, fullPage: true }).then(() => test.diagnostic(path), () => {});
  const state = await page?.evaluate(() => JSON.stringify(globalThis.app, (key, value) => (key === "handle" ? undefined : value))).catch(() => "");
  if (state) test.diagnostic(state.slice(0, 4_000));
}

/** The test page. */
export async function openApp(browser, sandbox, { origin = sandbox.upstream, ...options } = {}) {
  const { page } = await newContext(browser, { origin, ...options });
  await page.goto(`${origin}/app/`);
  await page.evaluate((settings) => globalThis.app.configure(settings), { broker: sandbox.broker, upstream: sandbox.upstream });
  return page;
}

/** What the iframe of `#frame`, or of another element, shows. */
export function report(page, element = "#frame") {
  return page.frameLocator(`${element} iframe`);
}

/** Waits until `probe` gives something true. */
export async function until(probe, what, timeout = PATIENCE) {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A port that is free at this moment. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
