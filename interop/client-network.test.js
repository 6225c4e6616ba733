// The client across a network that is more than a plain connection: TLS, proxies, Unix sockets, and middlemen that spoil the
// upgrade.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Transform } from "node:stream";
import { before, after } from "node:test";
import { startProxy } from "./echo.js";
import {
  certificates, exchangeLines, fails, folder, MODES, opened, parked, selfTest, startConnect, startConnectProxy, startNode, startRaw,
  test,
} from "./connect.js";

const { polling: POLLING, upgrade: UPGRADE } = MODES;

// ---- TLS ----

let tls;
{
  const cleanup = [];
  before(() => {
    const { authority, certificate } = certificates({ after: (work) => cleanup.push(work) });
    tls = {
      ca: authority("ca"),
      otherCa: authority("other-ca"),
      here: certificate("here", "ca", "IP:127.0.0.1,DNS:localhost,DNS:engine.test"),
      elsewhere: certificate("elsewhere", "ca", "DNS:elsewhere.test"),
      client: certificate("client", "ca"),
      stranger: certificate("stranger", "other-ca"),
    };
  });
  after(() => cleanup.forEach((work) => work()));
}

/** Starts a server with TLS. */
async function startTls(t, { key, cert } = tls.here, ...args) {
  const server = await startNode(t, "--key", key, "--cert", cert, ...args);
  return { ...server, url: server.url.replace("http", "https") };
}

for (const [mode, how] of Object.entries(MODES)) {
  const { args, from, to } = how;
  const upgraded = from !== to;
  const identity = ({ cert, key }) => ["--client-cert", cert, "--client-key", key];

  test(`TLS: ${mode}`, async (t) => {
    const server = await startTls(t);
    await selfTest(t, server, [...args, "--ca", tls.ca], { upgraded });
  });

  test(`TLS, by name: ${mode}`, async (t) => {
    const { port } = await startTls(t);
    await exchangeLines(await opened(t, { url: `wss://localhost:${port}` }, how, "--ca", tls.ca), ["one"]);
  });

  test(`TLS, an unknown authority: ${mode}`, async (t) => {
    const server = await startTls(t);
    const closed = await fails(startConnect(t, server.url, ...args));
    await fails(startConnect(t, server.url, ...args, "--ca", tls.otherCa));
    assert.deepEqual(server.events("request"), []);
    t.diagnostic(JSON.stringify(closed));
  });

  test(`TLS, the certificate of another: ${mode}`, async (t) => {
    const server = await startTls(t, tls.elsewhere);
    await fails(startConnect(t, server.url, ...args, "--ca", tls.ca));
    assert.deepEqual(server.events("request"), []);
  });

  test(`TLS, not verified: ${mode}`, async (t) => {
    for (const certificate of [tls.here, tls.elsewhere]) {
      await exchangeLines(await opened(t, await startTls(t, certificate), how, "--insecure-tls"), ["one"]);
    }
  });

  test(`TLS, the client has a certificate: ${mode}`, async (t) => {
    const server = await startTls(t, tls.here, "--client-ca", tls.ca);
    await selfTest(t, server, [...args, "--ca", tls.ca, ...identity(tls.client)], { upgraded, count: 50 });
  });

  test(`TLS, the client has no certificate, or another's: ${mode}`, async (t) => {
    const server = await startTls(t, tls.here, "--client-ca", tls.ca);
    await fails(startConnect(t, server.url, ...args, "--ca", tls.ca));
    await fails(startConnect(t, server.url, ...args, "--ca", tls.ca, ...identity(tls.stranger)));
    assert.deepEqual(server.events("request"), []);
  });

  test(`TLS, to a server without, and the reverse: ${mode}`, async (t) => {
    const [plain, secure] = [await startNode(t), await startTls(t)];
    await fails(startConnect(t, plain.url.replace("http", "https"), ...args, "--insecure-tls"));
    await fails(startConnect(t, secure.url.replace("https", "http"), ...args));
  });
}

// ---- proxies ----

for (const [mode, { args, from, to }] of Object.entries(MODES)) {
  const upgraded = from !== to;

  test(`through a proxy: ${mode}`, async (t) => {
    const server = await startNode(t);
    const proxy = await startConnectProxy(t);
    // a name that only the proxy can resolve
    const url = `http://engine.test:${server.port}`;
    await selfTest(t, { url }, [...args, "--proxy", proxy.url], { upgraded });
    assert.ok(proxy.requests.length > 0);
    for (const request of proxy.requests) assert.equal(request, `CONNECT engine.test:${server.port}`);
    t.diagnostic(`${proxy.requests.length} connections`);
  });

  test(`through a proxy, with TLS: ${mode}`, async (t) => {
    const server = await startTls(t);
    const proxy = await startConnectProxy(t);
    const url = `https://engine.test:${server.port}`;
    await selfTest(t, { url }, [...args, "--proxy", proxy.url, "--ca", tls.ca], { upgraded, count: 100 });
    for (const request of proxy.requests) assert.equal(request, `CONNECT engine.test:${server.port}`);
  });

  test(`through a proxy that demands credentials: ${mode}`, async (t) => {
    const server = await startNode(t);
    const proxy = await startConnectProxy(t, { credentials: "user:pass word" });
    const client = await opened(t, server, MODES[mode], "--proxy", `http://user:pass%20word@127.0.0.1:${proxy.port}`);
    await exchangeLines(client, ["one"]);
    await fails(startConnect(t, server.url, ...args, "--proxy", proxy.url));
    // they are none of the server's business
    for (const { headers } of server.events("request")) assert.equal(headers["proxy-authorization"], undefined);
  });

  test(`through a proxy that refuses: ${mode}`, async (t) => {
    const server = await startNode(t);
    const proxy = await startConnectProxy(t, { refuse: 403 });
    await fails(startConnect(t, server.url, ...args, "--proxy", proxy.url));
    assert.deepEqual(server.events("request"), []);
  });

  test(`through a proxy that is not there, or silent: ${mode}`, async (t) => {
    const server = await startNode(t);
    const silent = await startRaw(t, () => {});
    const gone = await startNode(t);
    gone.kill("SIGKILL");
    await gone.ended;
    await fails(startConnect(t, server.url, ...args, "--proxy", gone.url));
    // that of a websocket is not an HTTP request, and has a longer limit of its own
    if (mode !== "websocket") {
      await fails(startConnect(t, server.url, ...args, "--proxy", silent.url, "--request-timeout", "300"));
    }
  });
}

// ---- Unix sockets ----

for (const [mode, { args, from, to }] of Object.entries(MODES)) {
  test(`a Unix socket: ${mode}`, async (t) => {
    const path = join(folder(t), "socket");
    await startNode(t, "--unix", path);
    await selfTest(t, { url: "http://localhost" }, [...args, "--unix", path], { upgraded: from !== to });
  });

  test(`a Unix socket that is not there: ${mode}`, async (t) => {
    const path = join(folder(t), "socket");
    await fails(startConnect(t, "http://localhost", ...args, "--unix", path));
  });
}

// ---- upgrades that fail ----

/** Changes what the server says on the websocket, by a function of the bytes that arrive and of those that are let through. */
const filter = (change) => new Transform({ transform: (chunk, _, done) => done(null, change(chunk)) });

/**
 * Lets through all up to the answer of the probe, and then does something to the connection. No poll is answered meanwhile,
 * or the client could change its transport before it sees that.
 */
const behindTheAnswer = (act) => (socket, relay, polls) => {
  polls.hold();
  relay(
    filter((chunk) => {
      if (chunk.includes("3probe")) setImmediate(act, socket);
      return chunk;
    }),
  );
};

// Whether the client learns of the failure at once, and how it comes about.
const SPOILERS = {
  "the connection is dropped": [true, (socket) => socket.destroy()],
  "it is refused": [true, (socket) => socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")],
  "it is answered like any request": [true, (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n6\n")],
  "it is not answered": [false, () => {}],
  "the probe is not answered": [
    false,
    (socket, relay) => relay(filter((chunk) => (chunk.includes("3probe") ? Buffer.alloc(0) : chunk))),
  ],
  "the probe's answer is wrong": [
    true,
    (socket, relay) => relay(filter((chunk) => Buffer.from(chunk.toString("latin1").replace("3probe", "3prone"), "latin1"))),
  ],
  "it is cut behind the probe's answer": [true, behindTheAnswer((socket) => socket.destroy())],
  "it is closed behind the probe's answer": [true, behindTheAnswer((socket) => socket.end(Buffer.from([0x88, 0])))],
};

for (const [name, [told, websocket]] of Object.entries(SPOILERS)) {
  test(`an upgrade fails, ${name}`, async (t) => {
    const server = await startNode(t, "--ping-interval", "300", "--ping-timeout", "5000");
    const proxy = await startProxy(t, server.port, { websocket });
    const client = startConnect(t, proxy.url);
    const messages = (when) => Array.from({ length: 100 }, (_, i) => (i % 2 ? `${when} ${i}` : Buffer.alloc(i * 10, i)));
    const early = messages("early");
    client.send(...early);
    const { sid } = await client.event({ event: "open" });
    if (told) await client.event({ event: "upgrade_error" });
    proxy.polls.release();
    assert.deepEqual(await client.messages(100), early);
    // it is not for the client's own messages that it goes on
    await server.event({ event: "heartbeat", sid }, 3);
    client.send("cmd:info");
    assert.equal(JSON.parse((await client.messages(101)).at(-1)).transport, "polling");
    await exchangeLines(client, messages("late"));
    assert.equal(await server.closed(sid), "transport close");
    assert.deepEqual(client.events("upgrade"), []);
    assert.equal(client.events("upgrade_error").length, told ? 1 : client.events("upgrade_error").length);
  });
}

test("exchange: an upgrade that fails", async (t) => {
  const server = await startNode(t, "--ping-interval", "1000", "--ping-timeout", "5000");
  const proxy = await startProxy(t, server.port, { refuseWebsocket: true });
  await selfTest(t, proxy, [], { upgraded: false });
});

test("an upgrade that the server gives up", async (t) => {
  const server = await startNode(t, "--upgrade-timeout", "300");
  const proxy = await startProxy(t, server.port, { websocket: SPOILERS["the probe is not answered"][1] });
  const client = startConnect(t, proxy.url);
  await client.event({ event: "open" });
  await client.event({ event: "upgrade_error" });
  await exchangeLines(client, ["still here"]);
});

// ---- connections that break ----

test("the connection breaks: polling", async (t) => {
  const server = await startNode(t);
  const proxy = await startProxy(t, server.port);
  const client = await opened(t, proxy, POLLING);
  await parked(server);
  proxy.cut();
  const { reason, code } = await client.closed();
  assert.deepEqual({ reason, code }, { reason: "transport error", code: 1 });
});

test("the connection breaks: upgrade", async (t) => {
  const server = await startNode(t);
  const proxy = await startProxy(t, server.port);
  const client = await opened(t, proxy, UPGRADE);
  proxy.cut();
  const { reason, code } = await client.closed();
  assert.deepEqual({ reason, code }, { reason: "transport close", code: 1 });
  assert.equal(await server.closed(client.sid), "transport close");
});
