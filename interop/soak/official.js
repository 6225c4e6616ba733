// Sessions of the official client that check their echoes, until the input ends: `official.js URL SESSIONS`.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Socket } from "engine.io-client";

const [url, sessions] = process.argv.slice(2);
const PERIOD = 1000;
const PATIENCE = 60_000;
const BURST = 4;
const MODES = [["polling"], ["websocket"], ["polling", "websocket"]];

const report = (event) => console.log(JSON.stringify(event));
const totals = { sessions: 0, echoes: 0, faults: 0 };
let stops = false;
process.stdin.on("data", () => {}).on("end", () => (stops = true));

const SIZES = [1, 2, 60, 125, 126, 1000, 4096, 20_000];
/** The message with this number: text and binary alternate. */
function sample(number) {
  const size = SIZES[number % SIZES.length];
  return number % 2 ? Buffer.alloc(size, number) : `${number} `.padEnd(size, "ä漢");
}

const equal = (a, b) => (typeof a === "string" ? a === b : Buffer.isBuffer(b) && Buffer.compare(a, b) === 0);

/** One session, from its handshake to its end. */
async function live(number, life) {
  const fault = (what) => {
    totals.faults++;
    report({ event: "fault", session: number, what });
  };
  const socket = new Socket(url, { transports: MODES[number % MODES.length] });
  socket.binaryType = "nodebuffer";
  const received = [];
  let wake = () => {};
  let ended;
  socket.on("message", (message) => {
    received.push(message);
    wake();
  });
  socket.on("close", (reason, details) => {
    ended = `${reason}: ${details?.message ?? details?.description ?? ""}`;
    wake();
  });
  socket.on("error", () => {});
  await Promise.race([once(socket, "open"), once(socket, "close")]).catch(() => {});
  if (ended !== undefined || socket.readyState !== "open") {
    fault(`not opened: ${ended}`);
    return sleep(PERIOD);
  }
  totals.sessions++;
  const exchanges = 10 + ((number * 7 + life * 13) % 50);
  for (let exchange = 0; exchange < exchanges && !stops; exchange++) {
    const numbers = Array.from({ length: BURST }, (_, i) => number + exchange * BURST + i);
    for (const index of numbers) socket.send(sample(index));
    const deadline = Date.now() + PATIENCE;
    for (const index of numbers) {
      while (!received.length && ended === undefined && Date.now() < deadline) {
        let timer;
        await new Promise((resolve) => {
          wake = resolve;
          timer = setTimeout(resolve, 5000);
        });
        clearTimeout(timer);
      }
      if (!received.length) {
        fault(`message ${index} did not come back on ${socket.transport?.name}: ${ended ?? "no end"}`);
        socket.close();
        return;
      }
      if (!equal(sample(index), received.shift())) return fault(`message ${index} came back as another`);
      totals.echoes++;
    }
    await sleep(PERIOD);
    if (ended !== undefined) return fault(`ended by itself: ${ended}`);
  }
  if (received.length) fault("one message too many");
  socket.close();
  if (ended === undefined) await once(socket, "close");
}

async function run(number) {
  await sleep((number % 64) * (PERIOD / 64));
  for (let life = 0; !stops; life++) await live(number, life);
}

await Promise.all(Array.from({ length: Number(sessions) }, (_, number) => run(number)));
report({ event: "soaked", ...totals });
process.exit(totals.faults ? 1 : 0);
