// Starts the client under test, the program `connect`, and what it is tested against: servers, certificates, a proxy.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { readEvents, start, startEcho, startServer } from "./echo.js";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const CONNECT_BIN = process.env.CONNECT_BIN ?? file("../target/release/examples/connect");
const OXIDE_BIN = process.env.OXIDE_BIN ?? file("engineioxide/target/release/engineioxide-echo");

export const test = (name, body) => nodeTest(name, { timeout: 60_000 }, body);

// ---- the servers ----

export const startNode = (t, ...args) => startServer(t, process.execPath, file("servers/node.js"), ...args);
export const startPython = (t, ...args) =>
  startServer(t, file(".venv/bin/python"), file("servers/python/echo_server.py"), ...args);
export const startThreadedPython = (t) => startServer(t, file(".venv/bin/python"), file("servers/python/threaded.py"));
const startOxide = (t, ...args) => startServer(t, OXIDE_BIN, ...args);

/** All servers, by name. */
export const SERVERS = {
  "engine.io": startNode,
  // on aiohttp and as it comes, it loses requests of more than 16 packets, and those whose body comes in pieces
  "python-engineio": (t, ...args) => startPython(t, "--max-packets", "100000", ...args),
  engineioxide: startOxide,
  ours: startEcho,
};

/** The ways of a session, by name: what the client is told, and where the session starts and ends. */
export const MODES = {
  polling: { args: ["--transports", "polling"], from: "polling", to: "polling" },
  websocket: { args: ["--transports", "websocket"], from: "websocket", to: "websocket" },
  upgrade: { args: [], from: "polling", to: "websocket" },
};

// ---- the client ----

/** Starts the client. Its standard input stays open until `end`. */
export const startConnect = (t, url, ...args) => startProgram(t, CONNECT_BIN, url, ...args);

/** The same with another program. */
export function startProgram(t, program, url, ...args) {
  const { child, ended, lines } = start(t, program, [url, ...args], "pipe");
  const { all, find, event } = readEvents({ lines, ended });
  // it may be gone by the time it is told something
  child.stdin.on("error", () => {});
  const decode = ({ kind, data, base64 }) => (kind === "text" ? data : Buffer.from(base64, "base64"));
  return {
    event,
    events: (name) => find({ event: name }),
    /** Sends messages: strings, or buffers. */
    send: (...messages) => {
      const line = (message) => (typeof message === "string" ? message : `base64:${message.toString("base64")}`) + "\n";
      child.stdin.write(messages.map(line).join(""));
    },
    /** The first messages that arrive, as many as are asked for. */
    messages: async (count) => {
      if (count > 0) await event({ event: "message" }, count);
      return find({ event: "message" }).slice(0, count).map(decode);
    },
    /** All messages so far. */
    received: () => find({ event: "message" }).map(decode),
    /** Ends the standard input, upon which the client closes. */
    end: () => child.stdin.end(),
    /** Resolves to the last event, which tells of the end, and the exit status. */
    closed: async () => {
      const close = await event({ event: "close" });
      const { code } = await ended;
      assert.deepEqual(all.at(-1), close, "nothing is said behind the end");
      return { ...close, code };
    },
    ended,
    kill: (signal) => child.kill(signal),
  };
}

/** Starts the client and waits until it is open, in the mode `upgrade` also for the upgrade, and for an echo. */
export async function opened(t, { url }, { args, from, to }, ...more) {
  const client = startConnect(t, url, ...args, ...more);
  const { sid, transport } = await client.event({ event: "open" });
  assert.equal(transport, from);
  if (from !== to) await client.event({ event: "upgrade", transport: to });
  client.send("hello");
  assert.deepEqual(await client.messages(1), ["hello"]);
  return Object.assign(client, { sid });
}

/**
 * Waits until a poll is held by the server, whose only client was just opened by polling: the first GET is the handshake, the
 * second brings the echo.
 */
export const parked = (server) => server.event({ event: "request", method: "GET" }, 3);

/** Has the client exchange messages with an echo server by itself; nothing must be lost, and all end well. */
export async function selfTest(t, { url }, args, { upgraded, count = 500, program = CONNECT_BIN }) {
  const client = startProgram(t, program, url, ...args, "--self-test", String(count));
  const { event, reason, code } = await client.closed();
  assert.deepEqual({ event, reason, code }, { event: "close", reason: "forced close", code: 0 });
  const [result] = client.events("self_test");
  assert.deepEqual(result, { event: "self_test", sent: count, received: count, mismatches: 0, upgraded });
  return client;
}

/** Sends messages, checks their echoes, which may follow others, and ends the session. */
export async function exchangeLines(client, messages) {
  const before = client.received().length;
  client.send(...messages);
  const echoes = (await client.messages(before + messages.length)).slice(before);
  assert.deepEqual(echoes, messages);
  await close(client);
}

/** Has the client close an open session, in order. */
export async function close(client) {
  client.end();
  const { reason, code } = await client.closed();
  assert.deepEqual({ reason, code }, { reason: "forced close", code: 0 });
}

/** Checks that the client ends without having been able to connect. */
export async function fails(client, reason = "transport error") {
  const closed = await client.closed();
  assert.deepEqual({ reason: closed.reason, code: closed.code }, { reason, code: 1 });
  assert.deepEqual(client.events("open"), []);
  return closed;
}

// ---- certificates ----

/** A folder that goes when the test ends. */
export function folder(t) {
  const path = mkdtempSync(join(tmpdir(), "engineio-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

/** Makes authorities and certificates signed by them, in a folder. */
export function certificates(t) {
  const path = folder(t);
  const openssl = (...args) => execFileSync("openssl", args, { cwd: path, stdio: ["ignore", "ignore", "pipe"] });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  return {
    /** Makes an authority; `NAME.pem` is its certificate. */
    authority: (name) => {
      const uses = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
      openssl("req", "-x509", ...key, "-subj", `/CN=${name}`, "-days", "2", ...uses, "-keyout", `${name}.key`, "-out", `${name}.pem`);
      return join(path, `${name}.pem`);
    },
    /** Makes a certificate for servers of these names, or for a client, signed by an authority. */
    certificate: (name, authority, subjects) => {
      const uses = subjects ? `subjectAltName=${subjects}\nextendedKeyUsage=serverAuth` : "extendedKeyUsage=clientAuth";
      writeFileSync(join(path, `${name}.ext`), `basicConstraints=CA:FALSE\n${uses}\n`);
      openssl("req", "-new", ...key, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
      const signer = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial", "-days", "2"];
      openssl("x509", "-req", "-in", `${name}.csr`, ...signer, "-extfile", `${name}.ext`, "-out", `${name}.pem`);
      return { cert: join(path, `${name}.pem`), key: join(path, `${name}.key`) };
    },
  };
}

// ---- a proxy ----

/**
 * A proxy that knows nothing but CONNECT, and to which every host is this machine. `credentials` are demanded, if given; with
 * `refuse`, every request is answered by that status.
 */
export async function startConnectProxy(t, { credentials, refuse } = {}) {
  const sockets = new Set();
  const keep = (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  };
  const requests = [];
  const proxy = http.createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    response.writeHead(405).end();
  });
  proxy.on("connection", keep);
  proxy.on("connect", ({ method, url, headers }, socket, head) => {
    requests.push(`${method} ${url}`);
    const wanted = credentials && `Basic ${Buffer.from(credentials).toString("base64")}`;
    const status = refuse ?? (headers["proxy-authorization"] === wanted || !wanted ? undefined : 407);
    if (status) return socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
    const onward = net.connect(new URL(`http://${url}`).port || 80, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    keep(onward);
    onward.on("close", () => socket.destroy());
    socket.on("close", () => onward.destroy());
  });
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    proxy.close();
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const { port } = proxy.address();
  return { port, url: `http://127.0.0.1:${port}`, requests };
}

/** A server that treats every connection as `handle` says. */
export async function startRaw(t, handle) {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    handle(socket);
  });
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  return { port, url: `http://127.0.0.1:${port}` };
}
