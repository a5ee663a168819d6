/** What is asked for: the same of all. */

/** A project of the orchestrator; nobody else minds. */
export const hostName = "bench.localhost"

export const get = `GET /hello?name=world HTTP/1.1\r\nHost: ${hostName}\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n`

/** With the key that RFC 6455 uses as its example. */
export const upgrade =
  `GET /socket HTTP/1.1\r\nHost: ${hostName}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
