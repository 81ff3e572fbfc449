// A WebSocket echo, and the driver that plays the client for Autobahn's fuzzing server.
// usage: echo.mjs serve PORT | echo.mjs drive URL AGENT [HEADER: VALUE]…
import { WebSocket, WebSocketServer } from "ws";

const [mode, where, agent, ...headerLines] = process.argv.slice(2);
const headers = Object.fromEntries(headerLines.map((line) => line.split(/: (.*)/s).slice(0, 2)));
// No limits: Autobahn sends 4 MiB in fragments of 64 bytes. No compression: it is left out of what the relay agrees on.
const limits = { perMessageDeflate: false, maxPayload: 0, maxFragments: 0, maxBufferedChunks: 0 };

function serve(port) {
  const server = new WebSocketServer({ host: "127.0.0.1", port, ...limits });
  server.on("connection", (socket) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    socket.on("error", () => {});
  });
  server.on("listening", () => console.log(`echo on ${server.address().port}`));
}

// Opens one WebSocket, gives what it received last, and echoes if asked to.
function visit(path, echo) {
  return new Promise((resolve) => {
    let last = "";
    const socket = new WebSocket(where + path, { ...limits, headers });
    socket.on("message", (data, binary) => {
      last = data;
      if (echo) socket.send(data, { binary });
    });
    socket.on("error", (error) => { last = last || `error: ${error.message}`; });
    socket.on("close", () => resolve(last.toString()));
  });
}

async function drive() {
  const count = await visit("/getCaseCount", false);
  const cases = Number(count);
  if (!cases) throw new Error(`no number of cases: ${count}`);
  console.log(`driving ${cases} cases`);
  for (let number = 1; number <= cases; number++) await visit(`/runCase?case=${number}&agent=${agent}`, true);
  await visit(`/updateReports?agent=${agent}`, false);
  console.log("done");
}

if (mode === "serve") serve(Number(where));
else await drive();
