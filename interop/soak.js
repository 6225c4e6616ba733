// A server under 500 clients of all kinds, for some minutes: `node soak.js SECONDS`, by `run soak`.
//
// Healthy clients are the official client in Node, python-engineio and our own. Each sends messages of all kinds and checks the
// echoes: nothing may be lost, doubled or out of order, and no session may end that was not closed by its client. Meanwhile:
//
// * Hostile clients read slowly or not at all, post slowly, say nothing, break the protocol, and leave in the middle of requests.
// * A process with healthy clients is killed, again and again.
// * The server stands still for a while, less than the timeout of a heartbeat.
// * At the beginning, the whole host stands still for longer than a heartbeat: the server and our clients. The other clients
//   start after that, since they read their clocks before their sockets when they continue.
//
// At the end, the memory of the server must not have grown since the first minute, and every descriptor must be closed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startHostile } from "./soak/hostile.js";

const SECONDS = Number(process.argv[2] ?? 300);
assert.ok(SECONDS >= 60, "usage: soak.js SECONDS, at least 60");

// Milliseconds, of the server. A host under load must not be slow enough for a ping timeout.
const PING_INTERVAL = 3_000;
const PING_TIMEOUT = 6_000;
const STANDSTILL = 0.6 * PING_TIMEOUT;
const LONG_STANDSTILL = 1.5 * (PING_INTERVAL + PING_TIMEOUT);
const CLIENTS = { ours: 200, official: 100, victims: 50, python: 20, hostile: 130 };

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const { ECHO_BIN = file("../target/release/examples/echo"), CONNECT_BIN = file("../target/release/examples/connect") } = process.env;

const began = Date.now();
const say = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`);

const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/** A program that prints lines of JSON. A line `fault` is a fault of the server. */
class Program {
  faults = [];
  #last = {};
  #waiting = new Map();

  constructor(name, command, ...args) {
    this.name = name;
    this.child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    children.add(this.child);
    this.child.stdin.on("error", () => {});
    this.ended = once(this.child, "close").then(([code, signal]) => {
      children.delete(this.child);
      return code ?? signal;
    });
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      if (!line.startsWith("{")) return;
      const event = JSON.parse(line);
      if (event.event === "fault") {
        this.faults.push(event);
        if (this.faults.length <= 5) say(`FAULT ${name}: ${line}`);
      }
      this.#last[event.event] = event;
      this.#waiting.get(event.event)?.(event);
    });
  }

  /** The last event of this name, past or future. */
  event(name) {
    return this.#last[name] ?? new Promise((resolve) => this.#waiting.set(name, resolve));
  }

  freeze = () => this.child.kill("SIGSTOP");
  thaw = () => this.child.kill("SIGCONT");

  /** Ends its input, so that it closes its sessions, and waits for its end. */
  async finish() {
    this.child.stdin.end();
    const code = await Promise.race([this.ended, sleep(90_000, "no end within 90 s", { ref: false })]);
    const report = this.#last.soaked ?? {};
    say(`${this.name}: ${report.sessions} sessions, ${report.echoes} echoes, ${report.faults} faults, exit ${code}`);
    assert.equal(code, 0, `${this.name} ends without a fault`);
    assert.ok(report.echoes > 0, `${this.name} has checked echoes`);
    return report;
  }
}

const resident = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
const descriptors = (pid) => readdirSync(`/proc/${pid}/fd`).length;
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

// ---- the server ----

const server = new Program("server", ECHO_BIN, "--quiet", "--ping-interval", PING_INTERVAL, "--ping-timeout", PING_TIMEOUT);
let stopping = false;
server.ended.then((code) => {
  if (!stopping) {
    say(`FAULT: the server has ended, ${code}`);
    process.exit(1);
  }
});
const { port } = await server.event("listening");
const url = `http://127.0.0.1:${port}`;
const { pid } = server.child;
const idle = { memory: resident(pid), descriptors: descriptors(pid) };
say(`the server listens on port ${port}: ${idle.memory.toFixed(1)} MiB, ${idle.descriptors} descriptors`);

const memory = [];
const sampling = setInterval(() => memory.push(resident(pid)), 1000);

// ---- the clients ----

const startOurs = () => new Program("ours", CONNECT_BIN, url, "--soak", CLIENTS.ours, "--period", 1000);
const startOfficial = (name, count) => new Program(name, process.execPath, file("soak/official.js"), url, count);
const startPython = () => new Program("python", file(".venv/bin/python"), file("soak/python.py"), url, CLIENTS.python);

const ours = startOurs();
const hostile = startHostile(port, CLIENTS.hostile);

async function kill(program) {
  program.child.kill("SIGKILL");
  await program.ended;
  assert.equal(program.faults.length, 0, `faults of ${program.name}`);
}

async function standStill(programs, duration) {
  programs.forEach((program) => program.freeze());
  await sleep(duration);
  // The server is last: what its clients have sent meanwhile waits for it.
  programs.toReversed().forEach((program) => program.thaw());
}

// ---- the time of the test, in tenths ----

const tenth = (SECONDS * 1000) / 10;
const until = (tenths) => sleep(Math.max(0, began + tenths * tenth - Date.now()));

// First the greatest load on memory: what was sent meanwhile arrives at once. Later nothing must take more.
await sleep(5000);
say(`the host stands still for ${LONG_STANDSTILL} ms`);
await standStill([server, ours], LONG_STANDSTILL);
await sleep(2 * PING_TIMEOUT);
assert.equal(ours.faults.length, 0, "our clients survive a standstill of the host");

const others = [startOfficial("official", CLIENTS.official), startPython()];
let victims = startOfficial("victims", CLIENTS.victims);
for (let tenths = 2; tenths < 10; tenths++) {
  // Two in a row would be longer than the timeout.
  if (Date.now() > began + tenths * tenth) continue;
  await until(tenths);
  say(`${resident(pid).toFixed(1)} MiB, ${descriptors(pid)} descriptors; the server stands still for ${STANDSTILL} ms`);
  await standStill([server], STANDSTILL);
  await until(tenths + 0.5);
  say("a process with clients is killed");
  await kill(victims);
  victims = startOfficial("victims", CLIENTS.victims);
}
await until(10);

// ---- the end ----

clearInterval(sampling);
for (const program of [ours, victims, ...others]) await program.finish();
const counts = hostile.stop();
say(`hostile clients: ${Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(", ")}`);

const deadline = Date.now() + 60_000;
while (descriptors(pid) > idle.descriptors && Date.now() < deadline) await sleep(100);
say(`${descriptors(pid)} descriptors at the end, ${idle.descriptors} at the beginning`);
assert.ok(descriptors(pid) <= idle.descriptors, "every descriptor is closed");

// The second fifth begins after the first minute, if the test takes 5 minutes.
const fifth = Math.floor(memory.length / 5);
const early = median(memory.slice(fifth, 2 * fifth));
const late = median(memory.slice(-fifth));
say(`memory: ${early.toFixed(1)} MiB early, ${late.toFixed(1)} MiB late, ${resident(pid).toFixed(1)} MiB at the end`);
assert.ok(late < 1.2 * early + 4, "the memory of the server does not grow");

stopping = true;
server.child.kill("SIGTERM");
assert.equal(await server.ended, 0, "the server ends in order");
say("passed");
