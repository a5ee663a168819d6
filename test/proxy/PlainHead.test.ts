import { assert, describe, it } from "@effect/vitest"
import * as PlainHead from "../../src/proxy/PlainHead.ts"

const head = (...lines: ReadonlyArray<string>) => lines.join("\r\n")
const ok = "HTTP/1.1 200 OK"

describe("a plain head", () => {
  it("is read as it stands", () => {
    assert.deepStrictEqual(
      PlainHead.parse(head(ok, "Content-Type: text/plain", "content-length:  5 \t", "X-Empty:", "X-Ü: ä"), "GET"),
      undefined
    )
    assert.deepStrictEqual(
      PlainHead.parse(head(ok, "Content-Type: text/plain", "content-length:  5 \t", "X-Empty:", "X-U: \xe4"), "GET"),
      {
        statusCode: 200,
        statusMessage: "OK",
        rawHeaders: ["Content-Type", "text/plain", "content-length", "5", "X-Empty", "", "X-U", "\xe4"],
        length: 5,
        keptMs: Number.POSITIVE_INFINITY
      }
    )
  })

  it("may have no reason, and tell how long its connection is kept", () => {
    const read = PlainHead.parse(head("HTTP/1.1 404 ", "Keep-Alive: timeout=5", "Content-Length: 0"), "GET")
    assert.strictEqual(read?.statusMessage, "")
    assert.strictEqual(read?.keptMs, 4_000)
  })

  it("has no body after HEAD, 204 and 304", () => {
    assert.strictEqual(PlainHead.parse(head(ok, "Content-Length: 7"), "HEAD")?.length, 0)
    assert.strictEqual(PlainHead.parse(head("HTTP/1.1 304 Not Modified", "Content-Length: 7"), "GET")?.length, 0)
    assert.strictEqual(PlainHead.parse("HTTP/1.1 204 No Content", "GET")?.length, 0)
    assert.isUndefined(PlainHead.parse(head("HTTP/1.1 204 No Content", "Content-Length: 7"), "GET"))
  })

  const length = "Content-Length: 5"
  it.each([
    ["an interim answer", head("HTTP/1.1 100 Continue", length)],
    ["a switch of protocols", head("HTTP/1.1 101 Switching Protocols", length)],
    ["another version", head("HTTP/1.0 200 OK", length)],
    ["a status of four digits", head("HTTP/1.1 2000 OK", length)],
    ["no space behind the status", head("HTTP/1.1 200", length)],
    ["two spaces before the status", head("HTTP/1.1  200 OK", length)],
    ["an empty line before it", head("", ok, length)],
    ["no length", ok],
    ["two lengths", head(ok, length, length)],
    ["a list of lengths", head(ok, "Content-Length: 5, 5")],
    ["a signed length", head(ok, "Content-Length: +5")],
    ["a length in hexadecimal", head(ok, "Content-Length: 0x5")],
    ["an empty length", head(ok, "Content-Length:")],
    ["a length of 16 digits", head(ok, "Content-Length: 0000000000000005")],
    ["chunks", head(ok, "Transfer-Encoding: chunked")],
    ["chunks and a length", head(ok, "transfer-ENCODING: identity", length)],
    ["a connection that ends", head(ok, "Connection: close", length)],
    ["headers of the connection", head(ok, "Connection: keep-alive, x-secret", "x-secret: 1", length)],
    ["an upgrade", head(ok, "Upgrade: h2c", length)],
    ["trailers", head(ok, "Trailer: x", length)],
    ["a space before the colon", head(ok, "Content-Length : 5", length)],
    ["a folded line", head(ok, length, "X: 1", " Content-Length: 7")],
    ["a line without a colon", head(ok, length, "hello")],
    ["a name without a name", head(ok, length, ": 1")],
    ["a bare LF", head(ok, `X: 1\nTransfer-Encoding: chunked`, length)],
    ["a bare CR", head(ok, `X: 1\rTransfer-Encoding: chunked`, length)],
    ["a NUL", head(ok, "X: 1\0", length)],
    ["a control character in the reason", head("HTTP/1.1 200 O\x01K", length)]
  ])("is not: %s", (_, text) => assert.isUndefined(PlainHead.parse(text, "GET")))

  it("is worth waiting for while it may become one", () => {
    for (const begun of ["H", "HTTP/1", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\nX"]) {
      assert.isTrue(PlainHead.mayBegin(Buffer.from(begun)), begun)
    }
    for (const begun of ["\r\n", "h", "HTTP/2", "HTTP/1.0 200"]) {
      assert.isFalse(PlainHead.mayBegin(Buffer.from(begun)), begun)
    }
  })
})

describe("a switch of protocols", () => {
  const switching = "HTTP/1.1 101 Switching Protocols"
  const both = ["Upgrade: websocket", "Connection: Upgrade"]

  it("is read as it stands", () => {
    assert.deepStrictEqual(PlainHead.parseSwitch(head(switching, ...both, "Sec-WebSocket-Accept: x=")), {
      statusCode: 101,
      statusMessage: "Switching Protocols",
      rawHeaders: ["Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Accept", "x="]
    })
  })

  it.each([
    ["a refusal", head("HTTP/1.1 200 OK", ...both)],
    ["an interim answer", head("HTTP/1.1 100 Continue", ...both)],
    ["another version", head("HTTP/1.0 101 Switching Protocols", ...both)],
    ["no protocol", head(switching, "Connection: Upgrade")],
    ["no connection", head(switching, "Upgrade: websocket")],
    ["a length", head(switching, ...both, "Content-Length: 5")],
    ["chunks", head(switching, ...both, "Transfer-Encoding: chunked")],
    ["a bare LF", head(switching, ...both, "X: 1\nY: 2")]
  ])("is not: %s", (_, text) => assert.isUndefined(PlainHead.parseSwitch(text)))
})
