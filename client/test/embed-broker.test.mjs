import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { embed, embedMany, watchToken } from "../embed-broker.js";
import { Element, minted, openPage, options, refused, settle } from "./page.mjs";

const MINUTE = 60_000;
let page;
let handle;

beforeEach(() => { page = openPage(); });
afterEach(() => {
  handle?.dispose();
  page.close();
});

async function opened(answers, more) {
  page.answers = [answers].flat();
  handle = embed(page.element, options(page, more));
  await settle();
  return handle.component;
}

const calls = () => handle.component.calls;

test("the iframe is bootstrapped before the broker answers, and then used", async () => {
  let answer;
  page.answers = [new Promise((resolve) => { answer = resolve; })];
  handle = embed(page.element, options(page));
  await settle();
  assert.deepEqual(page.powerbi.log, [["reset"], ["bootstrap", "report", undefined]]);
  const body = minted()(1).body;
  answer(new Response(JSON.stringify(body)));
  await handle.ready;
  assert.deepEqual(page.powerbi.log.slice(2), [["embed", "report", "token-1"]]);
});

test("the request names the item and narrows, and carries the user's token", async () => {
  await opened(minted(), { access: "edit", saveAs: true, target: "r9" });
  assert.equal(page.requests[0].url, "https://broker.example/embed-token");
  assert.deepEqual(page.requests[0].body, { item: "sales", target: "r9", access: "edit", save_as: true });
  assert.equal(page.bearers[0], "Bearer jwt");
});

test("without getUserToken the cookie speaks", async () => {
  await opened(minted(), { getUserToken: undefined });
  assert.equal(page.bearers[0], undefined);
});

for (const [kind, config] of [
  ["a paginated report", { embedUrl: "https://app.powerbi.com/rdlEmbed?reportId=r1" }],
  ["a dashboard", { type: "dashboard", embedUrl: "https://app.powerbi.com/dashboardEmbed?dashboardId=d1" }],
  ["Q&A", { type: "qna", embedUrl: "https://app.powerbi.com/qnaEmbed?datasetId=d1" }],
  ["a report in another cloud", { embedUrl: "https://app.powerbigov.us/reportEmbed?reportId=r1" }],
  ["a report in another language", { settings: { localeSettings: { language: "de" } } }],
]) {
  test(`the bootstrapped iframe is not used for ${kind}`, async () => {
    await opened(minted(config));
    assert.deepEqual(page.powerbi.log.slice(2).map(([call]) => call), ["reset", "embed"]);
  });
}

test("a new report goes through createReport", async () => {
  await opened(minted({ type: "create", datasetId: "d1" }));
  assert.deepEqual(page.powerbi.log.at(-1), ["createReport", "create", "token-1"]);
});

test("the page's own settings join the policy's", async () => {
  const component = await opened(minted({ settings: { a: 1, b: 1 } }), { config: { pageName: "p2", settings: { b: 2 } } });
  assert.equal(component.config.pageName, "p2");
  assert.deepEqual(component.config.settings, { a: 1, b: 2 });
});

test("the token is renewed at refreshAfter, again and again, without a reload", async () => {
  await opened(minted());
  await page.tick(51 * MINUTE);
  assert.equal(page.requests.length, 1);
  await page.tick(4 * 52 * MINUTE + 2 * MINUTE);
  assert.deepEqual(calls(), [2, 3, 4, 5, 6].map((n) => ["setAccessToken", `token-${n}`]));
  assert.deepEqual(page.errors, []);
});

test("powerbi-client's default token stays what the page set", async () => {
  await opened(minted());
  await page.tick(53 * MINUTE);
  assert.equal(calls().length, 1);
  assert.equal(page.powerbi.accessToken, "of somebody else");
});

test("a tab that slept past refreshAfter renews when it becomes visible", async () => {
  await opened(minted());
  page.sleep(55 * MINUTE);
  await settle();
  assert.equal(page.requests.length, 1);
  page.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.deepEqual(calls(), [["setAccessToken", "token-2"]]);
});

test("a tab that becomes visible early does not ask", async () => {
  await opened(minted());
  page.sleep(30 * MINUTE);
  page.document.dispatchEvent(new Event("visibilitychange"));
  page.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(page.requests.length, 1);
});

test("a computer that slept renews within half a minute, although no event tells", async () => {
  await opened(minted());
  await page.tick(MINUTE);
  page.sleep(55 * MINUTE);
  await page.tick(30_000);
  assert.deepEqual(calls(), [["setAccessToken", "token-2"]]);
});

test("when the network returns, a renewal that failed is tried at once", async () => {
  await opened([minted(), new TypeError("Failed to fetch"), minted()]);
  page.sleep(53 * MINUTE);
  page.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(page.errors[0].code, "network");
  assert.equal(page.errors[0].retryable, true);
  page.window.dispatchEvent(new Event("online"));
  await settle();
  assert.deepEqual(calls(), [["setAccessToken", "token-3"]]);
});

test("when the network returns, a sign-in that failed for the lack of it is tried at once", async () => {
  let offline = false;
  const getUserToken = () => { if (offline) throw new TypeError("Failed to fetch"); return "jwt"; };
  await opened(minted(), { getUserToken });
  page.sleep(53 * MINUTE);
  offline = true;
  page.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(page.errors[0].code, "user_token_failed");
  offline = false;
  page.window.dispatchEvent(new Event("online"));
  await settle();
  assert.deepEqual(calls(), [["setAccessToken", "token-2"]]);
});

test("two renewals never run at once", async () => {
  let answer;
  await opened([minted(), new Promise((resolve) => { answer = resolve; })]);
  page.sleep(53 * MINUTE);
  page.document.dispatchEvent(new Event("visibilitychange"));
  handle.renew();
  handle.component.raise("error", { message: "TokenExpired" });
  await page.tick(5_000);
  page.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(page.requests.length, 2);
  answer(new Response(JSON.stringify(minted()(2).body)));
  await settle();
  assert.deepEqual(calls(), [["setAccessToken", "token-2"], ["reload"]]);
});

test("Retry-After is kept, even when the tab wakes up", async () => {
  await opened([refused(429, "rate_limited", { "Retry-After": "20" }), minted()]);
  assert.equal(page.errors[0].retryIn, 20);
  await page.tick(19_000);
  page.document.dispatchEvent(new Event("visibilitychange"));
  page.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(page.requests.length, 1);
  await page.tick(2_000);
  assert.equal(page.requests.length, 2);
  await handle.ready;
});

test("Retry-After is kept, even when the token dies meanwhile", async () => {
  const component = await opened([minted(), refused(503, "power_bi_throttled", { "Retry-After": "60" }), minted()]);
  page.sleep(53 * MINUTE);
  page.document.dispatchEvent(new Event("visibilitychange"));
  await page.tick(10_000);
  component.raise("error", { message: "TokenExpired" });
  await page.tick(45_000);
  assert.equal(page.requests.length, 2);
  await page.tick(10_000);
  assert.deepEqual(calls(), [["setAccessToken", "token-3"], ["reload"]]);
});

test("without Retry-After the pauses grow", async () => {
  await opened(refused(503, "overloaded"));
  await page.tick(10 * MINUTE);
  const pauses = page.requests.slice(1).map(({ at }, n) => at - page.requests[n].at);
  assert.ok(pauses[0] <= 2_000, `${pauses}`);
  assert.ok(pauses.at(-1) >= 30_000 && pauses.at(-1) <= 61_000, `${pauses}`);
  assert.ok(page.requests.length < 25, `${page.requests.length} requests in ten minutes`);
});

test("a refusal is final, readable, and not asked again", async () => {
  await opened(refused(403, "not_permitted"));
  await assert.rejects(handle.ready, { name: "EmbedError", code: "not_permitted", message: "not_permitted in words", status: 403, retryIn: Infinity });
  await page.tick(60 * MINUTE);
  page.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(page.requests.length, 1);
  assert.equal(page.errors.length, 1);
});

test("what only the operator can mend is asked again every five minutes", async () => {
  await opened([refused(502, "entra_rejected", { retryable: false }), minted()]);
  await page.tick(4 * MINUTE);
  assert.equal(page.requests.length, 1);
  await page.tick(2 * MINUTE);
  assert.equal(page.requests.length, 2);
});

test("after a 401 the user's token is asked for afresh, once", async () => {
  await opened([refused(401, "token_expired"), minted()]);
  assert.deepEqual(page.bearers, ["Bearer jwt", "Bearer fresh"]);
  assert.deepEqual(page.errors, []);
  handle.dispose();
  page.requests.length = 0;
  await opened(refused(401, "invalid_token"));
  assert.equal(page.requests.length, 2);
  assert.equal(page.errors[0].code, "invalid_token");
});

test("keys that change upset an open report for a minute only", async () => {
  await opened([minted(), refused(401, "invalid_token"), refused(401, "invalid_token"), minted()]);
  await page.tick(54 * MINUTE);
  assert.deepEqual(calls(), [["setAccessToken", "token-4"]]);
});

test("a 401 while the report is open is tried again until the token dies, then no more", async () => {
  await opened([minted(), refused(401, "invalid_token")]);
  await page.tick(52 * MINUTE + 1_000);
  assert.equal(page.requests.length, 3);
  assert.equal(page.errors[0].retryIn, 60);
  await page.tick(30 * MINUTE);
  assert.equal(page.errors.at(-1).retryIn, Infinity);
  assert.ok(page.errors.length <= 10, `${page.errors.length} tries`);
  const asked = page.requests.length;
  await page.tick(60 * MINUTE);
  assert.equal(page.requests.length, asked);
});

test("a sign-in that fails for now is tried again", async () => {
  let tries = 0;
  const getUserToken = () => { if (tries++ === 0) throw new Error("silent renew failed"); return "jwt"; };
  await opened(minted(), { getUserToken });
  assert.equal(page.errors[0].code, "user_token_failed");
  await page.tick(2_000);
  assert.equal(page.requests.length, 1);
});

test("TokenExpired brings a token and then a reload", async () => {
  const component = await opened(minted());
  await page.tick(MINUTE);
  component.raise("error", { message: "TokenExpired", errorCode: "403" });
  component.raise("error", { message: "TokenExpired", errorCode: "403" });
  await page.tick(1_000);
  assert.deepEqual(calls(), [["setAccessToken", "token-2"], ["reload"]]);
  assert.deepEqual(page.errors, []);
});

test("unsaved changes are worth more than a reload", async () => {
  const component = await opened(minted());
  component.saved = false;
  component.raise("error", { message: "TokenExpired" });
  await page.tick(1_000);
  assert.deepEqual(calls(), [["setAccessToken", "token-2"]]);
});

test("a token that is always dead does not cause a storm", async () => {
  const component = await opened(minted());
  for (let second = 0; second < 300; second++) {
    component.raise("error", { message: "TokenExpired" });
    await page.tick(1_000);
  }
  assert.ok(page.requests.length < 15, `${page.requests.length} requests in five minutes`);
});

test("a dead token that the broker hands out again is not swapped in, but asked for later", async () => {
  const first = minted()(1);
  const component = await opened([first, first, first, minted()]);
  component.raise("error", { message: "TokenExpired" });
  await page.tick(1_000);
  assert.deepEqual(calls(), []);
  await page.tick(20_000);
  assert.deepEqual(calls(), [["setAccessToken", "token-4"], ["reload"]]);
});

test("other errors of the report go to onError and renewal goes on", async () => {
  const component = await opened(minted());
  component.raise("error", { message: "LoadReportFailed", detailedMessage: "Load failed", errorCode: "403", technicalDetails: { requestId: "r7" } });
  assert.deepEqual([page.errors[0].code, page.errors[0].status, page.errors[0].requestId], ["LoadReportFailed", 403, "r7"]);
  await page.tick(53 * MINUTE);
  assert.equal(calls().length, 1);
});

test("a fast clock neither storms nor lets the token die", async () => {
  const behind = (n) => {
    const made = minted()(n);
    for (const time of ["expiration", "refreshAfter"]) made.body[time] = new Date(Date.parse(made.body[time]) - 120 * MINUTE).toISOString();
    return made;
  };
  await opened(behind);
  await page.tick(3 * MINUTE);
  assert.equal(page.requests.length, 1);
  await page.tick(57 * MINUTE);
  assert.ok(page.requests.length >= 10 && page.requests.length <= 16, `${page.requests.length} requests in an hour`);
});

const PAGINATED = { renewal: "re_embed", id: "rdl", embedUrl: "https://app.powerbi.com/rdlEmbed?reportId=rdl" };

test("a paginated report is embedded again, with its parameters, when nobody is busy with it", async () => {
  const component = await opened(minted(PAGINATED));
  component.config.parameterValues = [{ name: "Year", value: "2026" }];
  page.element.hover = true;
  await page.tick(53 * MINUTE);
  assert.equal(page.requests.length, 2);
  assert.equal(handle.component, component);
  page.element.hover = false;
  await page.tick(2_000);
  assert.notEqual(handle.component, component);
  assert.equal(handle.component.config.accessToken, "token-2");
  assert.deepEqual(handle.component.config.parameterValues, [{ name: "Year", value: "2026" }]);
  assert.deepEqual(component.calls, []);
});

test("a paginated report is embedded again before its token dies, busy or not", async () => {
  const component = await opened(minted(PAGINATED));
  page.element.hover = true;
  await page.tick(57 * MINUTE);
  assert.equal(handle.component, component);
  await page.tick(2 * MINUTE);
  assert.notEqual(handle.component, component);
});

test("a renewal while the page waits for quiet does not put the re-embed off", async () => {
  const component = await opened(minted(PAGINATED));
  page.element.hover = true;
  await page.tick(53 * MINUTE);
  await handle.renew();
  assert.equal(page.requests.length, 3);
  await page.tick(4 * MINUTE);
  assert.equal(handle.component, component);
  await page.tick(2 * MINUTE);
  assert.notEqual(handle.component, component);
  assert.equal(handle.component.config.accessToken, "token-3");
});

test("the page's function knows the parameters better than the last embed", async () => {
  let year = "2025";
  await opened(minted(PAGINATED), { config: () => ({ parameterValues: [{ name: "Year", value: year }] }) });
  year = "2026";
  await page.tick(53 * MINUTE);
  assert.deepEqual(handle.component.config.parameterValues, [{ name: "Year", value: "2026" }]);
});

test("a token that the iframe does not take leads to a new embed", async () => {
  const component = await opened(minted());
  component.refuses = { message: "no" };
  await page.tick(53 * MINUTE);
  assert.equal(page.errors[0].code, "swap_failed");
  assert.notEqual(handle.component, component);
  assert.equal(handle.component.config.accessToken, "token-2");
});

test("an item that now means something else is embedded anew", async () => {
  const component = await opened([minted(), minted({ id: "r2" })]);
  await page.tick(53 * MINUTE);
  assert.deepEqual(component.calls, []);
  assert.equal(handle.component.config.id, "r2");
});

test("what the policy now says otherwise about an item interrupts nobody", async () => {
  const component = await opened([minted({ permissions: 1 }), minted({ permissions: 0 })]);
  page.element.hover = true;
  await page.tick(53 * MINUTE);
  assert.equal(handle.component, component);
  assert.deepEqual(component.calls, []);
  page.element.hover = false;
  await page.tick(2_000);
  assert.equal(handle.component.config.permissions, 0);
});

test("a saved copy of a targeted report is opened under a token of its own", async () => {
  const saved = [];
  const component = await opened(minted(), { target: "r1", access: "edit", onSaved: (event) => saved.push(event) });
  page.answers = [minted({ id: "r2" })];
  component.raise("saved", { reportObjectId: "r2", reportName: "Copy", saveAs: true });
  await settle();
  assert.deepEqual(saved, [{ item: "sales", reportId: "r2", reportName: "Copy", isNew: true }]);
  assert.deepEqual(page.requests.at(-1).body, { item: "sales", target: "r2", access: "edit" });
  assert.equal(handle.component.config.id, "r2");
  await page.tick(53 * MINUTE);
  assert.equal(page.requests.at(-1).body.target, "r2");
});

test("a created report is opened through the item in openSaved", async () => {
  const component = await opened(minted({ type: "create", items: ["new"] }), { item: "new", openSaved: "any" });
  page.answers = [minted({ id: "r3", items: ["any"] })];
  component.raise("saved", { reportObjectId: "r3", reportName: "Mine", saveAs: false });
  await settle();
  assert.deepEqual(page.requests.at(-1).body, { item: "any", target: "r3" });
  assert.deepEqual(page.powerbi.log.slice(-2), [["reset"], ["embed", "report", "token-2"]]);
});

test("a plain save changes nothing", async () => {
  const saved = [];
  const component = await opened(minted(), { target: "r1", onSaved: (event) => saved.push(event.isNew) });
  component.raise("saved", { reportObjectId: "r1", reportName: "Same", saveAs: false });
  await settle();
  assert.deepEqual([saved, page.requests.length], [[false], 1]);
});

test("a configuration that powerbi-client refuses is reported in its own words", async () => {
  page.powerbi.embed = () => { throw [{ message: "pageName is required" }]; };
  await opened(minted());
  assert.deepEqual([page.errors[0].code, page.errors[0].message], ["embed_failed", "pageName is required"]);
  await assert.rejects(handle.ready);
});

test("a callback of the page that throws stops no renewal", async () => {
  const thrown = [];
  const runners = process.listeners("unhandledRejection"); // they would fail the test
  process.removeAllListeners("unhandledRejection").on("unhandledRejection", (error) => thrown.push(error.message));
  const broken = (name) => () => { throw new Error(name); };
  page.answers = [minted()];
  handle = embed(page.element, options(page, { onToken: broken("onToken"), onEmbedded: broken("onEmbedded") }));
  await handle.ready;
  await page.tick(53 * MINUTE);
  process.removeAllListeners("unhandledRejection");
  for (const runner of runners) process.on("unhandledRejection", runner);
  assert.deepEqual(calls(), [["setAccessToken", "token-2"]]);
  assert.deepEqual(page.errors, []);
  assert.deepEqual(thrown, ["onEmbedded", "onToken", "onToken"]); // the page's own reporting gets them
});

test("a page without powerbi-client is told so", () => {
  assert.throws(() => embed(page.element, options(page, { powerbi: undefined })), /powerbi-client is not loaded/);
});

test("dispose leaves nothing behind", async () => {
  const component = await opened(minted());
  page.element.attributes.set("powerbi-access-token", "token-1");
  handle.dispose();
  page.sleep(55 * MINUTE);
  page.document.dispatchEvent(new Event("visibilitychange"));
  page.window.dispatchEvent(new Event("online"));
  component.raise("error", { message: "TokenExpired" });
  await page.tick(60 * MINUTE);
  assert.equal(page.requests.length, 1);
  assert.deepEqual(page.powerbi.log.at(-1), ["reset"]);
  assert.equal(page.element.attributes.size, 0);
});

test("dispose while the broker is asked embeds nothing and reports nothing", async () => {
  let answer;
  page.answers = [new Promise((resolve) => { answer = resolve; })];
  handle = embed(page.element, options(page));
  await settle();
  handle.dispose();
  answer(new Response(JSON.stringify(minted()(1).body)));
  await settle();
  assert.equal(page.powerbi.log.some(([call]) => call === "embed"), false);
  assert.deepEqual(page.errors, []);
});

test("several items share one token, one request and one renewal", async () => {
  const made = minted({ items: ["sales", "stock"] });
  page.answers = [made];
  const frames = ["sales", "stock", "sales"].map((item) => ({ item, element: new Element() }));
  handle = embedMany(frames, options(page, { item: undefined }));
  await handle.ready;
  assert.deepEqual(page.requests.map(({ body }) => body), [{ items: ["sales", "stock"] }]);
  await page.tick(53 * MINUTE);
  assert.equal(page.requests.length, 2);
  for (const component of handle.components) assert.deepEqual(component.calls, [["setAccessToken", "token-2"]]);
});

test("watchToken gives wrappers each answer and embeds nothing", async () => {
  page.answers = [minted()];
  const tokens = [];
  handle = watchToken(options(page), (answer) => tokens.push(answer.items[0].embedConfig.accessToken));
  await page.tick(53 * MINUTE);
  assert.deepEqual(tokens, ["token-1", "token-2"]);
  assert.deepEqual(page.powerbi.log, []);
});
