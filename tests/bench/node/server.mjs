// The usual solution in Node: LISTEN, a Map of uid to sockets, ws.send. Each row becomes one buffer for
// all of its sockets, which is better than common practice.
import pg from "pg";
import { WebSocketServer } from "ws";

const sockets = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096 });

server.on("connection", (socket, request) => {
  const uid = new URL(request.url, "http://localhost").searchParams.get("uid");
  if (!sockets.has(uid)) sockets.set(uid, new Set());
  sockets.get(uid).add(socket);
  socket.alive = true;
  socket.on("pong", () => (socket.alive = true));
  socket.on("error", () => {});
  socket.on("close", () => {
    const others = sockets.get(uid);
    others.delete(socket);
    if (!others.size) sockets.delete(uid);
  });
});

// The heartbeat of the ws documentation, as often as pgcast's.
setInterval(() => {
  for (const socket of server.clients) {
    if (!socket.alive) {
      socket.terminate();
      continue;
    }
    socket.alive = false;
    socket.ping();
  }
}, 25000);

const client = new pg.Client({ connectionString: process.argv[2] });
client.on("notification", ({ payload }) => {
  const own = sockets.get(JSON.parse(payload).data.uid);
  if (!own) return;
  const bytes = Buffer.from(payload);
  for (const socket of own) socket.send(bytes, { binary: false });
});
await client.connect();
await client.query("listen tick");
console.log(server.address().port);
