// The official client in a real browser: the same exchanges as in Node.js, the ends of sessions, and the chat example as a
// person would use it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { after, before, test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { start, startEcho, startProxy } from "./echo.js";

const test = (name, body) => nodeTest(name, { timeout: 90_000 }, body);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const CHAT_BIN = process.env.CHAT_BIN ?? here("../target/release/examples/chat");
const HEARTBEAT = ["--ping-interval", "200", "--ping-timeout", "5000"];

const FILES = {
  "/": ["text/html", here("page/index.html")],
  "/exchange.js": ["text/javascript", here("exchange.js")],
  "/engine.io.js": ["text/javascript", here("node_modules/engine.io-client/dist/engine.io.min.js")],
};

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  });
});
after(() => browser?.close());

/** A new page, in a profile of its own, that must neither raise an error nor leave its origin; `traffic` is what it asks for. */
async function visit(t, url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const errors = [];
  const traffic = [];
  page.on("pageerror", (error) => errors.push(error));
  page.on("request", (request) => traffic.push(request.url()));
  page.on("websocket", (websocket) => traffic.push(websocket.url()));
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
    const foreign = ({ protocol, host }) => protocol !== "data:" && host !== new URL(url).host;
    assert.deepEqual(traffic.map((address) => new URL(address)).filter(foreign), []);
  });
  await page.goto(url);
  return { page, traffic };
}

/** The page of the exchanges, served from the same origin as the echo server. */
async function visitExchange(t, server, options) {
  const serveFile = ({ url }, response) => {
    if (!FILES[url]) return response.writeHead(404).end();
    const [type, file] = FILES[url];
    response.writeHead(200, { "content-type": type });
    createReadStream(file).pipe(response);
  };
  const proxy = await startProxy(t, server.port, { page: serveFile, ...options });
  const { page } = await visit(t, proxy.url);
  await page.waitForFunction("window.ready");
  return { page, proxy };
}

// ---- exchanges ----

const POLLING = { from: "polling", to: "polling" };
const WEBSOCKET = { from: "websocket", to: "websocket" };
const UPGRADE = { from: "polling", to: "websocket" };

const MODES = [
  ["polling", POLLING, { transports: ["polling"] }],
  ["websocket", WEBSOCKET, { transports: ["websocket"] }],
  ["upgrade", UPGRADE, {}],
  // on a websocket the client encodes binary messages to base64 one by one in the background, and texts overtake them
  ["polling, base64", POLLING, { transports: ["polling"], forceBase64: true }],
  ["an upgrade that comes late", UPGRADE, {}, [], { websocketDelay: 500 }],
  ["an upgrade that fails", POLLING, {}, [], { refuseWebsocket: true }],
];

for (const [name, { from, to }, options, flags = [], obstacles] of MODES) {
  test(`exchange: ${name}`, async (t) => {
    const upgrade = from !== to;
    const server = await startEcho(t, ...HEARTBEAT, ...flags);
    const { page, proxy } = await visitExchange(t, server, obstacles);
    const summary = await page.evaluate(([options, upgrade]) => run(options, { upgrade }), [options, upgrade]);
    const { sid, record, sent, received, heartbeats } = summary;
    await page.evaluate(() => socket.close());
    await server.closed(sid);

    assert.equal(summary.transport, to);
    assert.ok(record.length >= 300);
    assert.ok(heartbeats >= 3);
    assert.equal(server.events("connection", sid)[0].transport, from);
    assert.deepEqual(server.events("message", sid).map(({ kind, size }) => `${kind} ${size}`), record);
    assert.ok(server.events("heartbeat", sid).length >= 3);
    assert.equal(server.events("upgrade", sid).length, upgrade ? 1 : 0);
    if (upgrade) t.diagnostic(`from open to upgrade: ${summary.upgradeMs.toFixed(1)} ms`);
    t.diagnostic(`sent ${JSON.stringify(sent)}, received ${JSON.stringify(received)}, heartbeats ${heartbeats}`);
  });
}

// ---- one session at a time ----

for (const [name, { to }, options] of MODES.slice(0, 3)) {
  const session = (title, body, ...args) =>
    test(`${title}: ${name}`, async (t) => {
      const server = await startEcho(t, ...args);
      const { page } = await visitExchange(t, server);
      const sid = await page.evaluate((options) => opened(options), options);
      await body({ page, sid, server });
    });

  session("the client closes", async ({ page, sid, server }) => {
    assert.equal(await page.evaluate(() => (socket.close(), ending)), "forced close");
    assert.equal(await server.closed(sid), "transport close");
  });

  for (const command of ["cmd:close", "cmd:close-discard"]) {
    session(`the server obeys ${command}`, async ({ page, sid, server }) => {
      assert.equal(await page.evaluate((command) => (socket.send(command), ending), command), "transport close");
      assert.equal(await server.closed(sid), "forced close");
    });
  }

  session("the server closes behind a burst", async ({ page, sid, server }) => {
    assert.equal(await page.evaluate(() => (socket.send("cmd:burst-close:500:2000"), ending)), "transport close");
    assert.equal(await server.closed(sid), "forced close");
    assert.ok(await page.evaluate(() => JSON.stringify(messages) === JSON.stringify(["hello", ...burst(500, 2000)])));
  });

  session(
    "a silent client",
    async ({ page, sid, server }) => {
      // the bundle's private names are mangled, but a pong can be made something else while it is created
      const reason = page.evaluate(() => {
        socket.on("packetCreate", (packet) => packet.type === "pong" && (packet.type = "noop"));
        return ending;
      });
      assert.equal(await reason, "transport close");
      assert.equal(await server.closed(sid), "ping timeout");
    },
    ...["--ping-interval", "300", "--ping-timeout", "300"],
  );

  session("a message too large", async ({ page, sid, server }) => {
    const reason = await page.evaluate(() => (socket.send("x".repeat(1_000_000)), ending));
    // by polling, the server's close packet, on the poll that is held, and the 413 may arrive in any order
    const reasons = to === "websocket" ? ["transport close"] : ["transport error", "transport close"];
    assert.ok(reasons.includes(reason), reason);
    assert.equal(await server.closed(sid), "transport error");
  });

  session("the page is left", async ({ page, sid, server }) => {
    await page.goto("about:blank");
    assert.equal(await server.closed(sid), to === "websocket" ? "transport close" : "transport error");
  });
}

// ---- the chat example ----

async function startChat(t, port = 0) {
  const { child, ended, lines } = start(t, CHAT_BIN, ["--port", String(port)]);
  const died = ended.then(() => {
    throw new Error("the chat ended early");
  });
  const [line] = await Promise.race([once(lines, "line"), died]);
  const [, url] = line.match(/^listening on (http:\/\/127\.0\.0\.1:\d+)\/?$/) ?? assert.fail(line);
  return { url, kill: () => (child.kill("SIGKILL"), ended) };
}

/** Waits for an element whose whole text matches. */
async function shows(page, selector, pattern) {
  await page.locator(selector).filter({ hasText: pattern }).waitFor();
}

const upgraded = (page) => shows(page, "#transport", /^\s*websocket\s*$/);

async function say(page, text, { click = false } = {}) {
  await page.fill("#text", text);
  await (click ? page.click("#send") : page.press("#text", "Enter"));
}

/** Waits until the page lists what an author said, exactly once. */
async function lists(page, author, body) {
  const items = page
    .locator("#messages > *")
    .filter({ has: page.locator(".author").getByText(author, { exact: true }) })
    .filter({ has: page.locator(".body").getByText(body, { exact: true }) });
  await items.first().waitFor();
  assert.equal(await items.count(), 1);
}

/** Opens the chat in two pages, under two names, and waits for their upgrades. */
async function enter(t, url) {
  const [ann, bob] = [await visit(t, url), await visit(t, url)];
  await ann.page.fill("#name", "Ann");
  await bob.page.fill("#name", "Bob");
  for (const { page } of [ann, bob]) await upgraded(page);
  return { ann, bob, pages: [ann.page, bob.page] };
}

test("chat: two people talk", async (t) => {
  const { url } = await startChat(t);
  const { ann, bob, pages } = await enter(t, url);
  await say(ann.page, "Hello, is <b>anyone</b> here?");
  for (const page of pages) await lists(page, "Ann", "Hello, is <b>anyone</b> here?");
  await say(bob.page, "Да — привет 😀", { click: true });
  for (const page of pages) await lists(page, "Bob", "Да — привет 😀");

  for (const { page, traffic } of [ann, bob]) {
    await shows(page, "#upgraded-after", /^\s*upgraded after \d+(\.\d+)? ms\s*$/);
    await shows(page, "#rtt", /^\s*\d+(\.\d+)? ms\s*$/);
    // an upgrade indeed: polling first, then a websocket for the same session
    const polled = traffic.find((address) => /transport=polling/.test(address) && /sid=/.test(address));
    const sid = new URL(polled).searchParams.get("sid");
    assert.ok(traffic.some((address) => /^ws:.*transport=websocket/.test(address) && new URL(address).searchParams.get("sid") === sid));
    t.diagnostic(`${await page.innerText("#upgraded-after")}, round trip ${await page.innerText("#rtt")}`);
  }
  if (process.env.SCREENSHOT_DIR) await ann.page.screenshot({ path: join(process.env.SCREENSHOT_DIR, "chat.png") });
});

test("chat: the server restarts", async (t) => {
  const first = await startChat(t);
  const { ann, bob, pages } = await enter(t, first.url);
  await say(ann.page, "before");
  for (const page of pages) await lists(page, "Ann", "before");

  await first.kill();
  for (const page of pages) await shows(page, "#transport", /^\s*offline\s*$/);
  await startChat(t, new URL(first.url).port);
  for (const page of pages) await upgraded(page);

  await say(bob.page, "after");
  for (const page of pages) await lists(page, "Bob", "after");
  await say(ann.page, "and back");
  for (const page of pages) await lists(page, "Ann", "and back");
});
