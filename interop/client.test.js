// The client, by its example program `connect`, against servers of every make: what is said arrives, in every mode and through
// the upgrade; its requests are as told; it keeps to the server's limits and heartbeat.

import assert from "node:assert/strict";
import { burstMessage } from "./exchange.js";
import { startProxy } from "./echo.js";
import {
  close, exchangeLines, MODES, opened, selfTest, SERVERS, startConnect, startNode, startPython, startThreadedPython, test,
} from "./connect.js";

const { polling: POLLING, websocket: WEBSOCKET, upgrade: UPGRADE } = MODES;

// Short enough for heartbeats in the midst of an exchange, and patient with a busy machine. In whole seconds, because
// python-engineio announces nothing finer.
const HEARTBEAT = ["--ping-interval", "1000", "--ping-timeout", "5000"];

// ---- exchanges ----

for (const [name, startServer] of Object.entries(SERVERS)) {
  for (const [mode, { args, from, to }] of Object.entries(MODES)) {
    test(`exchange: ${name}, ${mode}`, async (t) => {
      const server = await startServer(t, ...HEARTBEAT);
      const client = await selfTest(t, server, args, { upgraded: from !== to });
      const [{ sid, transport }] = server.events("connection");
      assert.equal(transport, from);
      assert.equal(client.events("open")[0].sid, sid);
      assert.equal(server.events("message", sid).length, 500);
      await server.closed(sid);
    });
  }
}

for (const [mode, { args, from, to }] of Object.entries(MODES)) {
  test(`exchange: python-engineio threaded, as it comes, ${mode}`, async (t) => {
    await selfTest(t, await startThreadedPython(t), args, { upgraded: from !== to });
  });
}

for (const [mode, how] of Object.entries(MODES)) {
  test(`python-engineio as it comes: ${mode}`, async (t) => {
    const client = await opened(t, await startPython(t), how);
    // no more at a time than it takes
    for (let i = 1; i <= 20; i++) {
      const messages = Array.from({ length: 5 }, (_, n) => (n % 2 ? Buffer.alloc(i * 10, n) : `${i} ${n}`));
      client.send(...messages);
      assert.deepEqual((await client.messages(1 + i * 5)).slice(-5), messages);
    }
    await close(client);
  });
}

const VARIANTS = {
  "base64, polling": [POLLING, [], ["--force-base64"]],
  "base64, websocket": [WEBSOCKET, [], ["--force-base64"]],
  "base64, upgrade": [UPGRADE, [], ["--force-base64"]],
  "permessage-deflate, websocket": [WEBSOCKET, ["--per-message-deflate", "on"], []],
  "permessage-deflate, upgrade": [UPGRADE, ["--per-message-deflate", "on"], []],
  "no compression of responses": [POLLING, ["--http-compression", "off"], []],
  "upgrades not wanted": [POLLING, [], ["--transports", "polling,websocket", "--no-upgrade"]],
  "upgrades not offered": [POLLING, ["--no-upgrades"], ["--transports", "polling,websocket"]],
  "websocket not enabled": [POLLING, ["--transports", "polling"], ["--transports", "polling,websocket"]],
};

for (const [name, [mode, serverArgs, clientArgs]] of Object.entries(VARIANTS)) {
  test(`exchange: ${name}`, async (t) => {
    const server = await startNode(t, ...HEARTBEAT, ...serverArgs);
    const args = clientArgs.includes("--transports") ? clientArgs : [...mode.args, ...clientArgs];
    await selfTest(t, server, args, { upgraded: mode.from !== mode.to });
    const [{ extensions, transport }] = [...server.events("upgrade"), ...server.events("connection")];
    assert.equal(transport, mode.to);
    if (extensions !== undefined) t.diagnostic(`extensions: ${extensions || "none"}`);
  });
}

for (const [name, startServer] of Object.entries(SERVERS)) {
  for (const [mode, how] of Object.entries(MODES)) {
    test(`what the server sends unasked: ${name}, ${mode}`, async (t) => {
      const server = await startServer(t);
      const client = await opened(t, server, how);
      client.send("cmd:burst:1000:10", "cmd:burst-binary:100:3000", "cmd:burst:5:400000");
      const texts = (count, size) => Array.from({ length: count }, (_, i) => burstMessage(i, size));
      const wanted = ["hello", ...texts(1000, 10), ...texts(100, 3000).map((text) => Buffer.from(text)), ...texts(5, 400_000)];
      assert.deepEqual(await client.messages(wanted.length), wanted);
      client.send("cmd:info");
      const info = JSON.parse((await client.messages(wanted.length + 1)).at(-1));
      assert.equal(info.transport, how.to);
      await close(client);
    });
  }
}

for (const [mode, { args }] of Object.entries(MODES)) {
  test(`a message which travels with the handshake: ${mode}`, async (t) => {
    const server = await startNode(t, "--initial-packet", "welcome");
    const client = startConnect(t, server.url, ...args);
    assert.deepEqual(await client.messages(1), ["welcome"]);
    await close(client);
  });
}

test("what the server announces", async (t) => {
  const options = ["--ping-interval", "12345", "--ping-timeout", "6789", "--max-payload", "4321"];
  const server = await startNode(t, ...options);
  const { sid } = await opened(t, server, POLLING);
  const client = await opened(t, server, POLLING);
  const { event, ...open } = await client.event({ event: "open" });
  assert.notEqual(open.sid, sid);
  const wanted = { sid: client.sid, transport: "polling", pingInterval: 12345, pingTimeout: 6789, maxPayload: 4321 };
  assert.deepEqual(open, { ...wanted, upgrades: ["websocket"] });
});

// ---- requests ----

/** Opens a session, has messages pass both ways, closes it, and gives the requests that the server saw. */
async function requestsOf(t, serverArgs, mode, clientArgs) {
  const server = await startNode(t, ...serverArgs);
  const client = await opened(t, server, mode, ...clientArgs);
  await exchangeLines(client, ["one", Buffer.from("two"), "three"]);
  await server.closed(client.sid);
  const requests = server.events("request").map(({ url, ...request }) => ({ ...request, url: new URL(url, server.url) }));
  assert.equal(requests.filter(({ upgrade }) => upgrade).length, mode === POLLING ? 0 : 1);
  if (mode === POLLING) assert.ok(requests.some(({ method }) => method === "POST"));
  return { requests, sid: client.sid };
}

for (const [mode, how] of Object.entries(MODES)) {
  const request = (name, body) => test(`${name}: ${mode}`, (t) => body(t, how));

  request("the shape of requests", async (t, how) => {
    const { requests, sid } = await requestsOf(t, [], how, []);
    requests.forEach(({ method, url, headers, upgrade }, i) => {
      assert.equal(url.pathname, "/engine.io/");
      assert.equal(url.searchParams.get("EIO"), "4");
      assert.equal(url.searchParams.get("transport"), upgrade ? "websocket" : "polling");
      assert.equal(url.searchParams.get("sid"), i === 0 ? null : sid);
      assert.equal(headers.host, url.host);
      if (method === "POST") assert.match(headers["content-type"], /^text\/plain; ?charset=utf-8$/i);
    });
  });

  request("headers are sent with every request", async (t, how) => {
    const headers = ["--header", "X-One: 1", "--header", "Authorization: Bearer a:b"];
    const { requests } = await requestsOf(t, [], how, headers);
    for (const { headers } of requests) {
      assert.equal(headers["x-one"], "1");
      assert.equal(headers.authorization, "Bearer a:b");
    }
  });

  request("a query is sent with every request", async (t, how) => {
    const { requests } = await requestsOf(t, [], how, ["--query", "token=a b&c=é", "--query", "empty="]);
    for (const { url } of requests) {
      assert.equal(url.searchParams.get("token"), "a b&c=é");
      assert.equal(url.searchParams.get("empty"), "");
      assert.equal(url.searchParams.get("EIO"), "4");
    }
  });

  for (const path of ["/some/where", "/some/where/"]) {
    request(`a path of one's own, ${path}`, async (t, how) => {
      const { requests } = await requestsOf(t, ["--path", path], how, ["--path", path]);
      for (const { url } of requests) assert.equal(url.pathname, "/some/where/");
    });
  }

  const cookies = ({ headers }) => headers.cookie?.split(/; */).sort() ?? [];

  request("the server's cookie comes back", async (t, how) => {
    const { requests, sid } = await requestsOf(t, ["--cookie", "io"], how, []);
    requests.forEach((request, i) => assert.deepEqual(cookies(request), i === 0 ? [] : [`io=${sid}`]));
  });

  request("cookies are not wanted", async (t, how) => {
    const { requests } = await requestsOf(t, ["--cookie", "io"], how, ["--cookies", "off"]);
    for (const request of requests) assert.deepEqual(cookies(request), []);
  });

  request("cookies have attributes", async (t, how) => {
    const set = ["1=1; Max-Age=86400", "2=a=b; Path=/; HttpOnly; SameSite=Strict", "3=3; Max-Age=0"];
    const expired = "4=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    const { requests } = await requestsOf(t, [...set, expired].flatMap((cookie) => ["--set-cookie", cookie]), how, []);
    requests.forEach((request, i) => assert.deepEqual(cookies(request), i === 0 ? [] : ["1=1", "2=a=b"]));
  });

  request("a cookie of one's own beside the server's", async (t, how) => {
    const { requests, sid } = await requestsOf(t, ["--cookie", "io"], how, ["--header", "Cookie: mine=1"]);
    requests.forEach((request, i) => assert.deepEqual(cookies(request), i === 0 ? ["mine=1"] : [`io=${sid}`, "mine=1"]));
  });
}

test("a query in the address", async (t) => {
  const server = await startNode(t);
  await exchangeLines(await opened(t, { url: `${server.url}/?token=a%20b` }, UPGRADE), ["one"]);
  for (const { url } of server.events("request")) assert.equal(new URL(url, server.url).searchParams.get("token"), "a b");
});

test("an address that names the websocket", async (t) => {
  const server = await startNode(t);
  await exchangeLines(await opened(t, { url: server.url.replace("http", "ws") }, UPGRADE), ["one"]);
});

// ---- limits ----

/** Checks that no request was larger than the server allows; gives their number. */
function posts(server, limit) {
  const posts = server.events("response").filter(({ method }) => method === "POST");
  for (const { status, size } of posts) assert.ok(status === 200 && size <= limit, `${size} bytes were answered ${status}`);
  return posts.length;
}

test("requests are divided by the server's limit", async (t) => {
  const server = await startNode(t, "--max-payload", "100");
  const client = await opened(t, server, POLLING);
  const texts = ["a".repeat(99), "b".repeat(30), "c".repeat(30), "d".repeat(35), "€".repeat(33), "f".repeat(99)];
  const binaries = [72, 20, 0, 1, 2, 3, 72, 60].map((size) => Buffer.alloc(size, size));
  await exchangeLines(client, [...texts, ...binaries, "g".repeat(20), ...binaries, ...texts]);
  await server.closed(client.sid);
  t.diagnostic(`${posts(server, 100)} requests for ${2 + 2 * (texts.length + binaries.length)} packets`);
});

for (const [mode, how] of Object.entries(MODES)) {
  test(`many messages and a small limit: ${mode}`, async (t) => {
    const limit = 10_000;
    const server = await startNode(t, "--max-payload", String(limit));
    const client = startConnect(t, server.url, ...how.args);
    // some are as large as they may be: there is a type digit, or base64 behind a letter
    const text = (i) => (i % 50 === 7 ? "t".repeat(limit - 1) : `${i} ` + "é漢😀x".repeat((i * 37) % 150));
    const bytes = (i) => Buffer.alloc(i % 50 === 8 ? 7497 : (i * 53) % 3000, i);
    await exchangeLines(client, Array.from({ length: 600 }, (_, i) => (i % 2 ? text(i) : bytes(i))));
    const [{ sid }] = client.events("open");
    await server.closed(sid);
    const count = posts(server, limit);
    // one message at a time would need as many
    assert.ok(count < 300, `${count} requests`);
    t.diagnostic(`${count} requests`);
  });
}

for (const [mode, how] of Object.entries(MODES)) {
  test(`a message too large: ${mode}`, async (t) => {
    const server = await startNode(t, "--max-payload", "1000");
    const client = await opened(t, server, how);
    // one byte tells the type
    client.send("x".repeat(1000));
    await client.event({ event: "send_error" });
    await exchangeLines(client, ["x".repeat(999)]);
    await server.closed(client.sid);
    posts(server, 1000);
  });
}

// ---- heartbeat ----

const BEATS = {
  "engine.io": ["--ping-interval", "200", "--ping-timeout", "200"],
  "python-engineio": ["--ping-interval", "1000", "--ping-timeout", "500"],
  // it leaves out the ping that falls into an upgrade
  engineioxide: ["--ping-interval", "200", "--ping-timeout", "500"],
  ours: ["--ping-interval", "200", "--ping-timeout", "200"],
};
const BEATS_WAITED_FOR = 6;

for (const [name, startServer] of Object.entries(SERVERS)) {
  for (const [mode, how] of Object.entries(MODES)) {
    test(`the heartbeat keeps an idle session: ${name}, ${mode}`, async (t) => {
      const server = await startServer(t, ...BEATS[name]);
      const client = await opened(t, server, how);
      if (["engine.io", "ours"].includes(name)) {
        await server.event({ event: "heartbeat", sid: client.sid }, BEATS_WAITED_FOR);
      } else {
        // these do not tell; nothing but the time shows that the session outlives its deadline
        const [interval, timeout] = [1, 3].map((i) => Number(BEATS[name][i]));
        await Promise.race([client.ended, new Promise((resolve) => setTimeout(resolve, 1.5 * (interval + timeout)))]);
      }
      assert.deepEqual(client.events("close"), []);
      await exchangeLines(client, ["still here"]);
    });
  }
}

for (const [mode, how] of Object.entries(MODES)) {
  test(`a silent server: ${mode}`, async (t) => {
    const server = await startNode(t, "--ping-interval", "200", "--ping-timeout", "200");
    const client = await opened(t, server, how);
    server.kill("SIGSTOP");
    const { reason, code } = await client.closed();
    server.kill("SIGCONT");
    assert.deepEqual({ reason, code }, { reason: "ping timeout", code: 1 });
    await server.closed(client.sid);
  });
}

test("a server that is silent for a moment", async (t) => {
  const server = await startNode(t, "--ping-interval", "300", "--ping-timeout", "5000");
  const client = await opened(t, server, UPGRADE);
  server.kill("SIGSTOP");
  client.send(...Array.from({ length: 100 }, (_, i) => `message ${i}`));
  server.kill("SIGCONT");
  await client.messages(101);
  await server.event({ event: "heartbeat", sid: client.sid }, 2);
  await close(client);
});

// ---- upgrades that come late ----

test("exchange: an upgrade that comes late", async (t) => {
  const server = await startNode(t, ...HEARTBEAT);
  const proxy = await startProxy(t, server.port, { websocketDelay: 500 });
  const client = startConnect(t, proxy.url);
  client.send(...Array.from({ length: 100 }, (_, i) => `early ${i}`));
  await client.messages(100);
  await client.event({ event: "upgrade" });
  await exchangeLines(client, Array.from({ length: 100 }, (_, i) => `late ${i}`));
});
