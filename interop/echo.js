// Starts the echo server under test, reads the events it reports, and puts a small proxy in front of it where a test needs
// one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ECHO_BIN = process.env.ECHO_BIN ?? fileURLToPath(new URL("../target/release/examples/echo", import.meta.url));

const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/** Starts a program; it is killed when the test ends, if it still runs. `t` is the test's context. */
export function start(t, program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const ended = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve({ code, signal }));
  }).finally(() => children.delete(child));
  ended.catch(() => {});
  t.after(() => child.kill("SIGKILL"));
  return { child, ended, lines: createInterface({ input: child.stdout }) };
}

/** Starts the echo server on a free port and waits until it listens. */
export async function startEcho(t, ...args) {
  const { child, ended, lines } = start(t, ECHO_BIN, args);
  const events = [];
  const waiting = new Set();
  lines.on("line", (line) => {
    if (!line.startsWith("{")) return;
    events.push(JSON.parse(line));
    waiting.forEach((check) => check());
  });

  /** Resolves to the first event having all these values, past or future. */
  const event = (wanted) =>
    new Promise((resolve) => {
      const check = () => {
        const found = events.find((event) => Object.entries(wanted).every(([key, value]) => event[key] === value));
        if (found) {
          waiting.delete(check);
          resolve(found);
        }
      };
      waiting.add(check);
      check();
    });

  const died = ended.then(({ code, signal }) => {
    throw new Error(`the server ended early: ${code ?? signal}`);
  });
  const { port } = await Promise.race([event({ event: "listening" }), died]);
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    event,
    /** All events of a session so far, or of all sessions. */
    events: (name, sid) => events.filter((event) => event.event === name && (sid === undefined || event.sid === sid)),
    /** The reason of a session's end. */
    closed: async (sid) => (await event({ event: "close", sid })).reason,
    kill: (signal) => child.kill(signal),
    ended,
  };
}

/**
 * A proxy on a port of its own that pipes bytes to the server at `port`. `page` answers requests outside `/engine.io/`.
 * Websockets can be held back for a while, or refused by dropping the connection.
 */
export async function startProxy(t, port, { page, websocketDelay = 0, refuseWebsocket = false } = {}) {
  const sockets = new Set();
  const proxy = http.createServer((request, response) => {
    if (page && !request.url.startsWith("/engine.io/")) return page(request, response);
    const { method, url, headers } = request;
    const onward = http.request({ host: "127.0.0.1", port, method, path: url, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
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
    setTimeout(() => {
      const onward = net.connect(port, "127.0.0.1");
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n`);
      for (let i = 0; i < request.rawHeaders.length; i += 2) {
        onward.write(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}\r\n`);
      }
      onward.write("\r\n");
      onward.write(head);
      socket.pipe(onward).pipe(socket);
      onward.on("error", () => socket.destroy());
      onward.on("close", () => socket.destroy());
      socket.on("close", () => onward.destroy());
    }, websocketDelay);
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
  };
}
