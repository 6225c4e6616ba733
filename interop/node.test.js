// The official client, in Node.js, against the echo server: what is said arrives, in every mode and through the upgrade,
// and both ends agree on how a session ends.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test as nodeTest } from "node:test";
import { Fetch, NodeWebSocket, Socket } from "engine.io-client";
import WebSocket from "ws";
import { startEcho, startProxy } from "./echo.js";
import { burstMessage, exchange, fiftyClients, uniform } from "./exchange.js";

const test = (name, body) => nodeTest(name, { timeout: 60_000 }, body);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Short enough for several heartbeats in a second, and patient with a busy machine.
const HEARTBEAT = ["--ping-interval", "200", "--ping-timeout", "5000"];

/** A client, closed when the test ends. */
function connect(t, { url }, options) {
  const socket = new Socket(url, { ...options });
  t.after(() => socket.close());
  return socket;
}

/** Resolves to the arguments of the next event of a client; `error` is not special. */
const next = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));

/** Resolves to the reason, and the details, of a client's end. */
const ending = (socket) => next(socket, "close").then(([reason, details]) => ({ reason, details }));

/** Sends one message and resolves when its echo, the next message, was checked. */
async function roundTrip(socket, data) {
  const answer = next(socket, "message");
  socket.send(data);
  assert.deepEqual(uniform((await answer)[0]), data);
}

// ---- exchanges ----

/** Runs the exchange, closes, and checks the server's account of it. */
async function exchangeWith(t, server, socket, { from, to }) {
  const upgrade = from !== to;
  const summary = await exchange(socket, { upgrade });
  const { sid, record, sent, received, heartbeats } = summary;
  // closing right behind a heartbeat, so that the next one does not cross it
  await next(socket, "ping");
  const closed = ending(socket);
  socket.close();
  assert.equal((await closed).reason, "forced close");
  assert.equal(await server.closed(sid), "transport close");

  assert.equal(summary.transport, to);
  assert.ok(record.length >= 300);
  assert.ok(heartbeats >= 3);
  assert.equal(server.events("connection", sid)[0].transport, from);
  assert.deepEqual(server.events("message", sid).map(({ kind, size }) => `${kind} ${size}`), record);
  assert.ok(server.events("heartbeat", sid).length >= 3);
  assert.deepEqual(server.events("upgrade", sid).map(({ transport }) => transport), upgrade ? ["websocket"] : []);
  assert.equal(server.events("upgrading", sid).length, upgrade ? 1 : 0);
  if (upgrade) {
    assert.ok(sent.before > 0 && sent.during > 0 && sent.after > 0);
    assert.ok(received.after > 0);
    t.diagnostic(`from open to upgrade: ${summary.upgradeMs.toFixed(1)} ms`);
  }
  t.diagnostic(`sent ${JSON.stringify(sent)}, received ${JSON.stringify(received)}, heartbeats ${heartbeats}`);
  return summary;
}

const POLLING = { from: "polling", to: "polling" };
const WEBSOCKET = { from: "websocket", to: "websocket" };
const UPGRADE = { from: "polling", to: "websocket" };

const MODES = [
  ["polling", POLLING, { transports: ["polling"] }],
  ["websocket", WEBSOCKET, { transports: ["websocket"] }],
  ["upgrade", UPGRADE, {}],
  ["polling, base64", POLLING, { transports: ["polling"], forceBase64: true }],
  ["websocket, base64", WEBSOCKET, { transports: ["websocket"], forceBase64: true }],
  ["upgrade, base64", UPGRADE, { forceBase64: true }],
  ["polling by fetch", POLLING, { transports: [Fetch] }],
  ["upgrade from fetch", UPGRADE, { transports: [Fetch, NodeWebSocket] }],
  ["polling, upgrades not wanted", POLLING, { upgrade: false }],
];

for (const [name, path, options] of MODES) {
  test(`exchange: ${name}`, async (t) => {
    const server = await startEcho(t, ...HEARTBEAT);
    await exchangeWith(t, server, connect(t, server, options), path);
  });
}

test("exchange: upgrades not offered", async (t) => {
  const server = await startEcho(t, ...HEARTBEAT, "--no-upgrades");
  await exchangeWith(t, server, connect(t, server), POLLING);
});

test("exchange: an upgrade that comes late", async (t) => {
  const server = await startEcho(t, ...HEARTBEAT);
  const proxy = await startProxy(t, server.port, { websocketDelay: 500 });
  const summary = await exchangeWith(t, server, connect(t, proxy), UPGRADE);
  assert.ok(summary.received.before > 0);
});

test("exchange: an upgrade that fails", async (t) => {
  const server = await startEcho(t, ...HEARTBEAT);
  const proxy = await startProxy(t, server.port, { refuseWebsocket: true });
  const socket = connect(t, proxy);
  const failed = next(socket, "upgradeError");
  await exchangeWith(t, server, socket, POLLING);
  await failed;
});

test("fifty clients at once", async (t) => {
  const server = await startEcho(t);
  const sids = await fiftyClients(() => connect(t, server));
  assert.equal(new Set(sids).size, 50);
  for (const sid of sids) assert.equal(await server.closed(sid), "transport close");
});

for (const [name, , options] of MODES.slice(0, 3)) {
  test(`ten thousand messages queued at the opening: ${name}`, async (t) => {
    const server = await startEcho(t, ...HEARTBEAT);
    const socket = connect(t, server, options);
    const got = [];
    const complete = new Promise((resolve, reject) => {
      socket.on("message", (data) => got.push(data) === 10_000 && resolve());
      socket.on("close", reject);
    });
    await next(socket, "open");
    socket.send("cmd:burst:10000:10");
    await complete;
    assert.deepEqual(got, Array.from({ length: 10_000 }, (_, i) => burstMessage(i, 10)));
    await next(socket, "ping");
    await roundTrip(socket, "still here");
  });
}

test("a message which travels with the handshake", async (t) => {
  const server = await startEcho(t, "--initial-packet", "welcome");
  for (const [, , options] of MODES.slice(0, 3)) {
    assert.deepEqual(await next(connect(t, server, options), "message"), ["welcome"]);
  }
});

// ---- one session at a time ----

/** Opens a client, in the last mode only after its upgrade, and lets a message pass. */
async function opened(t, server, options) {
  const socket = connect(t, server, options);
  const upgraded = options.transports ? undefined : next(socket, "upgrade");
  await next(socket, "open");
  await upgraded;
  await roundTrip(socket, "hello");
  // let the next poll reach the server
  await sleep(30);
  return { socket, sid: socket.id, closed: ending(socket), transport: socket.transport.name };
}

for (const [name, , options] of MODES.slice(0, 3)) {
  const session = (title, body, ...args) =>
    test(`${title}: ${name}`, async (t) => {
      const server = await startEcho(t, ...args);
      await body({ ...(await opened(t, server, options)), server, t });
    });

  session("both ends name the transport", async ({ socket, transport }) => {
    const info = next(socket, "message");
    socket.send("cmd:info");
    assert.equal(transport, name === "polling" ? "polling" : "websocket");
    assert.deepEqual(JSON.parse((await info)[0]), { transport, upgraded: name === "upgrade", readyState: "open", protocol: 4 });
  });

  session("the client closes", async ({ socket, sid, closed, server }) => {
    socket.close();
    assert.equal((await closed).reason, "forced close");
    assert.equal(await server.closed(sid), "transport close");
  });

  session("the client closes behind messages", async ({ socket, sid, closed, server }) => {
    // messages without an echo: the reason would depend on whether one is still being written
    for (let i = 0; i < 100; i++) socket.send("cmd:burst:0:0");
    socket.close();
    assert.equal((await closed).reason, "forced close");
    assert.equal(await server.closed(sid), "transport close");
    assert.equal(server.events("message", sid).length, 1 + 100);
  });

  for (const command of ["cmd:close", "cmd:close-discard", "cmd:close-after:50", "cmd:close-discard-after:50"]) {
    session(`the server obeys ${command}`, async ({ socket, sid, closed, server }) => {
      socket.send(command);
      assert.equal((await closed).reason, "transport close");
      assert.equal(await server.closed(sid), "forced close");
    });
  }

  session("the server closes behind a burst", async ({ socket, sid, closed, server }) => {
    const got = [];
    socket.on("message", (data) => got.push(data));
    socket.send("cmd:burst-close:500:2000");
    assert.equal((await closed).reason, "transport close");
    assert.equal(await server.closed(sid), "forced close");
    assert.deepEqual(got, Array.from({ length: 500 }, (_, i) => burstMessage(i, 2000)));
  });

  session("an invalid packet", async ({ socket, sid, closed, transport, server }) => {
    if (transport === "websocket") {
      socket.transport.ws.send("abc");
    } else {
      await fetch(`${server.url}/engine.io/?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "abc" });
    }
    assert.equal((await closed).reason, "transport close");
    assert.equal(await server.closed(sid), "parse error");
  });

  session(
    "a silent client",
    async ({ socket, sid, closed, server }) => {
      socket._sendPacket = () => {};
      assert.equal((await closed).reason, "transport close");
      assert.equal(await server.closed(sid), "ping timeout");
    },
    ...["--ping-interval", "300", "--ping-timeout", "300"],
  );

  session(
    "a silent server",
    async ({ sid, closed, server }) => {
      server.kill("SIGSTOP");
      assert.equal((await closed).reason, "ping timeout");
      server.kill("SIGCONT");
      await server.closed(sid);
    },
    ...["--ping-interval", "300", "--ping-timeout", "300"],
  );

  session("a message of the largest size", async ({ socket }) => {
    // one byte tells the type
    await roundTrip(socket, "x".repeat(999_999));
    await roundTrip(socket, "é".repeat(499_999));
  });

  session("a message too large", async ({ socket, sid, closed, transport, server }) => {
    socket.send("x".repeat(1_000_000));
    const { reason, details } = await closed;
    if (transport === "websocket") {
      assert.equal(reason, "transport close");
      assert.equal(details.context.code, 1009);
      assert.equal(await server.closed(sid), "transport error");
    } else {
      // the messages of the request are lost, so the server ends the session: its close packet, on the poll that is held,
      // and the 413 may arrive in any order
      if (reason === "transport error") assert.equal(details.description, 413);
      else assert.equal(reason, "transport close");
      assert.equal(await server.closed(sid), "transport error");
    }
  });
}

test("the connection breaks: polling", async (t) => {
  const server = await startEcho(t);
  const proxy = await startProxy(t, server.port);
  const { sid, closed } = await opened(t, proxy, { transports: ["polling"] });
  proxy.cut();
  assert.equal((await closed).reason, "transport error");
  assert.equal(await server.closed(sid), "transport error");
});

test("the connection breaks: websocket", async (t) => {
  const server = await startEcho(t);
  const { socket, sid, closed } = await opened(t, server, { transports: ["websocket"] });
  socket.transport.ws.terminate();
  assert.equal((await closed).reason, "transport close");
  assert.equal(await server.closed(sid), "transport close");
});

test("the client closes while it upgrades", async (t) => {
  const server = await startEcho(t);
  const socket = connect(t, server);
  await next(socket, "open");
  const { id } = socket;
  socket.on("upgrading", () => {
    socket.send("the last word");
    socket.close();
  });
  assert.equal((await ending(socket)).reason, "forced close");
  assert.equal(await server.closed(id), "transport close");
});

test("the server closes while the client upgrades", async (t) => {
  const server = await startEcho(t);
  const proxy = await startProxy(t, server.port, { websocketDelay: 200 });
  const socket = connect(t, proxy);
  await next(socket, "open");
  const { id } = socket;
  const failed = next(socket, "upgradeError");
  socket.send("cmd:close-after:50");
  assert.equal((await ending(socket)).reason, "transport close");
  assert.equal(await server.closed(id), "forced close");
  await failed;
});

test("a second websocket for the same session is turned away", async (t) => {
  const server = await startEcho(t);
  const { socket, sid } = await opened(t, server, {});
  const intruder = new WebSocket(`ws://127.0.0.1:${server.port}/engine.io/?EIO=4&transport=websocket&sid=${sid}`);
  intruder.on("error", () => {});
  await once(intruder, "close");
  await roundTrip(socket, "still here");
});

test("an unknown session", async (t) => {
  const server = await startEcho(t);
  const socket = connect(t, server, { query: { sid: "unknown" } });
  const { reason, details } = await ending(socket);
  assert.equal(reason, "transport error");
  assert.equal(details.description, 400);
  assert.equal((await server.event({ event: "connection_error" })).code, 1);
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  test(`the server is ended by ${signal}`, async (t) => {
    const server = await startEcho(t);
    const clients = await Promise.all(MODES.slice(0, 3).map(([, , options]) => opened(t, server, options)));
    server.kill(signal);
    for (const { closed } of clients) assert.equal((await closed).reason, "transport close");
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    for (const { sid } of clients) assert.equal(await server.closed(sid), "forced close");
  });
}
