// Times upgrades with the official client, from its first request to its event `upgrade`: `node upgrade.js COUNT PORT...`.
// One client after the other, and the servers in turn. Prints a list of milliseconds for each port, as JSON.
import { Socket } from "engine.io-client";

const upgrade = (port) =>
  new Promise((resolve, reject) => {
    const began = process.hrtime.bigint();
    const socket = new Socket(`http://127.0.0.1:${port}`);
    socket.on("upgrade", () => {
      const took = Number(process.hrtime.bigint() - began) / 1e6;
      socket.on("close", () => resolve(took));
      // within the event, the client would wait for another one
      setImmediate(() => socket.close());
    });
    socket.on("error", reject);
    socket.on("upgradeError", reject);
  });

const [count, ...ports] = process.argv.slice(2).map(Number);
const times = ports.map(() => []);
// Neither the client nor the servers are cold when it counts.
const warm = 3;
for (let i = -warm; i < count; i++) {
  for (const [index, port] of ports.entries()) {
    const took = await upgrade(port);
    if (i >= 0) times[index].push(took);
  }
}
console.log(JSON.stringify(times));
