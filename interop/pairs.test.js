// Every client of ours with every server of ours, whatever they run on: 500 messages there and back, in every mode and through
// the upgrade. They speak one protocol by one code path, so all that could differ is how bytes travel.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { startServer } from "./echo.js";
import { MODES, selfTest, test } from "./connect.js";

const { PROGRAMS_DIR } = process.env;
// What an earlier run has left there may be old.
const RUNTIMES = process.env.RUNTIMES?.split(" ") ?? readdirSync(PROGRAMS_DIR);
assert.ok(RUNTIMES.length > 0);

for (const server of RUNTIMES) {
  for (const client of RUNTIMES) {
    for (const [mode, { args, from, to }] of Object.entries(MODES)) {
      test(`a client on ${client}, a server on ${server}: ${mode}`, async (t) => {
        const echo = await startServer(t, join(PROGRAMS_DIR, server, "echo"));
        const connect = await selfTest(t, echo, args, { upgraded: from !== to, program: join(PROGRAMS_DIR, client, "connect") });
        const [{ sid, transport }] = echo.events("connection");
        assert.equal(transport, from);
        assert.equal(connect.events("open")[0].sid, sid);
        assert.equal(echo.events("message", sid).length, 500);
        assert.equal(await echo.closed(sid), "transport close");
      });
    }
  }
}
