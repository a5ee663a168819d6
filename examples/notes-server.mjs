// A server that knows nothing of Valet: notes in SQLite, told over HTTP and a WebSocket.
//   valet orchestrator -- node notes-server.mjs
import { createServer } from "node:http"
import { DatabaseSync } from "node:sqlite"
import { WebSocketServer } from "ws"

const database = new DatabaseSync(process.env.DATABASE_PATH)
database.exec(
  "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS notes (at INTEGER PRIMARY KEY, text TEXT NOT NULL)"
)
const insert = database.prepare("INSERT INTO notes (text) VALUES (?)")
const notes = () =>
  JSON.stringify(
    database
      .prepare("SELECT text FROM notes ORDER BY at")
      .all()
      .map(({ text }) => text)
  )

const server = createServer((request, response) => response.end(notes()))
const sockets = new WebSocketServer({ server })
sockets.on("connection", (socket) => {
  socket.send(notes())
  socket.on("message", (data) => {
    insert.run(data.toString())
    socket.send(notes())
  })
})
server.listen(process.env.PORT, "127.0.0.1")
