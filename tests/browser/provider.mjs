// An OpenID provider from npm (oidc-provider) with two people, JWT access tokens, and keys that
// can be replaced while it runs.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const AUDIENCE = "embed-broker";
const RESOURCE = "urn:embed-broker";

/** oidc-provider's store, shared by the providers before and after a change of keys. */
class Store {
  static entries = new Map();
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) { Store.entries.set(this.key(id), payload); }
  async find(id) { return Store.entries.get(this.key(id)); }
  async findByUid(uid) { return [...Store.entries.values()].find((payload) => payload.uid === uid && payload.kind === this.model); }
  async findByUserCode() { return undefined; }
  async consume(id) { Store.entries.get(this.key(id)).consumed = Math.floor(Date.now() / 1_000); }
  async destroy(id) { Store.entries.delete(this.key(id)); }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of Store.entries) if (payload.grantId === grantId) Store.entries.delete(key);
  }
}

function newKey(number) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: `key-${number}`, alg: "RS256", use: "sig" };
}

function configuration({ people, redirectUri }, key) {
  return {
    adapter: Store,
    clients: [{
      client_id: "front-end",
      token_endpoint_auth_method: "none", // a page keeps no secret: PKCE instead
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [redirectUri],
    }],
    jwks: { keys: [key] },
    cookies: { keys: ["only for tests"] },
    pkce: { required: () => true },
    clientBasedCORS: () => true,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (_, token) => people[token.accountId],
    issueRefreshToken: async () => true,
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "reports", audience: AUDIENCE, accessTokenFormat: "jwt", accessTokenTTL: 3600, jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  };
}

export async function startProvider(options) {
  const server = createServer((request, response) => handle(request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let number = 0;
  let handle;
  const rotate = () => {
    number += 1;
    const provider = new Provider(issuer, configuration(options, newKey(number)));
    handle = provider.callback();
  };
  rotate();
  return {
    issuer,
    rotate,
    kid: () => `key-${number}`,
    stop: () => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    }),
  };
}
