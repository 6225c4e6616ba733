// An echo server on the reference implementation, the counterpart of the client under test. It takes the options of the
// project's own echo server and obeys the same messages; besides, it reports every request with its headers.
//
//     node servers/node.js [--port N | --unix PATH] [--path P] [--transports polling,websocket] [--no-upgrades]
//         [--ping-interval MS] [--ping-timeout MS] [--upgrade-timeout MS] [--max-payload BYTES]
//         [--http-compression on|off] [--per-message-deflate on|off] [--cookie NAME] [--set-cookie 'K=V; …']…
//         [--initial-packet TEXT] [--deny] [--deny-message TEXT] [--key FILE --cert FILE [--client-ca FILE]]
//         [--at EVENT=COMMAND]…
//
// `--at upgrading=cmd:close` obeys the command as soon as the event (`connection`, `upgrading`, `upgrade` or `heartbeat`)
// happens, as if the client had sent it. `--client-ca` demands a client's certificate, signed by that authority.

import { readFileSync, writeSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { parseArgs } from "node:util";
import { Server } from "engine.io";
import { burstMessage } from "../exchange.js";

const string = (value) => ({ type: "string", ...(value !== undefined && { default: value }) });
const list = { type: "string", multiple: true, default: [] };
const flag = { type: "boolean", default: false };
const { values: args } = parseArgs({
  options: {
    port: string("0"),
    unix: string(),
    path: string("/engine.io"),
    transports: string("polling,websocket"),
    "no-upgrades": flag,
    "ping-interval": string("25000"),
    "ping-timeout": string("20000"),
    "upgrade-timeout": string("10000"),
    "max-payload": string("1000000"),
    "http-compression": string("on"),
    "per-message-deflate": string("off"),
    cookie: string(),
    "set-cookie": list,
    "initial-packet": string(),
    deny: flag,
    "deny-message": string(),
    key: string(),
    cert: string(),
    "client-ca": string(),
    at: list,
  },
});

// Synchronous: what happened before a kill has been said.
const report = (event, fields) => writeSync(1, JSON.stringify({ event, ...fields }) + "\n");

const engine = new Server({
  transports: args.transports.split(","),
  allowUpgrades: !args["no-upgrades"],
  pingInterval: Number(args["ping-interval"]),
  pingTimeout: Number(args["ping-timeout"]),
  upgradeTimeout: Number(args["upgrade-timeout"]),
  maxHttpBufferSize: Number(args["max-payload"]),
  httpCompression: args["http-compression"] === "on" && { threshold: 1024 },
  perMessageDeflate: args["per-message-deflate"] === "on" && { threshold: 1024 },
  cookie: args.cookie && { name: args.cookie, path: "/" },
  initialPacket: args["initial-packet"],
  allowRequest: args.deny ? (_, refuse) => refuse(args["deny-message"], false) : undefined,
});

engine.on("initial_headers", (headers) => {
  if (args["set-cookie"].length) headers["Set-Cookie"] = [...(headers["Set-Cookie"] ?? []), ...args["set-cookie"]];
});
engine.on("connection_error", ({ code, message }) => report("connection_error", { code, message }));
engine.on("connection", (socket) => {
  const { id: sid, protocol } = socket;
  // of a websocket, what was agreed on compression
  const transport = ({ name, socket }) => ({ transport: name, ...(socket && { extensions: socket.extensions }) });
  const happened = (event, fields) => {
    report(event, { sid, ...fields });
    for (const [when, command] of args.at.map((at) => at.split(/=(.*)/s))) {
      if (when === event) setImmediate(obey, socket, command);
    }
  };

  socket.on("message", (data) => {
    // an empty text arrives as undefined, and would leave as such
    const message = data ?? "";
    const kind = typeof message === "string" ? "text" : "binary";
    report("message", { sid, kind, size: Buffer.byteLength(message) });
    if (kind === "binary" || !obey(socket, message)) socket.send(message);
  });
  socket.on("upgrading", (to) => happened("upgrading", transport(to)));
  socket.on("upgrade", (to) => happened("upgrade", transport(to)));
  socket.on("heartbeat", () => happened("heartbeat"));
  socket.on("close", (reason) => report("close", { sid, reason }));
  happened("connection", { ...transport(socket.transport), protocol });
});

/** Does what a message asks for; false if it is not a command. */
function obey(socket, message) {
  const [cmd, name, ...words] = message.split(":");
  if (cmd !== "cmd") return false;
  const numbers = words.map(Number);
  const later = (work) => setTimeout(work, numbers.shift());
  // Not from within a handler: the engine would cut the request that the message came in, and at an upgrade forget its buffer.
  const close = (discard) => setImmediate(() => socket.close(discard));
  const burst = (options, encode = (text) => text) => {
    const [count, size] = numbers;
    for (let i = 0; i < count; i++) socket.send(encode(burstMessage(i, size)), { ...options });
  };
  const commands = {
    close: () => close(),
    "close-discard": () => close(true),
    "close-after": () => later(close),
    "close-discard-after": () => later(() => close(true)),
    burst: () => burst(),
    "burst-binary": () => burst({}, Buffer.from),
    "burst-plain": () => burst({ compress: false }),
    "burst-after": () => later(() => burst()),
    "burst-close": () => {
      burst();
      close();
    },
    info: () => {
      const { transport, upgraded, readyState, protocol } = socket;
      socket.send(JSON.stringify({ transport: transport.name, upgraded, readyState, protocol }));
    },
  };
  const command = commands[name];
  if (command) command();
  return command !== undefined;
}

const tls = args.key && {
  key: readFileSync(args.key),
  cert: readFileSync(args.cert),
  ...(args["client-ca"] && { ca: readFileSync(args["client-ca"]), requestCert: true, rejectUnauthorized: true }),
};
const notFound = (_, response) => response.writeHead(404).end("not here");
const server = tls ? https.createServer(tls, notFound) : http.createServer(notFound);

engine.attach(server, { path: args.path });

// In front of the engine's own listeners, which read the body. That of a poll must be left alone: once read, the request counts
// as closed, which the engine takes for the end of the connection.
server.prependListener("request", (request, response) => {
  const { method, url, headers } = request;
  report("request", { method, url, headers });
  let size = 0;
  if (method === "POST") request.on("data", (chunk) => (size += Buffer.byteLength(chunk)));
  response.on("finish", () => report("response", { method, url, status: response.statusCode, size }));
});
if (engine.opts.transports.includes("websocket")) {
  // to have a listener is to say that upgrades are known
  server.prependListener("upgrade", ({ method, url, headers }) => report("request", { method, url, headers, upgrade: true }));
}
server.on("tlsClientError", (error) => report("tls_error", { message: error.message }));

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    engine.close();
    server.close(() => process.exit());
    server.closeAllConnections();
  });
}

server.listen(args.unix ? { path: args.unix } : { port: Number(args.port), host: "127.0.0.1" }, () => {
  report("listening", args.unix ? { path: args.unix } : { port: server.address().port });
});
