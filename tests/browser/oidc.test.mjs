// A real OpenID Connect provider, a well-kept client library, and a broker that knows of both by
// an issuer and an audience only: the rest is discovery.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { startProvider } from "./provider.mjs";
import { freePort, newContext, report, run, startBrowser, startSandbox, until } from "./support.mjs";

const UNKNOWN_KEY_PAUSE = 15_000; // the broker looks for new keys at most that often
const people = {
  ana: { email: "ana@contoso.example", tid: "contoso", groups: ["managers"], regions: ["EMEA"] },
  ben: { email: "ben@contoso.example", tid: "contoso", groups: [], regions: ["AMER"] },
};

const origin = `http://127.0.0.1:${await freePort()}`;
const sandbox = await startSandbox();
const provider = await startProvider({ people, redirectUri: `${origin}/app/login.html` });
after(() => provider.stop());
const broker = await startBroker();
const browser = await startBrowser(sandbox);

async function startBroker() {
  const folder = await mkdtemp(join(tmpdir(), "embed-broker-oidc-"));
  after(() => rm(folder, { recursive: true }));
  const [listen, ops] = [await freePort(), await freePort()];
  await writeFile(join(folder, "broker.yaml"), `
server: { listen: 127.0.0.1:${listen}, ops_listen: 127.0.0.1:${ops} }
cors: { allowed_origins: ["${origin}"] }
authn:
  issuers:
    - { issuer: ${provider.issuer}, audiences: [embed-broker] }
principals:
  default:
    tenant_id: 7e4a4700-0000-4000-8000-000000000001
    client_id: c11e4700-0000-4000-8000-000000000001
    credentials: [{ kind: client_secret, secret: sandbox-secret-not-for-production }]
    authority_url: ${sandbox.upstream}/entra
    api_url: ${sandbox.upstream}
policy_file: policy.yaml
`);
  await writeFile(join(folder, "policy.yaml"), `
items:
  sales: { kind: report, workspace: Contoso, profile: contoso, report: Sales Overview }
rules:
  - name: regions
    items: [sales]
    when: "has(claims.tid) && claims.tid == 'contoso'"
    identity: { username: { cel: claims.email }, roles: { cel: "claims.regions.map(r, 'Region ' + r)" } }
`);
  const url = `http://127.0.0.1:${listen}`;
  await run(["serve", "--config", join(folder, "broker.yaml")], {
    ready: async () => (await fetch(`${url}/readyz`).catch(() => ({}))).ok,
  });
  return url;
}

async function signIn(who) {
  const { page } = await newContext(browser, { origin });
  page.authorizations = [];
  page.on("request", (request) => {
    if (request.url().includes("/auth?")) page.authorizations.push(new URL(request.url()).searchParams);
  });
  const settings = new URLSearchParams({ issuer: provider.issuer, broker });
  await page.goto(`${origin}/app/login.html?${settings}`);
  await page.locator("input[name=login]").fill(who);
  await page.locator("input[name=password]").fill("any");
  await page.locator("button[type=submit]").click();
  await page.getByRole("button", { name: "Continue" }).click();
  return page;
}

const shows = (page, who) => report(page).locator("#identity", { hasText: `${who}@contoso.example` }).waitFor({ timeout: 20_000 });
const keyOf = (token) => JSON.parse(Buffer.from(token.split(".")[0], "base64url")).kid;
const bearers = (page) => page.evaluate(() => globalThis.app.bearers);

test("authorization code with PKCE, a JWT access token, discovery alone: the report opens", async () => {
  const page = await signIn("ana");
  await shows(page, "ana");
  assert.equal(await report(page).locator("tbody tr").count(), 12);
  const [authorization] = page.authorizations;
  assert.equal(authorization.get("response_type"), "code");
  assert.equal(authorization.get("code_challenge_method"), "S256");
  const claims = JSON.parse(Buffer.from((await bearers(page))[0].split(".")[1], "base64url"));
  assert.deepEqual([claims.iss, claims.aud], [provider.issuer, "embed-broker"]);
});

test("the provider's keys change while a page is open, and the page goes on", async () => {
  const started = Date.now();
  const ana = await signIn("ana");
  await shows(ana, "ana");
  const [before] = await bearers(ana);
  await provider.rotate();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, started + UNKNOWN_KEY_PAUSE + 1_000 - Date.now())));

  // Somebody else signs in: her token has the new key, so the broker reads the key set again …
  const ben = await signIn("ben");
  await shows(ben, "ben");
  // … in which Ana's key is missing. The broker refuses her token, and the page gets itself another.
  await ana.evaluate(() => globalThis.app.handle.renew());
  await until(async () => (await ana.evaluate(() => globalThis.app.tokens.length)) === 2, "a renewal");
  const used = (await bearers(ana)).slice(1);
  assert.deepEqual(used.map(keyOf), [keyOf(before), provider.kid()]);
  assert.notEqual(keyOf(before), provider.kid());
  await shows(ana, "ana");
  assert.deepEqual(await ana.evaluate(() => globalThis.app.errors), []);
});
