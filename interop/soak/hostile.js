// Clients that are slow, silent or wrong, or leave in the middle of something. They check nothing; the server has to bear them.

import { randomBytes, randomInt } from "node:crypto";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const PATH = "/engine.io/?EIO=4&transport=";
const HANDSHAKE = [
  `GET ${PATH}websocket HTTP/1.1`,
  "host: localhost",
  "connection: upgrade",
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
  "\r\n",
].join("\r\n");

const get = (sid) => `GET ${PATH}polling&sid=${sid} HTTP/1.1\r\nhost: localhost\r\n\r\n`;
const post = (sid, length) =>
  `POST ${PATH}polling&sid=${sid} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`;

/** A masked frame; the mask is zero. */
function frame(first, payload) {
  const data = Buffer.from(payload);
  const length =
    data.length < 126
      ? [0x80 | data.length]
      : data.length < 65536
        ? [0xfe, data.length >> 8, data.length & 255]
        : [0xff, 0, 0, 0, 0, data.length >>> 24, (data.length >> 16) & 255, (data.length >> 8) & 255, data.length & 255];
  return Buffer.concat([Buffer.from([first, ...length, 0, 0, 0, 0]), data]);
}

/** Starts this many clients, which come back as others when they have left. */
export function startHostile(port, clients) {
  const counts = {};
  const sockets = new Set();
  let stops = false;

  function connect() {
    const socket = net.connect(port, "127.0.0.1");
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    return socket;
  }

  /** Opens a session by polling. Its connection is kept. */
  async function open() {
    const socket = connect();
    socket.write(`GET ${PATH}polling HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    let text = "";
    while (!text.includes("}")) {
      const [data] = await Promise.race([
        new Promise((resolve) => socket.once("data", (data) => resolve([data]))),
        new Promise((resolve) => socket.once("close", () => resolve([null]))),
        sleep(30_000, [null], { ref: false }),
      ]);
      if (data === null) throw new Error("no handshake");
      text += data;
    }
    return { socket, sid: /"sid":"([^"]+)"/.exec(text)[1] };
  }

  /** Returns whether the time has passed; otherwise the test ends. */
  async function rest(seconds) {
    for (let tenths = 0; tenths < seconds * 10 && !stops; tenths++) await sleep(100);
    return !stops;
  }

  const big = "4".padEnd(200_000, "x");
  const kinds = {
    /** Asks for much, and reads nothing. */
    "readers of nothing": async () => {
      const { socket, sid } = await open();
      socket.pause();
      socket.write(post(sid, big.length) + big + get(sid));
      const other = connect();
      for (let count = 0; count < 10 && (await rest(1)); count++) other.write(post(sid, big.length) + big);
      await rest(10);
      other.destroy();
      socket.destroy();
    },
    /** Reads a little now and then. */
    "slow readers": async () => {
      const { socket, sid } = await open();
      socket.pause();
      socket.write(post(sid, big.length) + big + get(sid));
      for (let count = 0; count < 150 && (await rest(0.1)); count++) socket.read(1000);
      socket.destroy();
    },
    "websockets that read nothing": async () => {
      const socket = connect();
      socket.pause();
      socket.write(HANDSHAKE);
      await rest(0.5);
      for (let count = 0; count < 10 && (await rest(1)); count++) socket.write(frame(0x81, big));
      await rest(10);
      socket.destroy();
    },
    /** Sends a body of 10 kB in ten thousand pieces, or does not finish it. */
    "slow posters": async () => {
      const { socket, sid } = await open();
      socket.write(post(sid, 10_000));
      for (let count = 0; count < 200 && (await rest(0.1)); count++) socket.write("4");
      socket.destroy();
    },
    "slow heads": async () => {
      const socket = connect();
      const head = `GET ${PATH}polling HTTP/1.1\r\nhost: localhost\r\nx: `;
      for (let count = 0; count < 150 && (await rest(0.1)); count++) socket.write(head[count] ?? "x");
      socket.destroy();
    },
    /** Opens sessions, and is never heard of again. */
    "silent ones": async () => {
      const { socket } = await open();
      for (let count = 0; count < 5; count++) socket.write(`GET ${PATH}polling HTTP/1.1\r\nhost: localhost\r\n\r\n`);
      await rest(15);
      socket.destroy();
    },
    /** Polls and posts, and never sends a pong. */
    "clients without pongs": async () => {
      const { socket, sid } = await open();
      for (let count = 0; count < 15 && (await rest(1)); count++) socket.write(post(sid, 2) + "4x" + get(sid));
      socket.destroy();
    },
    "broken packets": async () => {
      const { socket, sid } = await open();
      const body = randomBytes(randomInt(1, 2000));
      socket.write(Buffer.concat([Buffer.from(post(sid, body.length)), body]));
      await rest(1);
      socket.destroy();
    },
    "broken frames": async () => {
      const socket = connect();
      socket.write(HANDSHAKE);
      await rest(0.2);
      socket.write(randomBytes(randomInt(1, 2000)));
      await rest(2);
      socket.destroy();
    },
    "random bytes": async () => {
      const socket = connect();
      socket.write(randomBytes(randomInt(1, 20_000)));
      await rest(1);
      socket.destroy();
    },
    /** Leaves while its poll is held, its body is under way, or its probe is answered; with a reset or in order. */
    "leavers": async () => {
      const { socket, sid } = await open();
      const probe = connect();
      probe.write(HANDSHAKE.replace("websocket HTTP", `websocket&sid=${sid} HTTP`));
      socket.write([get(sid), post(sid, 100), post(sid, 3) + "4hi"][randomInt(3)]);
      await rest(0.3);
      if (randomInt(2)) probe.write(frame(0x81, "2probe"));
      await rest(randomInt(10) / 10);
      if (randomInt(2)) probe.write(frame(0x81, "5"));
      for (const leaving of [socket, probe]) randomInt(2) ? leaving.resetAndDestroy() : leaving.end();
      await rest(1);
      socket.destroy();
      probe.destroy();
    },
    /** Ends its side of the connection behind its request. */
    "half-closers": async () => {
      const { socket, sid } = await open();
      socket.end(post(sid, 3) + "4hi" + get(sid));
      await rest(2);
      socket.destroy();
    },
    "bodies for nobody": async () => {
      const socket = connect();
      socket.write(post("unknown", 900_000) + "x".repeat(900_000));
      await rest(2);
      socket.destroy();
    },
  };

  const names = Object.keys(kinds);
  const runs = Array.from({ length: clients }, async (_, number) => {
    await sleep(number * 20);
    for (let life = 0; !stops; life++) {
      const name = names[(number + life) % names.length];
      counts[name] = (counts[name] ?? 0) + 1;
      // A server that stands still, or has no room, is no fault here.
      await kinds[name]().catch(() => sleep(500));
    }
  });

  return {
    /** Closes all connections. Returns how many clients of each kind there were. */
    stop() {
      stops = true;
      sockets.forEach((socket) => socket.destroy());
      runs.forEach((run) => run.catch(() => {}));
      return counts;
    },
  };
}
