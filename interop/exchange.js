// What is exchanged with the echo server, and the loop that does it. Free of anything specific to Node.js: the very same
// code runs in the browser page.

const ENCODER = new TextEncoder();

const SIZES = [0, 1, 2, 125, 126, 127, 1000, 1023, 1024, 4096, 16383, 65535, 65536];
const BIG = 500_000;
const COUNT = 320;

// Texts that look like packets, like JSON, or that are awkward to carry.
const TRICKY = [
  "4", "b", "bAQID", "2probe", "3probe", "6", "0{}", "null", "1", '{"a":[1,"\\n"]}', "\n", "\r\n\n", "\\n", "\\\\n", "a\\\nb",
  "\u0000", "\u007f\u0080", "\u2028\u2029", "\ufeff", "é", "e\u0301", "漢字", "😀👩‍👩‍👧", "\u{10ffff}", "</script>", "a+b%20c&d=e",
  "пойду спать всем спокойной ночи", "cmd:unknown", " ", "\t",
];

/** A text of exactly `size` bytes in UTF-8: plain letters, or all lengths of UTF-8 sequences. */
function text(size, seed, unicode) {
  const head = `#${seed} `;
  if (size <= head.length) return head.slice(0, size);
  const rest = size - head.length;
  return unicode ? head + "aé漢😀".repeat(Math.floor(rest / 10)) + "z".repeat(rest % 10) : head + "x".repeat(rest);
}

function bytes(size, seed) {
  return Uint8Array.from({ length: size }, (_, i) => (seed + i * 7 + (i >> 8)) & 255);
}

/** The fixed list of messages, alternating between text and binary. Large: made where it is needed. */
function corpus() {
  const list = [];
  for (let i = 0; i < COUNT; i++) {
    const size = i % 80 === 11 || i % 80 === 52 ? BIG : SIZES[(i >> 1) % SIZES.length];
    list.push(i % 2 ? text(size, i, i % 4 === 1) : bytes(size, i));
    if (i % 10 === 0) list.push(TRICKY[(i / 10) % TRICKY.length]);
  }
  return list;
}

/** Message `i` of a burst. */
export function burstMessage(i, size) {
  return `${i}:`.padEnd(size, "x").slice(0, size);
}

/** What the client delivers, made uniform: a string, or a Uint8Array. An empty text arrives as undefined. */
export function uniform(data) {
  if (data === undefined) return "";
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

export function same(a, b) {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

const kind = (data) => (typeof data === "string" ? "text" : "binary");
const size = (data) => (typeof data === "string" ? ENCODER.encode(data).length : data.length);
const show = (data) => `${kind(data)} of ${size(data)} bytes ${JSON.stringify(String(data).slice(0, 30))}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Messages that the server sends unasked, on a timer, are told from the echoes by this size, used by nothing else. They come in
// bursts, each from a task of its own: the messages of one burst are in order, but a burst that waits for room may be overtaken.
const UNASKED_SIZE = 333;
const UNASKED_AFTER = [1, 3, 6, 12, 25, 50, 100, 200, 400, 800];
const UNASKED_COUNT = 20;

// Messages are sent in waves, and a wave is no larger than this when encoded. The client does divide what it queued by the
// limit which the server announces, but it takes binary messages for smaller than they are, and stops counting at an empty one.
const WAVE_BYTES = 900_000;
const WAVE_COUNT = 8;
const WAVE_PAUSE = 20;
const HEARTBEATS = 3;

/**
 * Exchanges the whole corpus, bursts, and messages the server sends unasked, over a socket that was just created; goes on
 * until three heartbeats were seen and, if one is expected, the upgrade. Everything received must be what was expected, in
 * order. Resolves to a summary, leaving the socket open and idle. A server that obeys no `commands` echoes the bursts, and
 * sends nothing unasked.
 */
export function exchange(socket, { upgrade = false, commands = true } = {}) {
  const summary = {
    sid: undefined,
    transport: undefined,
    heartbeats: 0,
    upgradeMs: undefined,
    sent: { before: 0, during: 0, after: 0 },
    received: { before: 0, during: 0, after: 0 },
    // kind and size of every message sent, to be compared with the server's record
    record: [],
  };
  const messages = corpus();
  const unaskedAfter = commands ? UNASKED_AFTER : [];
  const expected = [];
  // of each burst that has begun, the number of its next message
  const unasked = [];
  let phase = "before";
  let finished = false;

  const transmit = (data) => {
    summary.sent[phase]++;
    summary.record.push(`${kind(data)} ${size(data)}`);
    socket.send(data);
  };
  const echo = (data) => {
    expected.push(data);
    transmit(data);
  };
  const burst = (count, size, binary = false) => {
    for (let i = 0; i < count; i++) {
      const message = binary ? ENCODER.encode(burstMessage(i, size)) : burstMessage(i, size);
      if (commands) expected.push(message);
      else echo(message);
    }
    if (commands) transmit(`cmd:burst${binary ? "-binary" : ""}:${count}:${size}`);
  };
  const around = (when) => {
    echo(`text ${when}`);
    echo(ENCODER.encode(`bytes ${when}`));
    burst(10, 100);
    burst(10, 1500, true);
    echo(`more ${when}`);
  };

  return new Promise((resolve, reject) => {
    const fail = (message) => reject(new Error(message));
    const heardAll = () => unasked.length === unaskedAfter.length && unasked.every((next) => next === UNASKED_COUNT);
    const complete = () => expected.length === 0 && heardAll();
    const settle = () => {
      if (finished && complete()) resolve(summary);
    };

    socket.on("message", (data) => {
      summary.received[phase]++;
      const got = uniform(data);
      if (typeof got === "string" && got.length === UNASKED_SIZE && /^\d+:x+$/.test(got)) {
        if (got.startsWith("0:")) unasked.push(0);
        const burst = unasked.findIndex((next) => next < UNASKED_COUNT && got === burstMessage(next, UNASKED_SIZE));
        if (burst < 0) return fail(`unasked: got ${show(got)}, expected number ${unasked.join(" or ")}`);
        unasked[burst]++;
      } else {
        if (expected.length === 0) return fail(`got ${show(got)}, expected nothing`);
        const want = expected.shift();
        if (!same(got, want)) fail(`got ${show(got)}, expected ${show(want)}`);
      }
      settle();
    });
    socket.on("ping", () => summary.heartbeats++);
    socket.on("close", (reason) => fail(`closed: ${reason}, with ${expected.length} messages to come`));

    let openedAt;
    socket.on("upgrading", () => {
      phase = "during";
      around("while upgrading");
    });
    socket.on("upgrade", () => {
      phase = "after";
      summary.upgradeMs = performance.now() - openedAt;
      around("after the upgrade");
    });

    socket.on("open", async () => {
      openedAt = performance.now();
      summary.sid = socket.id;
      for (const ms of unaskedAfter) transmit(`cmd:burst-after:${ms}:${UNASKED_COUNT}:${UNASKED_SIZE}`);
      around("at the opening");
      const enough = () => summary.heartbeats >= HEARTBEATS && (!upgrade || phase === "after");
      for (let i = 0; socket.readyState === "open" && (i < messages.length || !enough()); ) {
        // all of a wave is sent in one go, then the client is left to write it
        let room = WAVE_BYTES;
        for (let n = 0; n < WAVE_COUNT; n++, i++) {
          const next = messages[i % messages.length];
          room -= size(next) * (typeof next === "string" ? 1 : 4 / 3) + 4;
          if (room < 0) break;
          echo(next);
        }
        if (socket.writeBuffer.length) await new Promise((drained) => socket.once("drain", drained));
        await sleep(WAVE_PAUSE);
      }
      burst(100, 10);
      summary.transport = socket.transport.name;
      finished = true;
      settle();
    });
  });
}

/**
 * Fifty clients at once, each of which says forty things while it changes its transport, and hears them again. `connect` makes a
 * client. Resolves to the ids of their sessions, which they have closed then.
 */
export function fiftyClients(connect) {
  return Promise.all(
    Array.from({ length: 50 }, async (_, n) => {
      const socket = connect();
      const upgraded = new Promise((resolve) => socket.once("upgrade", resolve));
      const wanted = Array.from({ length: 40 }, (_, i) => (i % 2 ? `client ${n} text ${i}` : new Uint8Array(i * 50).fill(n)));
      const got = [];
      const complete = new Promise((resolve) => {
        socket.on("message", (data) => got.push(uniform(data)) === wanted.length && resolve());
      });
      await new Promise((resolve) => socket.once("open", resolve));
      for (const data of wanted) {
        socket.send(data);
        await sleep(5);
      }
      await Promise.all([complete, upgraded]);
      wanted.forEach((data, i) => {
        if (!same(got[i], data)) throw new Error(`client ${n} heard ${show(got[i])} for ${show(data)}`);
      });
      const { id } = socket;
      socket.close();
      return id;
    }),
  );
}
