// Passkeys: the browser's part. The service makes and checks the challenges.
"use strict";

const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const encode = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function post(path, token, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Form-Token": token },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? "The service did not accept that.");
  return answer;
}

async function register(form) {
  const token = form.elements.form_token.value;
  const options = await post("/settings/passkeys/start", token, {});
  const key = options.publicKey;
  key.challenge = decode(key.challenge);
  key.user.id = decode(key.user.id);
  for (const known of key.excludeCredentials ?? []) known.id = decode(known.id);
  const credential = await navigator.credentials.create({ publicKey: key });
  await post("/settings/passkeys/finish", token, {
    name: form.elements.name.value,
    credential: {
      id: credential.id,
      rawId: encode(credential.rawId),
      type: credential.type,
      extensions: credential.getClientExtensionResults(),
      response: {
        attestationObject: encode(credential.response.attestationObject),
        clientDataJSON: encode(credential.response.clientDataJSON),
      },
    },
  });
  window.location.assign("/settings");
}

async function signIn(form) {
  const token = form.elements.form_token.value;
  const options = await post("/sign-in/passkey/start", token, {});
  const key = options.publicKey;
  key.challenge = decode(key.challenge);
  for (const known of key.allowCredentials ?? []) known.id = decode(known.id);
  const credential = await navigator.credentials.get({ publicKey: key });
  const answer = await post("/sign-in/passkey/finish", token, {
    to: form.elements.to.value,
    credential: {
      id: credential.id,
      rawId: encode(credential.rawId),
      type: credential.type,
      extensions: credential.getClientExtensionResults(),
      response: {
        authenticatorData: encode(credential.response.authenticatorData),
        clientDataJSON: encode(credential.response.clientDataJSON),
        signature: encode(credential.response.signature),
        userHandle: credential.response.userHandle ? encode(credential.response.userHandle) : null,
      },
    },
  });
  window.location.assign(answer.to);
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = form.querySelector("[role=alert]");
    problem.textContent = "";
    try {
      await (form.dataset.passkey === "register" ? register(form) : signIn(form));
    } catch (error) {
      problem.textContent = error.name === "NotAllowedError" ? "The browser's dialogue was closed." : error.message;
    }
  });
}
