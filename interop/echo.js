// Starts programs and reads the events they report; puts a small proxy in front of a server where a test needs one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";

const ECHO_BIN = process.env.ECHO_BIN ?? fileURLToPath(new URL("../target/release/examples/echo", import.meta.url));

const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/** Starts a program; it is killed when the test ends, if it still runs. `t` is the test's context. */
export function start(t, program, args, stdin = "ignore") {
  const child = spawn(program, args, { stdio: [stdin, "pipe", "inherit"] });
  children.add(child);
  const ended = new Promise((resolve, reject) => {
    child.once("error", reject);
    // not before its output has been read
    child.once("close", (code, signal) => resolve({ code, signal }));
  }).finally(() => children.delete(child));
  ended.catch(() => {});
  t.after(() => child.kill("SIGKILL"));
  return { child, ended, lines: createInterface({ input: child.stdout }) };
}

// How long a test waits for any one thing.
const PATIENCE = 20_000;

/** What a program reports: the lines of its output that are JSON. */
export function readEvents({ lines, ended }) {
  const all = [];
  const waiting = new Set();
  lines.on("line", (line) => {
    if (!line.startsWith("{")) return;
    all.push(JSON.parse(line));
    waiting.forEach((check) => check());
  });

  const find = (wanted) => all.filter((event) => Object.entries(wanted).every(([key, value]) => event[key] === value));
  /** Resolves to the first event having all these values, or to another than the first, past or future. */
  const event = (wanted, nth = 1) => {
    let check, deadline;
    const found = new Promise((resolve, reject) => {
      const fail = (why) => {
        const last = all.slice(-5).map((event) => JSON.stringify(event).slice(0, 200));
        reject(new Error(`${why} without ${JSON.stringify(wanted)} number ${nth}; the last events: ${last.join(" ")}`));
      };
      check = () => find(wanted).length >= nth && resolve(find(wanted)[nth - 1]);
      deadline = setTimeout(fail, PATIENCE, `${PATIENCE} ms`);
      // what was already found stays found
      ended.then(({ code, signal }) => fail(`it ended (${code ?? signal})`), reject);
    });
    const settled = () => {
      clearTimeout(deadline);
      waiting.delete(check);
    };
    found.then(settled, settled);
    waiting.add(check);
    check();
    return found;
  };
  return { all, find, event };
}

/** Starts a server, a program and its arguments, and waits until it listens. */
export async function startServer(t, program, ...args) {
  const { child, ended, lines } = start(t, program, args);
  const { find, event } = readEvents({ lines, ended });
  const { port } = await event({ event: "listening" });
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    event,
    /** All events of a session so far, or of all sessions. */
    events: (name, sid) => find({ event: name, ...(sid !== undefined && { sid }) }),
    /** The reason of a session's end. */
    closed: async (sid) => (await event({ event: "close", sid })).reason,
    kill: (signal) => child.kill(signal),
    ended,
  };
}

/** Starts the echo server under test. */
export const startEcho = (t, ...args) => startServer(t, ECHO_BIN, ...args);

/**
 * A proxy on a port of its own that pipes bytes to the server at `port`. `page` answers requests outside `/engine.io/`.
 * Websockets can be held back for a while, or refused by dropping the connection. Or `websocket` treats them: it gets the
 * connection, a function that connects it to the server, with a stream in between that the server's bytes go through, and
 * `polls`, which holds answers to polls back.
 */
export async function startProxy(t, port, { page, websocketDelay = 0, refuseWebsocket = false, websocket } = {}) {
  const sockets = new Set();
  let held = null;
  const polls = {
    /** Keeps answers to polls back. */
    hold: () => (held ??= []),
    /** Passes on what was kept back, and does so no more. */
    release: () => {
      const passes = held ?? [];
      held = null;
      passes.forEach((pass) => pass());
    },
  };
  const proxy = http.createServer((request, response) => {
    if (page && !request.url.startsWith("/engine.io/")) return page(request, response);
    const { method, url, headers } = request;
    const onward = http.request({ host: "127.0.0.1", port, method, path: url, headers, agent: false }, (answer) => {
      const pass = () => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      };
      if (held && method === "GET") held.push(pass);
      else pass();
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  proxy.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  proxy.on("upgrade", (request, socket, head) => {
    socket.on("error", () => {});
    if (refuseWebsocket) return socket.destroy();
    const relay = (filter = new PassThrough()) => {
      const onward = net.connect(port, "127.0.0.1");
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n`);
      for (let i = 0; i < request.rawHeaders.length; i += 2) {
        onward.write(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}\r\n`);
      }
      onward.write("\r\n");
      onward.write(head);
      socket.pipe(onward).pipe(filter).pipe(socket);
      onward.on("error", () => socket.destroy());
      onward.on("close", () => socket.destroy());
      socket.on("close", () => onward.destroy());
    };
    if (websocket) websocket(socket, relay, polls);
    else setTimeout(relay, websocketDelay);
  });
  const cut = () => sockets.forEach((socket) => socket.destroy());
  t.after(() => {
    cut();
    proxy.close();
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    /** Drops every connection. */
    cut,
    polls,
  };
}
