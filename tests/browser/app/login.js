// What a page does that signs its users in with oidc-client-ts: embed-broker.js gets the access token,
// and a new one when the broker refused the last.
import { embed } from "/app/embed-broker.js";

const { oidc, powerbi } = globalThis;
const query = new URLSearchParams(location.search);
for (const name of ["issuer", "broker"]) {
  if (query.has(name)) sessionStorage.setItem(name, query.get(name));
}

const manager = new oidc.UserManager({
  authority: sessionStorage.getItem("issuer"),
  client_id: "front-end",
  redirect_uri: `${location.origin}${location.pathname}`,
  response_type: "code",
  scope: "openid",
  automaticSilentRenew: false,
});

globalThis.app = { tokens: [], errors: [], bearers: [], handle: null };

async function getUserToken({ forceRefresh }) {
  const user = await manager.getUser();
  const { access_token: token } = forceRefresh || user.expired ? await manager.signinSilent() : user;
  globalThis.app.bearers.push(token);
  return token;
}

if (query.has("code")) {
  await manager.signinCallback();
  globalThis.app.handle = embed(document.getElementById("frame"), {
    item: "sales",
    brokerUrl: sessionStorage.getItem("broker"),
    getUserToken,
    powerbi,
    onToken: (answer) => globalThis.app.tokens.push(answer),
    onError: (error) => globalThis.app.errors.push({ code: error.code, message: error.message }),
  });
} else {
  await manager.signinRedirect();
}
