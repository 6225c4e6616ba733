// How sessions of the client end: by itself, by the server in each state, by a server that dies, or before they began; and
// that it comes back, where it is told to.

import assert from "node:assert/strict";
import { burstMessage } from "./exchange.js";
import { close, exchangeLines, fails, MODES, opened, parked, SERVERS, startConnect, startNode, startRaw, test } from "./connect.js";

const burst = (count, size) => Array.from({ length: count }, (_, i) => burstMessage(i, size));

/** Waits for an end which the server wanted. */
async function orderly(client) {
  const { reason, code } = await client.closed();
  assert.deepEqual({ reason, code }, { reason: "transport close", code: 0 });
}

// ---- in order ----

// python-engineio's own word for a client that says so
const CLOSED_BY_CLIENT = ["transport close", "client disconnect", "TransportClose"];

for (const [name, startServer] of Object.entries(SERVERS)) {
  for (const [mode, how] of Object.entries(MODES)) {
    const session = (title, body) =>
      test(`${title}: ${name}, ${mode}`, async (t) => {
        const server = await startServer(t);
        await body({ server, client: await opened(t, server, how) });
      });

    session("the client closes", async ({ server, client }) => {
      await close(client);
      assert.ok(CLOSED_BY_CLIENT.includes(await server.closed(client.sid)));
    });

    session("the client closes behind messages", async ({ server, client }) => {
      client.send(...Array.from({ length: 100 }, () => "cmd:burst:0:0"));
      await close(client);
      assert.ok(CLOSED_BY_CLIENT.includes(await server.closed(client.sid)));
      assert.equal(server.events("message", client.sid).length, 1 + 100);
    });

    // engineioxide forgets a session at once, with all that no poll has fetched
    if (name === "engineioxide" && mode === "polling") continue;

    // python-engineio has nothing to say to a poll that comes too late
    const ready = name === "python-engineio" && mode === "polling" ? parked : async () => {};

    session("the server closes", async ({ server, client }) => {
      await ready(server);
      client.send("cmd:close");
      await orderly(client);
      await server.closed(client.sid);
    });

    session("the server closes behind a burst", async ({ server, client }) => {
      await ready(server);
      client.send("cmd:burst-close:500:2000");
      await orderly(client);
      await server.closed(client.sid);
      assert.deepEqual(client.received(), ["hello", ...burst(500, 2000)]);
    });
  }
}

for (const [mode, how] of Object.entries(MODES)) {
  for (const command of ["cmd:close-discard", "cmd:close-after:50", "cmd:close-discard-after:50"]) {
    test(`the server obeys ${command}: ${mode}`, async (t) => {
      const server = await startNode(t);
      const client = await opened(t, server, how);
      client.send(command);
      await orderly(client);
      assert.equal(await server.closed(client.sid), "forced close");
    });
  }
}

// ---- in each state ----

// When, in which mode.
const STATES = [
  ["connection", "polling"],
  ["connection", "websocket"],
  ["connection", "upgrade"],
  ["upgrading", "upgrade"],
  ["upgrade", "upgrade"],
];

for (const [event, mode] of STATES) {
  for (const command of ["cmd:close", "cmd:burst-close:50:2000"]) {
    test(`the server obeys ${command} at its event ${event}: ${mode}`, async (t) => {
      const server = await startNode(t, "--at", `${event}=${command}`);
      const client = startConnect(t, server.url, ...MODES[mode].args);
      await orderly(client);
      const [{ sid }] = client.events("open");
      assert.equal(await server.closed(sid), "forced close");
      assert.deepEqual(client.received(), command === "cmd:close" ? [] : burst(50, 2000));
    });
  }

  test(`the server discards at its event ${event}: ${mode}`, async (t) => {
    const server = await startNode(t, "--at", `${event}=cmd:close-discard`);
    const client = startConnect(t, server.url, ...MODES[mode].args);
    // to a client without a poll it is a session that nobody knows any more
    const { reason } = await client.closed();
    assert.ok(["transport close", "transport error"].includes(reason), reason);
    assert.equal(await server.closed(client.events("open")[0].sid), "forced close");
  });

  test(`messages at the server's event ${event}: ${mode}`, async (t) => {
    const server = await startNode(t, "--at", `${event}=cmd:burst:50:2000`);
    const client = startConnect(t, server.url, ...MODES[mode].args);
    if (mode === "upgrade") await client.event({ event: "upgrade" });
    assert.deepEqual(await client.messages(50), burst(50, 2000));
    await exchangeLines(client, ["still here"]);
  });

  test(`the client closes at the server's event ${event}: ${mode}`, async (t) => {
    const server = await startNode(t);
    const client = startConnect(t, server.url, ...MODES[mode].args);
    client.send(...Array.from({ length: 50 }, () => "cmd:burst:0:0"));
    const { sid } = await server.event({ event });
    client.end();
    const { reason, code } = await client.closed();
    assert.deepEqual({ reason, code }, { reason: "forced close", code: 0 });
    assert.equal(await server.closed(sid), "transport close");
    assert.equal(server.events("message", sid).length, 50);
  });
}

test("nothing is said to the client but the end of its input", async (t) => {
  for (const { args } of Object.values(MODES)) {
    const server = await startNode(t, "--ping-interval", "300", "--ping-timeout", "300");
    const client = startConnect(t, server.url, ...args);
    client.end();
    const { reason, code } = await client.closed();
    assert.deepEqual({ reason, code }, { reason: "forced close", code: 0 });
    // if there ever was a session, it does not wait for its heartbeat to fail
    for (const { sid } of server.events("connection")) assert.equal(await server.closed(sid), "transport close");
  }
});

// ---- out of order ----

for (const [name, startServer] of Object.entries(SERVERS)) {
  for (const [mode, how] of Object.entries(MODES)) {
    test(`the server is killed: ${name}, ${mode}`, async (t) => {
      const server = await startServer(t);
      const client = await opened(t, server, how);
      server.kill("SIGKILL");
      const { reason, code } = await client.closed();
      assert.deepEqual({ reason, code }, { reason: how.to === "polling" ? "transport error" : "transport close", code: 1 });
    });
  }
}

for (const [mode, how] of Object.entries(MODES)) {
  test(`a server that is killed and started again: ${mode}`, async (t) => {
    const first = await startNode(t);
    const client = startConnect(t, first.url, ...how.args, "--reconnect");
    const { sid: before } = await client.event({ event: "open" });
    if (mode === "upgrade") await first.event({ event: "upgrade" });
    client.send("hello");
    await client.messages(1);
    first.kill("SIGKILL");
    await first.ended;
    const { attempt, delay } = await client.event({ event: "reconnecting" });
    assert.equal(attempt, 1);
    assert.equal(typeof delay, "number");
    await client.event({ event: "reconnecting", attempt: 2 });
    assert.equal(client.events("close").length, 1);

    const second = await startNode(t, "--port", String(first.port));
    const { sid } = await client.event({ event: "open" }, 2);
    assert.notEqual(sid, before);
    assert.equal((await second.event({ event: "connection" })).sid, sid);
    if (mode === "upgrade") await second.event({ event: "upgrade" });
    client.send("again", Buffer.from("and again"));
    assert.deepEqual(await client.messages(3), ["hello", "again", Buffer.from("and again")]);

    // and once more: attempts are counted anew
    second.kill("SIGKILL");
    await client.event({ event: "reconnecting", attempt: 1 }, 2);
    await second.ended;
    const third = await startNode(t, "--port", String(first.port));
    const { sid: last } = await client.event({ event: "open" }, 3);
    client.end();
    const ended = await client.ended;
    assert.equal(ended.code, 0);
    assert.deepEqual(client.events("close").map(({ reason }) => reason).at(-1), "forced close");
    assert.equal(await third.closed(last), "transport close");
  });
}

test("input that ends while there is no session", async (t) => {
  const server = await startNode(t);
  const client = startConnect(t, server.url, "--reconnect");
  await client.event({ event: "open" });
  server.kill("SIGKILL");
  await client.event({ event: "reconnecting", attempt: 2 });
  client.end();
  await client.ended;
});

// ---- no session at all ----

for (const [mode, { args }] of Object.entries(MODES)) {
  const fruitless = (name, body) => test(`${name}: ${mode}`, (t) => body(t, (url, ...more) => startConnect(t, url, ...args, ...more)));

  fruitless("nobody listens", async (t, connect) => {
    const server = await startNode(t);
    server.kill("SIGKILL");
    await server.ended;
    await fails(connect(server.url));
  });

  fruitless("the server refuses", async (t, connect) => {
    const server = await startNode(t, "--deny", "--deny-message", "not you");
    const closed = await fails(connect(server.url));
    t.diagnostic(JSON.stringify(closed));
    assert.equal((await server.event({ event: "connection_error" })).code, 4);
  });

  fruitless("python-engineio refuses", async (t, connect) => {
    const server = await SERVERS["python-engineio"](t, "--deny");
    const closed = await fails(connect(server.url));
    t.diagnostic(JSON.stringify(closed));
  });

  fruitless("the path is another", async (t, connect) => {
    const server = await startNode(t, "--path", "/elsewhere");
    const closed = await fails(connect(server.url));
    t.diagnostic(JSON.stringify(closed));
  });

  fruitless("the transport is not enabled", async (t, connect) => {
    const server = await startNode(t, "--transports", mode === "websocket" ? "polling" : "websocket");
    await fails(connect(server.url));
    assert.equal((await server.event({ event: "connection_error" })).code, 0);
  });

  const answer = (head, body = "") => `HTTP/1.1 ${head}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
  const ANSWERS = {
    "a page": answer("200 OK\r\nContent-Type: text/html", "<html></html>"),
    nothing: answer("200 OK"),
    "an open packet without a sid": answer("200 OK", '0{"upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'),
    "an open packet that is not JSON": answer("200 OK", "0{"),
    "a message first": answer("200 OK", "4hello"),
    "no status at all": "good day\r\n\r\n",
    "an error": answer("503 Service Unavailable", "later"),
  };
  for (const [name, bytes] of Object.entries(ANSWERS)) {
    fruitless(`the answer is ${name}`, async (t, connect) => {
      await fails(connect((await startRaw(t, (socket) => socket.once("data", () => socket.end(bytes)))).url));
    });
  }

  fruitless("the connection is dropped", async (t, connect) => {
    await fails(connect((await startRaw(t, (socket) => socket.destroy())).url));
  });

  // that of a websocket is not an HTTP request
  if (mode !== "websocket") {
    fruitless("the server does not answer in time", async (t, connect) => {
      await fails(connect((await startRaw(t, () => {})).url, "--request-timeout", "300"));
    });
  }
}

for (const [first, second] of [["polling", "websocket"], ["websocket", "polling"]]) {
  test(`all transports are tried, ${first} first`, async (t) => {
    const server = await startNode(t, "--transports", second);
    const client = startConnect(t, server.url, "--transports", `${first},${second}`, "--try-all-transports");
    assert.equal((await client.event({ event: "open" })).transport, second);
    await exchangeLines(client, ["here"]);
    assert.equal(client.events("open").length, 1);
  });
}

test("all transports are tried in vain", async (t) => {
  const server = await startNode(t, "--deny");
  await fails(startConnect(t, server.url, "--try-all-transports"));
  await server.event({ event: "connection_error" }, 2);
});

test("a server that does not answer any more", async (t) => {
  const server = await startNode(t);
  const client = await opened(t, server, MODES.polling, "--request-timeout", "500");
  // the poll, too, is a request
  const { reason, code } = await client.closed();
  assert.deepEqual({ reason, code }, { reason: "transport error", code: 1 });
  await server.closed(client.sid);
});
