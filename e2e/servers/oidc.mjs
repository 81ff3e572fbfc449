// A real OpenID Connect provider with one person and one client: `node oidc.mjs REDIRECT_URI`.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const redirect = process.argv[2];
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: "spoolway",
      client_secret: "a-secret-of-the-tests-and-nobody-elses",
      redirect_uris: [redirect],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    }],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    async findAccount(_, id) {
      return { accountId: id, claims: async () => ({ sub: id, email: `${id}@example.org`, email_verified: id !== "mallory" }) };
    },
  });
  provider.proxy = false;
  server.on("request", provider.callback());
  console.log(`issuer ${issuer}`);
});
