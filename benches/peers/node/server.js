// Node's engine.io: it echoes, and broadcasts if a message asks for it.
import { createServer } from "node:http";
import { Server } from "engine.io";

// An hour: no ping is due while something is measured.
const engine = new Server({ pingInterval: 3_600_000, maxHttpBufferSize: 1e6 });
engine.on("connection", (socket) => {
  socket.on("message", (data) => {
    const command = typeof data === "string" && /^bcast:(\d+):(\d+)$/.exec(data);
    if (!command) {
      socket.send(data);
      return;
    }
    const [count, text] = [Number(command[1]), "x".repeat(Number(command[2]))];
    for (let i = 0; i < count; i++) {
      for (const sid in engine.clients) engine.clients[sid].send(text);
    }
  });
});

const http = createServer();
// Connections that wait for their turn are kept.
http.keepAliveTimeout = 3_600_000;
http.requestTimeout = 0;
engine.attach(http);
http.listen(0, "127.0.0.1", () => console.log(`listening on port ${http.address().port}`));
