// The examples that drive the bare core: the servers, against the official client, against our own, and against what no client
// should do; the client, against these servers. The servers echo, and report nothing: what became of a session is seen from
// outside.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { describe, test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { Fetch, Socket } from "engine.io-client";
import WebSocket from "ws";
import { MODES, selfTest, startProgram } from "./connect.js";
import { startProxy, startServer } from "./echo.js";
import { exchange, fiftyClients, same, uniform } from "./exchange.js";

/** The examples under test. */
const EMBEDDINGS = process.env.EMBEDDINGS?.split(" ") ?? ["blocking", "event_loop", "completion"];
/** How many sessions at once are no trouble for an example that has no thread for each. */
const CROWDS = { event_loop: 2000, completion: 2000 };

const DIR = process.env.EXAMPLES_DIR ?? fileURLToPath(new URL("../target/release/examples", import.meta.url));
/** The example of a client. */
const CLIENT = `${DIR}/client`;

const test = (name, body) => nodeTest(name, { timeout: 60_000 }, body);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Short enough for several heartbeats in a second.
const HEARTBEAT = ["--ping-interval", "200"];

/** A client, closed when the test ends. */
function connect(t, { url }, options) {
  const socket = new Socket(url, { ...options });
  // the server is to be the first that loses patience, even if this program is busy
  socket.on("handshake", (open) => (open.pingTimeout = 60_000));
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
  assert.ok(same(uniform((await answer)[0]), data));
}

/** Opens a client, in the mode `upgrade` only after its upgrade, and lets a message pass. */
async function opened(t, server, options = {}) {
  const socket = connect(t, server, options);
  const upgraded = options.transports ? undefined : next(socket, "upgrade");
  await next(socket, "open");
  await upgraded;
  await roundTrip(socket, "hello");
  return { socket, sid: socket.id, closed: ending(socket) };
}

const CLIENTS = [
  ["polling", { transports: ["polling"] }],
  ["websocket", { transports: ["websocket"] }],
  ["upgrade", {}],
];

// ---- requests ----

const TARGET = "/engine.io/?EIO=4&transport=polling";

/** Resolves to the answer to a request. It has a connection of its own, unless there is an `agent`. */
function request({ port }, target, { method = "GET", headers = {}, body, agent = false } = {}) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ host: "127.0.0.1", port, path: target, method, headers, agent }, async (answer) => {
      const chunks = await answer.toArray().catch(reject);
      const { statusCode: status, headers } = answer;
      if (chunks) resolve({ status, headers, body: Buffer.concat(chunks).toString(), reused: sent.reusedSocket });
    });
    sent.on("upgrade", (answer, socket) => {
      socket.destroy();
      resolve({ status: answer.statusCode, headers: answer.headers });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** Opens a session by polling; resolves to what the server says of it, and to its target. */
async function handshake(server, options) {
  const { status, body } = await request(server, TARGET, options);
  assert.equal(status, 200);
  assert.equal(body[0], "0");
  const open = JSON.parse(body.slice(1));
  return { ...open, target: `${TARGET}&sid=${open.sid}` };
}

const poll = (server, { target }, options) => request(server, target, options);
const post = (server, { target }, body, options) => request(server, target, { method: "POST", body, ...options });

const UNKNOWN_SID = { status: 400, body: '{"code":1,"message":"Session ID unknown"}' };
const told = ({ status, body }) => ({ status, body });

/** Asks for a session, without touching it, until there is none. */
async function gone(server, sid) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    // a method that no transport knows
    const answer = told(await request(server, `${TARGET}&sid=${sid}`, { method: "PUT" }));
    if (answer.body === UNKNOWN_SID.body) return assert.deepEqual(answer, UNKNOWN_SID);
    assert.ok(Date.now() < deadline, `${sid} is still there`);
    await sleep(10);
  }
}

/** Resolves to the first argument of an event, past or to come. */
function happened(emitter, event) {
  let args;
  emitter.once(event, (...given) => (args = given));
  return async () => (args ?? (await once(emitter, event, { signal: AbortSignal.timeout(20_000) })))[0];
}

/** A bare connection; `text` is what came so far. */
async function raw(t, { port }) {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  const connection = { socket, text: "", closed: happened(socket, "close") };
  socket.setEncoding("latin1").on("data", (data) => (connection.text += data));
  /** Resolves to the text when there is this many of something in it. */
  connection.until = async (wanted, count = 1) => {
    while (connection.text.split(wanted).length <= count) await once(socket, "data", { signal: AbortSignal.timeout(20_000) });
    return connection.text;
  };
  await once(socket, "connect");
  return connection;
}

const head = (method, target, ...fields) => `${[`${method} ${target} HTTP/1.1`, "Host: localhost", ...fields].join("\r\n")}\r\n\r\n`;

/** Opens a WebSocket without a client around it; resolves when it is open, to it and its messages. */
async function channel(t, { port }, query, options) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/engine.io/?EIO=4&transport=websocket${query}`, options);
  t.after(() => socket.terminate());
  socket.on("error", () => {});
  const messages = [];
  socket.on("message", (data, binary) => messages.push(binary ? data : data.toString()));
  const closed = happened(socket, "close");
  await once(socket, "open");
  const message = async (index) => {
    while (messages.length <= index) await once(socket, "message", { signal: AbortSignal.timeout(20_000) });
    return messages[index];
  };
  return { socket, messages, message, closed };
}

/** A relay to a server, from which so many bytes a second reach the client. */
async function startSlow(t, { port }, rate) {
  const relay = net.createServer({ highWaterMark: 4096 }, (socket) => {
    const onward = net.connect({ port, host: "127.0.0.1", highWaterMark: 4096 });
    for (const end of [socket, onward]) {
      end.on("error", () => {});
      end.on("close", () => [socket, onward].forEach((other) => other.destroy()));
      t.after(() => end.destroy());
    }
    socket.pipe(onward);
    const began = Date.now();
    let passed = 0;
    onward.on("data", (data) => {
      socket.write(data);
      passed += data.length;
      const early = (passed / rate) * 1000 - (Date.now() - began);
      if (early > 10) {
        onward.pause();
        setTimeout(() => onward.resume(), early);
      }
    });
  });
  t.after(() => relay.close());
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  return relay.address();
}

/** Opens a session by WebSocket. */
async function session(t, server) {
  const opened = await channel(t, server, "");
  const { sid } = JSON.parse((await opened.message(0)).slice(1));
  return { ...opened, sid };
}

for (const name of EMBEDDINGS) {
  const start = (t, ...args) => startServer(t, `${DIR}/${name}`, ...args);

  // much of it is waiting
  describe(name, { concurrency: 4 }, () => {
    // ---- the official client ----

    const exchanges = [
      ...CLIENTS,
      ["polling, base64", { transports: ["polling"], forceBase64: true }],
      ["websocket, base64", { transports: ["websocket"], forceBase64: true }],
      ["upgrade, base64", { forceBase64: true }],
      ["polling by fetch", { transports: [Fetch] }],
    ];

    /** Runs the exchange and closes. */
    async function exchangeWith(t, server, socket, upgrade) {
      const summary = await exchange(socket, { upgrade, commands: false });
      assert.ok(summary.record.length >= 300);
      assert.ok(summary.heartbeats >= 3);
      await next(socket, "ping");
      const closed = ending(socket);
      socket.close();
      assert.equal((await closed).reason, "forced close");
      await gone(server, summary.sid);
      return summary;
    }

    for (const [mode, options] of exchanges) {
      test(`exchange: ${mode}`, async (t) => {
        const server = await start(t, ...HEARTBEAT);
        const upgrade = mode.startsWith("upgrade");
        const { transport, sent } = await exchangeWith(t, server, connect(t, server, options), upgrade);
        assert.equal(transport, mode.startsWith("polling") ? "polling" : "websocket");
        if (upgrade) assert.ok(sent.before > 0 && sent.during > 0 && sent.after > 0);
      });
    }

    test("exchange: an upgrade that comes late", async (t) => {
      const server = await start(t, ...HEARTBEAT);
      const proxy = await startProxy(t, server.port, { websocketDelay: 500 });
      const { transport, received } = await exchangeWith(t, server, connect(t, proxy), true);
      assert.equal(transport, "websocket");
      assert.ok(received.before > 0);
    });

    test("exchange: an upgrade that fails", async (t) => {
      const server = await start(t, ...HEARTBEAT);
      const proxy = await startProxy(t, server.port, { refuseWebsocket: true });
      const socket = connect(t, proxy);
      const failed = next(socket, "upgradeError");
      const { transport } = await exchangeWith(t, server, socket, false);
      assert.equal(transport, "polling");
      await failed;
    });

    test("fifty clients at once", async (t) => {
      const server = await start(t);
      const sids = await fiftyClients(() => connect(t, server));
      assert.equal(new Set(sids).size, 50);
      for (const sid of sids) await gone(server, sid);
    });

    for (const [mode, options] of CLIENTS) {
      test(`large messages: ${mode}`, async (t) => {
        const server = await start(t, ...HEARTBEAT);
        const { socket } = await opened(t, server, options);
        await roundTrip(socket, "é".repeat(200_000));
        await roundTrip(socket, Uint8Array.from({ length: 700_000 }, (_, i) => i % 251));
        // one byte tells the type
        await roundTrip(socket, "x".repeat(999_999));
      });

      test(`a message too large: ${mode}`, async (t) => {
        const server = await start(t);
        const { socket, sid, closed } = await opened(t, server, options);
        socket.send("x".repeat(1_000_000));
        const { reason, details } = await closed;
        if (mode === "polling") {
          // the answers to the POST and to the held poll come on two connections, either of them first
          const ends = { "transport error": 413, "transport close": "transport closed by the server" };
          assert.ok(reason in ends, reason);
          assert.equal(details.description, ends[reason]);
        } else {
          assert.deepEqual([reason, details.context.code], ["transport close", 1009]);
        }
        await gone(server, sid);
      });

      test(`the client closes: ${mode}`, async (t) => {
        const server = await start(t);
        const { socket, sid, closed } = await opened(t, server, options);
        socket.close();
        assert.equal((await closed).reason, "forced close");
        await gone(server, sid);
      });

      test(`the connection breaks: ${mode}`, async (t) => {
        const server = await start(t, "--ping-interval", "200", "--ping-timeout", "5000");
        const proxy = await startProxy(t, server.port);
        const { sid, closed } = await opened(t, proxy, options);
        // between two polls there is nothing to break
        let over = false;
        for (closed.then(() => (over = true)); !over; await sleep(10)) proxy.cut();
        await gone(server, sid);
      });

      test(`a client that is silent: ${mode}`, async (t) => {
        // time enough to poll again behind the ping, or the client would not be told
        const server = await start(t, "--ping-interval", "200", "--ping-timeout", "2000");
        const { socket, sid, closed } = await opened(t, server, options);
        socket._sendPacket = () => {};
        assert.equal((await closed).reason, "transport close");
        await gone(server, sid);
      });
    }

    test("the client closes while it upgrades", async (t) => {
      const server = await start(t);
      const socket = connect(t, server);
      await next(socket, "open");
      const { id } = socket;
      socket.on("upgrading", () => {
        socket.send("the last word");
        socket.close();
      });
      assert.equal((await ending(socket)).reason, "forced close");
      await gone(server, id);
    });

    // ---- our own clients ----

    for (const [mode, { args }] of Object.entries(MODES)) {
      test(`connect --self-test: ${mode}`, async (t) => {
        const server = await start(t, ...HEARTBEAT);
        await selfTest(t, server, args, { upgraded: mode === "upgrade" });
      });

      test(`client --self-test: ${mode}`, async (t) => {
        const server = await start(t, ...HEARTBEAT);
        const client = await selfTest(t, server, args, { upgraded: mode === "upgrade", program: CLIENT });
        await gone(server, client.events("open")[0].sid);
      });
    }

    // ---- requests that are refused ----

    const refusal = (code, message) => ({ status: 400, body: JSON.stringify({ code, message }) });

    test("errors", async (t) => {
      const server = await start(t);
      const { sid } = await handshake(server);
      const path = "/engine.io/";
      for (const [method, target, wanted, headers] of [
        ["GET", `${path}?EIO=4&transport=tobi`, refusal(0, "Transport unknown")],
        ["GET", `${path}?EIO=4`, refusal(0, "Transport unknown")],
        ["GET", path, refusal(0, "Transport unknown")],
        ["GET", `${TARGET}&sid=unknown`, refusal(1, "Session ID unknown")],
        ["POST", `${TARGET}&sid=unknown`, refusal(1, "Session ID unknown")],
        ["POST", TARGET, refusal(2, "Bad handshake method")],
        ["PUT", TARGET, refusal(2, "Bad handshake method")],
        ["GET", `${path}?EIO=4&transport=websocket`, refusal(3, "Bad request")],
        ["GET", `${path}?EIO=4&transport=websocket&sid=${sid}`, refusal(3, "Bad request")],
        ["GET", `${path}?EIO=3&transport=polling&sid=${sid}`, refusal(3, "Bad request")],
        ["GET", `${path}?EIO=3&transport=polling`, refusal(5, "Unsupported protocol version")],
        ["GET", `${path}?transport=polling`, refusal(5, "Unsupported protocol version")],
        ["PUT", `${TARGET}&sid=${sid}`, { status: 500, body: "" }],
      ]) {
        const answer = await request(server, target, { method, headers });
        assert.deepEqual(told(answer), wanted, `${method} ${target}`);
        if (wanted.status === 400) assert.equal(answer.headers["content-type"], "application/json", target);
      }
      // none of it has harmed the session
      assert.equal((await post(server, { target: `${TARGET}&sid=${sid}` }, "4a")).body, "ok");
      assert.equal((await poll(server, { target: `${TARGET}&sid=${sid}` })).body, "4a");
    });

    test("errors of a WebSocket handshake", async (t) => {
      const server = await start(t);
      const { sid } = await handshake(server);
      const path = "/engine.io/?EIO=4&transport=websocket";
      const fields = {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      };
      const ask = (target, headers = {}, method = "GET") => request(server, target, { method, headers: { ...fields, ...headers } });
      for (const [target, body] of [
        ["/engine.io/?EIO=4&transport=tobi", "Transport unknown"],
        [`${path}&sid=unknown`, "Session ID unknown"],
        [TARGET, "Bad request"],
        ["/engine.io/?EIO=3&transport=websocket", "Unsupported protocol version"],
        [`/engine.io/?EIO=3&transport=websocket&sid=${sid}`, "Bad request"],
      ]) {
        const answer = await ask(target);
        assert.deepEqual(told(answer), { status: 400, body }, target);
        assert.equal(answer.headers.connection, "close");
      }
      for (const headers of [{ "sec-websocket-key": "short" }, { "sec-websocket-version": "7" }]) {
        assert.equal((await ask(path, headers)).status, 400);
        assert.equal((await ask(`${path}&sid=${sid}`, headers)).status, 400);
      }
      const accepted = await ask(path);
      assert.equal(accepted.status, 101);
      assert.equal(accepted.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    });

    test("outside of the path", async (t) => {
      const server = await start(t);
      for (const target of ["/", "/engine.io", "/engine.iox/", "/engine.io/x", "/favicon.ico?EIO=4&transport=polling"]) {
        assert.equal((await request(server, target)).status, 404, target);
        assert.equal((await request(server, target, { method: "POST", body: "4a" })).status, 404, target);
      }
      const intruder = new WebSocket(`ws://127.0.0.1:${server.port}/elsewhere/?EIO=4&transport=websocket`);
      const [error] = await once(intruder, "error");
      assert.match(error.message, /404/);
    });

    test("what is not HTTP", async (t) => {
      const server = await start(t);
      for (const text of ["\x16\x03\x01\x02\x00\x01", "nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", `GET /${"x".repeat(100_000)}`]) {
        const { socket, closed } = await raw(t, server);
        socket.write(text, "latin1");
        await closed();
      }
      await handshake(server);
    });

    // ---- polling ----

    test("the headers of answers", async (t) => {
      const server = await start(t);
      const opened = await request(server, TARGET);
      assert.equal(opened.headers["content-type"], "text/plain; charset=UTF-8");
      assert.equal(opened.headers["cache-control"], "no-store");
      const { sid } = JSON.parse(opened.body.slice(1));
      const posted = await post(server, { target: `${TARGET}&sid=${sid}` }, "4a\x1ebAQID\x1e4");
      assert.deepEqual(told(posted), { status: 200, body: "ok" });
      assert.equal(posted.headers["content-type"], "text/html");
      assert.deepEqual(told(await poll(server, { target: `${TARGET}&sid=${sid}` })), { status: 200, body: "4a\x1ebAQID\x1e4" });
    });

    test("connections are kept", async (t) => {
      const server = await start(t);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      t.after(() => agent.destroy());
      const session = await handshake(server, { agent });
      for (let i = 0; i < 50; i++) {
        const posted = await post(server, session, `4${i}`, { agent });
        assert.deepEqual([posted.body, posted.reused], ["ok", true]);
        const polled = await poll(server, session, { agent });
        assert.deepEqual([polled.body, polled.reused], [`4${i}`, true]);
      }
      const refused = await request(server, "/elsewhere", { agent });
      assert.deepEqual([refused.status, refused.reused], [404, true]);
    });

    test("a connection that shall be closed", async (t) => {
      const server = await start(t);
      const { socket, closed, until } = await raw(t, server);
      socket.write(head("GET", TARGET, "Connection: close"));
      assert.match(await until("maxPayload"), /^HTTP\/1\.1 200 /);
      await closed();
    });

    test("requests in tiny pieces", async (t) => {
      const server = await start(t);
      const { target, sid } = await handshake(server);
      const { socket, until } = await raw(t, server);
      const drip = async (text) => {
        for (const byte of Buffer.from(text, "latin1")) {
          socket.write(Buffer.of(byte));
          await new Promise(setImmediate);
        }
      };
      await drip(head("POST", target, "Content-Length: 13") + "4one\x1e4two\x1e4!!");
      await until("\r\n\r\nok");
      await drip(head("GET", target));
      await until("4one\x1e4two\x1e4!!");
      await drip(head("GET", TARGET));
      await until('0{"sid"');
      await drip(head("POST", target, "Content-Length: 1") + "1");
      await until("\r\n\r\nok", 2);
      await gone(server, sid);
    });

    test("requests all at once", async (t) => {
      const server = await start(t);
      const { target } = await handshake(server);
      const { socket, until } = await raw(t, server);
      const posts = Array.from({ length: 20 }, (_, i) => head("POST", target, "Content-Length: 3") + `4${i + 10}`);
      socket.write(posts.join("") + head("GET", target));
      await until("\r\n\r\nok", 20);
      await until(Array.from({ length: 20 }, (_, i) => `4${i + 10}`).join("\x1e"));
    });

    test("a held poll is answered when there is something", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const held = poll(server, session);
      let early = false;
      held.then(() => (early = true));
      await sleep(200);
      assert.equal(early, false);
      await post(server, session, "4now");
      assert.deepEqual(told(await held), { status: 200, body: "4now" });
    });

    test("two polls at once", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const polls = [poll(server, session), poll(server, session)];
      const statuses = (await Promise.all(polls)).map(told).sort((a, b) => a.status - b.status);
      assert.deepEqual(statuses, [{ status: 200, body: "1" }, { status: 400, body: "" }]);
      await gone(server, session.sid);
    });

    test("two posts at once", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const first = await raw(t, server);
      first.socket.write(head("POST", session.target, "Content-Length: 1000") + "4half");
      // a place is taken by a head, whenever it has arrived
      let answer;
      do answer = await post(server, session, "4a");
      while (answer.body === "ok");
      assert.ok(answer.status === 400, `${answer.status}`);
      await first.closed();
      await gone(server, session.sid);
    });

    test("a post that is too large ends the session", async (t) => {
      const server = await start(t, "--max-payload", "1000");
      const large = "4".padEnd(1000, "x");
      for (const size of [1001, 5000, 3_000_000]) {
        const session = await handshake(server);
        assert.equal(session.maxPayload, 1000);
        assert.equal((await post(server, session, large)).body, "ok");
        assert.equal((await poll(server, session)).body, large);
        const { status, body } = await post(server, session, "4".padEnd(size, "x"));
        assert.deepEqual({ status, body }, { status: 413, body: "" });
        await gone(server, session.sid);
      }
      // before it arrives
      const session = await handshake(server);
      const { socket, until } = await raw(t, server);
      socket.write(head("POST", session.target, "Content-Length: 100000000"));
      await until("HTTP/1.1 413 ");
      await gone(server, session.sid);
    });

    test("binary that is posted", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const { status, body } = await post(server, session, "4a", { headers: { "content-type": "application/octet-stream" } });
      assert.deepEqual({ status, body }, { status: 400, body: "" });
      await gone(server, session.sid);
    });

    test("what is not a packet", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      assert.equal((await post(server, session, "abc")).status, 400);
      await gone(server, session.sid);
    });

    test("a client that leaves while its poll is held", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const { socket } = await raw(t, server);
      socket.end(head("GET", session.target));
      await gone(server, session.sid);
    });

    test("a client that leaves in the middle of a body", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const { socket } = await raw(t, server);
      socket.write(head("POST", session.target, "Content-Length: 1000") + "4half");
      socket.end();
      await gone(server, session.sid);
    });

    test("a body that does not come", async (t) => {
      // a body that is being received excuses a late pong, so it is not the ping that ends the session
      const server = await start(t, "--body-timeout", "500", "--ping-interval", "100", "--ping-timeout", "100");
      const session = await handshake(server);
      const { socket, until, closed } = await raw(t, server);
      socket.write(head("POST", session.target, "Content-Length: 1000") + "4half");
      await until("HTTP/1.1 408 ");
      await closed();
      await gone(server, session.sid);
    });

    test("a client that does not poll", async (t) => {
      const server = await start(t, "--ping-interval", "100", "--ping-timeout", "1000");
      const [silent, pinged] = [await handshake(server), await handshake(server)];
      assert.equal((await poll(server, pinged)).body, "2");
      await gone(server, silent.sid);
      await gone(server, pinged.sid);
    });

    test("a client that posts and does not poll is slowed down", async (t) => {
      const server = await start(t);
      const session = await handshake(server);
      const bodies = Array.from({ length: 8 }, (_, i) => `4${i}`.padEnd(900_000, "x"));
      let posted = 0;
      const posting = (async () => {
        for (const body of bodies) {
          assert.equal((await post(server, session, body)).body, "ok");
          posted++;
        }
      })();
      // time enough to take them all
      await sleep(500);
      assert.ok(posted < bodies.length, `${posted} bodies were taken`);
      let got = "";
      while (got.split("\x1e").length - 1 < bodies.length) got += (await poll(server, session)).body + "\x1e";
      assert.ok(got === bodies.map((body) => body + "\x1e").join(""));
      await posting;
    });

    // ---- WebSockets ----

    test("a client that does not answer pings", async (t) => {
      const server = await start(t, "--ping-interval", "100", "--ping-timeout", "100");
      const { sid, message, closed } = await session(t, server);
      assert.equal(await message(1), "2");
      assert.equal(await closed(), 1005);
      await gone(server, sid);
    });

    test("pings of the WebSocket between messages", async (t) => {
      const server = await start(t);
      const { socket, messages, message } = await session(t, server);
      const pongs = [];
      socket.on("pong", (data) => pongs.push(data.toString()));
      // so much that writing gets stuck in the middle of a frame
      socket._socket.pause();
      const sent = Array.from({ length: 300 }, (_, i) => `4${i}`.padEnd(10 + ((i * 9973) % 80_000), "x"));
      for (const [i, data] of sent.entries()) {
        socket.send(data);
        socket.ping(`${i}`);
      }
      await sleep(200);
      socket._socket.resume();
      await message(sent.length);
      assert.ok(messages.slice(1).every((data, i) => data === sent[i]));
      // a pong may answer several pings, the last of them always
      const deadline = Date.now() + 20_000;
      while (pongs.at(-1) !== "299" && Date.now() < deadline) await sleep(10);
      assert.equal(pongs.at(-1), "299");
    });

    test("a message in fragments", async (t) => {
      const server = await start(t);
      const { socket, message } = await session(t, server);
      for (const part of ["4one ", "two ", ""]) socket.send(part, { fin: false });
      socket.send("three", { fin: true });
      assert.equal(await message(1), "4one two three");
    });

    test("frames in tiny pieces", async (t) => {
      const server = await start(t);
      const { socket, message } = await session(t, server);
      const mask = Buffer.from([1, 2, 3, 4]);
      const payload = Buffer.from("4tiny").map((byte, i) => byte ^ mask[i % 4]);
      for (const byte of Buffer.concat([Buffer.from([0x81, 0x85]), mask, payload])) {
        socket._socket.write(Buffer.of(byte));
        await new Promise(setImmediate);
      }
      assert.equal(await message(1), "4tiny");
    });

    test("a frame that is none", async (t) => {
      const server = await start(t);
      const { socket, sid, closed } = await session(t, server);
      // not masked
      socket._socket.write(Buffer.from([0x81, 0x01, 0x34]));
      assert.equal(await closed(), 1002);
      await gone(server, sid);
    });

    test("a client that does not read is not read either, and nothing is lost", async (t) => {
      const server = await start(t);
      const { socket, messages, message } = await session(t, server);
      socket._socket.pause();
      // more than the buffers of the system take in both directions, which may be 32 MiB each
      const sent = Array.from({ length: 800 }, (_, i) => `4${i}`.padEnd(100_000, "x"));
      for (const data of sent) socket.send(data);
      // time enough to take them all
      await sleep(500);
      assert.ok(socket.bufferedAmount > 0, "all was taken");
      socket._socket.resume();
      await message(sent.length);
      assert.ok(messages.slice(1).every((data, i) => data === sent[i]));
    });

    test("a slow client that is alive is not closed", async (t) => {
      const server = await start(t, "--ping-interval", "100", "--ping-timeout", "1500");
      const slow = await startSlow(t, server, 2_500_000);
      const { socket, message } = await session(t, slow);
      // far more than the buffers of the system take: a ping, and its pong, wait behind it for longer than the timeout
      const sent = Array.from({ length: 200 }, (_, i) => `4${i}`.padEnd(100_000, "x"));
      for (const data of sent) socket.send(data);
      let pings = 0;
      for (let next = 0, at = 1; next < sent.length; at++) {
        const data = await message(at);
        if (data === "2") pings++, socket.send("3");
        else assert.ok(data === sent[next++], `message ${next}`);
      }
      assert.ok(pings > 0);
    });

    test("a second WebSocket for a session is turned away", async (t) => {
      const server = await start(t);
      const { socket, sid } = await opened(t, server);
      const intruder = await channel(t, server, `&sid=${sid}`);
      assert.equal(await intruder.closed(), 1005);
      await roundTrip(socket, "still here");
      assert.deepEqual(told(await request(server, `${TARGET}&sid=${sid}`)), refusal(3, "Bad request"));
    });

    test("a probe that does not go on", async (t) => {
      const server = await start(t, "--upgrade-timeout", "1000");
      const session = await handshake(server);
      const probe = await channel(t, server, `&sid=${session.sid}`);
      probe.socket.send("2probe");
      assert.equal(await probe.message(0), "3probe");
      assert.equal(await probe.closed(), 1005);
      // the session stays on polling
      await post(server, session, "4still here");
      assert.equal((await poll(server, session)).body, "4still here");
    });
  });

  // by itself: there is much to do for this program too
  const crowd = CROWDS[name];
  if (crowd) {
    test(`${name}: ${crowd} sessions at once`, async (t) => {
      const server = await start(t);
      const clients = await Promise.all(Array.from({ length: crowd }, () => session(t, server)));
      clients.forEach(({ socket }, i) => socket.send(`4echo ${i}`));
      const echoes = await Promise.all(clients.map(({ message }) => message(1)));
      assert.deepEqual(echoes, clients.map((_, i) => `4echo ${i}`));
      assert.equal(new Set(clients.map(({ sid }) => sid)).size, crowd);
      clients.forEach(({ socket }) => socket.close());
      await Promise.all(clients.map(({ closed }) => closed()));
      await gone(server, clients.at(-1).sid);
    });
  }
}

describe("client", { concurrency: 4 }, () => {
  const start = (t, ...args) => startServer(t, `${DIR}/blocking`, ...args);
  const startClient = (t, { url }, ...args) => startProgram(t, CLIENT, url, ...args);

  for (const [mode, { args, from, to }] of Object.entries(MODES)) {
    test(`messages, and the end in order: ${mode}`, async (t) => {
      const server = await start(t);
      const client = startClient(t, server, ...args);
      const { transport, sid } = await client.event({ event: "open" });
      assert.equal(transport, from);
      if (from !== to) await client.event({ event: "upgrade", transport: to });
      const sent = ["hello", "", Buffer.from([1, 2, 3]), "пойду спать", Buffer.alloc(0)];
      client.send(...sent);
      assert.deepEqual(await client.messages(sent.length), sent);
      client.end();
      const { reason, code } = await client.closed();
      assert.deepEqual({ reason, code }, { reason: "forced close", code: 0 });
      await gone(server, sid);
    });
  }

  test("what was sent before the end arrives", async (t) => {
    const server = await start(t);
    const client = startClient(t, server, "--no-upgrade");
    await client.event({ event: "open" });
    client.send(...Array.from({ length: 100 }, (_, i) => `${i}`));
    assert.deepEqual(await client.messages(100), Array.from({ length: 100 }, (_, i) => `${i}`));
    client.end();
    assert.equal((await client.closed()).code, 0);
  });

  test("another session when one is lost", async (t) => {
    const server = await start(t);
    const proxy = await startProxy(t, server.port);
    const client = startClient(t, proxy, "--reconnect");
    const first = await client.event({ event: "open" });
    await client.event({ event: "upgrade" });
    client.send("before");
    assert.deepEqual(await client.messages(1), ["before"]);
    proxy.cut();
    const { delay } = await client.event({ event: "reconnecting" });
    assert.ok(delay >= 50 && delay <= 150, `${delay}`);
    const second = await client.event({ event: "open" }, 2);
    assert.notEqual(second.sid, first.sid);
    assert.equal(second.transport, "websocket", "it is known to work");
    client.send("after");
    assert.deepEqual(await client.messages(2), ["before", "after"]);
    client.end();
    assert.equal((await client.event({ event: "close" }, 2)).reason, "forced close");
    assert.equal((await client.ended).code, 0);
  });

  test("a server that cannot be reached", async (t) => {
    const server = await start(t);
    server.kill("SIGKILL");
    await server.ended;
    const client = startClient(t, server);
    const { reason, code, cause } = await client.closed();
    assert.deepEqual({ reason, code }, { reason: "transport error", code: 1 });
    assert.match(cause, /cannot be reached/);
  });

  test("an upgrade that fails", async (t) => {
    const server = await start(t);
    const proxy = await startProxy(t, server.port, { refuseWebsocket: true });
    await selfTest(t, proxy, [], { upgraded: false, program: CLIENT });
  });
});
