import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { eventually } from "../../support/eventually.ts"
import { answersIn } from "../support/Answers.ts"
import { attack, get, hidden, post, type Names } from "../support/Attack.ts"
import { recordingChild, type Seen } from "../support/Child.ts"
import { upgradeRequest } from "../support/Frames.ts"
import { hostOn, pathOn, Subject } from "../support/Subject.ts"
import { suites } from "../support/Suite.ts"
import { dial } from "../support/Wire.ts"

const suite = suites()

const valuesOf = ({ rawHeaders }: Seen, name: string) =>
  rawHeaders.flatMap((value, at) => (at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name ? [value] : []))

/** The one request that arrived. */
const only = (child: { readonly seen: ReadonlyArray<Seen> }) =>
  Effect.gen(function* () {
    yield* eventually(Effect.sync(() => child.seen.length > 0))
    const [first, ...more] = child.seen
    assert.deepStrictEqual(more, [])
    return first ?? (yield* Effect.die(new Error("none")))
  })

const hex = (text: string) => text.length.toString(16)

/** Framed oddly, but in one way only: the body is the hidden request, and stays a body. */
const odd: Readonly<Record<string, (names: Names) => string>> = {
  "Transfer-Encoding in capitals behind a tab": (names) =>
    post(names, "TRANSFER-ENCODING:\tCHUNKED", `${hex(hidden(names))}\r\n${hidden(names)}\r\n0\r\n\r\n`),
  "Transfer-Encoding with a blank behind it": (names) =>
    post(names, "Transfer-Encoding: chunked ", `${hex(hidden(names))}\r\n${hidden(names)}\r\n0\r\n\r\n`),
  "a chunk's extension": (names) =>
    post(names, "Transfer-Encoding: chunked", `${hex(hidden(names))};a=b;c="d"\r\n${hidden(names)}\r\n0;e\r\n\r\n`),
  "a chunk size with zeros before it": (names) =>
    post(names, "Transfer-Encoding: chunked", `0000${hex(hidden(names))}\r\n${hidden(names)}\r\n000\r\n\r\n`),
  "one byte a chunk": (names) =>
    post(
      names,
      "Transfer-Encoding: chunked",
      `${[...hidden(names)].map((byte) => `1\r\n${byte}\r\n`).join("")}0\r\n\r\n`
    ),
  "a Content-Length with zeros before it and blanks around": (names) =>
    post(names, `Content-Length: \t000${hidden(names).length} `, hidden(names)),
  "Connection: content-length": (names) =>
    post(names, `Connection: keep-alive, content-length\r\nContent-Length: ${hidden(names).length}`, hidden(names)),
  "Connection: transfer-encoding": (names) =>
    post(
      names,
      "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
      `${hex(hidden(names))}\r\n${hidden(names)}\r\n0\r\n\r\n`
    ),
  "Connection: host": (names) =>
    post(names, `Connection: host\r\nContent-Length: ${hidden(names).length}`, hidden(names)),
  "a GET with a body": (names) =>
    post(names, `Content-Length: ${hidden(names).length}`, hidden(names)).replace("POST", "GET"),
  "a GET with a chunked body": (names) =>
    post(names, "Transfer-Encoding: chunked", `${hex(hidden(names))}\r\n${hidden(names)}\r\n0\r\n\r\n`).replace(
      "POST",
      "GET"
    ),
  "a HEAD with a body": (names) =>
    post(names, `Content-Length: ${hidden(names).length}`, hidden(names)).replace("POST", "HEAD"),
  "a DELETE with a chunked body": (names) =>
    post(names, "Transfer-Encoding: chunked", `${hex(hidden(names))}\r\n${hidden(names)}\r\n0\r\n\r\n`).replace(
      "POST",
      "DELETE"
    ),
  "an h2c upgrade with a body": (names) =>
    post(
      names,
      `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: ${hidden(names).length}`,
      hidden(names)
    )
}

suite("what is forwarded is framed in one way", (it, rows) => {
  for (const [name, bytes] of rows(odd)) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const { child, client, names } = yield* attack(bytes)
        const seen = yield* only(child)
        assert.strictEqual(seen.body, hidden(names))
        assert.strictEqual(seen.url, "/")
        assert.deepStrictEqual(valuesOf(seen, "host"), [names.host])
        const lengths = valuesOf(seen, "content-length")
        const encodings = valuesOf(seen, "transfer-encoding")
        assert.strictEqual(lengths.length + encodings.length, 1)
        assert.isTrue(encodings.every((value) => value === "chunked"))
        assert.isTrue(lengths.every((value) => Number(value) === hidden(names).length))
        assert.deepStrictEqual(valuesOf(seen, "upgrade"), [])
        yield* client.until((text) => text.includes("200 OK"))
        // Its connection is in step: what follows is a request of its own.
        client.send(get(names, "X-Next: 1"))
        yield* eventually(Effect.sync(() => child.seen.length === 2))
        assert.strictEqual(child.seen[1]?.headers["x-next"], "1")
      })
    )
  }

  it.effect("h2c is no upgrade at the child, and what is behind it no tunnel", () =>
    Effect.gen(function* () {
      const { child, client } = yield* attack((names) =>
        get(names, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__")
      )
      const seen = yield* only(child)
      assert.deepStrictEqual(valuesOf(seen, "upgrade"), [])
      assert.deepStrictEqual(valuesOf(seen, "http2-settings"), [])
      assert.notMatch(seen.headers.connection ?? "", /upgrade/i)
      yield* client.until((text) => text.includes("seen 1"))
    })
  )

  it.effect("a framing behind more headers than Node keeps is not lost: refused, or sent on as it was", () =>
    Effect.gen(function* () {
      for (const framing of ["Transfer-Encoding: chunked", "Content-Length"]) {
        for (const method of ["GET", "POST"]) {
          const many = "a:b\r\n".repeat(2_050)
          const { child, client } = yield* attack((names) => {
            const body = hidden(names)
            const text = framing === "Content-Length" ? body : `${hex(body)}\r\n${body}\r\n0\r\n\r\n`
            const header = framing === "Content-Length" ? `Content-Length: ${body.length}` : framing
            return `${method} / HTTP/1.1\r\nHost: ${names.host}\r\n${many}${header}\r\n\r\n${text}`
          })
          const text = yield* client.until((text) => /HTTP\/1\.1 [2-5]\d\d/.test(text))
          const status = answersIn(text)[0]?.status ?? 0
          if (status === 200) assert.strictEqual((yield* only(child)).body.includes("smuggled"), true)
          else assert.include([400, 431], status)
          assert.isTrue(child.seen.every(({ url }) => url === "/"))
        }
      }
    })
  )

  it.effect("a Host or a forwarded header behind more headers than Node keeps decides nothing", () =>
    Effect.gen(function* () {
      const victim = yield* recordingChild
      const { child, client } = yield* attack(
        (names) =>
          `GET / HTTP/1.1\r\nHost: ${names.host}\r\n${"a:b\r\n".repeat(2_050)}Host: ${hostOn(victim.port)}\r\n\r\n`
      )
      const text = yield* client.until((text) => /HTTP\/1\.1 [2-5]\d\d/.test(text))
      assert.strictEqual(victim.bytes(), "")
      if (answersIn(text)[0]?.status === 200)
        assert.strictEqual((yield* only(child)).headers["host"], hostOn(child.port))
    })
  )
})

const forwardedNames = [
  "X-Forwarded-For",
  "X-Forwarded-Proto",
  "X-Forwarded-Host",
  "X-Forwarded-Port",
  "X-Forwarded-Prefix",
  "X-Forwarded-Server",
  "X-Real-IP",
  "Forwarded",
  "Fly-Client-IP",
  "Fly-Replay-Src",
  "X_Forwarded_For",
  "x-forwarded_for"
]

suite("what the proxy says of a request", (it) => {
  it.effect("can't be replaced by trailers", () =>
    Effect.gen(function* () {
      const { child, client } = yield* attack((names) =>
        post(
          names,
          "Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For",
          "1\r\na\r\n0\r\nX-Forwarded-For: evil\r\nHost: evil\r\nX-Real-IP: evil\r\nForwarded: evil\r\n" +
            "Fly-Client-IP: evil\r\nX_Forwarded_For: evil\r\nX-Fine: yes\r\n\r\n"
        )
      )
      const seen = yield* only(child)
      assert.deepStrictEqual({ ...seen.trailers }, { "x-fine": "yes" })
      assert.notInclude(child.bytes(), "evil")
      yield* client.until((text) => text.includes("seen 1"))
    })
  )

  it.effect("replaces all that a client says itself, however often and in whatever case", () =>
    Effect.gen(function* () {
      const lies = forwardedNames.flatMap((name) => [
        `${name}: evil`,
        `${name.toLowerCase()}: evil`,
        `${name.toUpperCase()}: evil, evil`
      ])
      const { child, client, names } = yield* attack((names) => get(names, lies.join("\r\n")))
      const seen = yield* only(child)
      assert.notInclude(child.bytes(), "evil")
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-for"), ["127.0.0.1"])
      assert.deepStrictEqual(valuesOf(seen, "x-real-ip"), ["127.0.0.1"])
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-proto"), ["http"])
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-host"), [names.host])
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-prefix"), [])
      yield* client.until((text) => text.includes("seen 1"))
    })
  )

  it.effect("can't be removed by naming it in Connection, by path and in an upgrade neither", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* recordingChild
      const client = yield* dial(port)
      const named = `Connection: close, ${forwardedNames.join(", ")}, Cookie`
      client.send(`GET ${pathOn(child.port)}/x HTTP/1.1\r\nHost: localhost:7000\r\n${named}\r\n\r\n`)
      const seen = yield* only(child)
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-for"), ["127.0.0.1"])
      assert.deepStrictEqual(valuesOf(seen, "x-real-ip"), ["127.0.0.1"])
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-prefix"), [pathOn(child.port)])
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-host"), ["localhost:7000"])
      assert.deepStrictEqual(valuesOf(seen, "x-forwarded-port"), ["7000"])
      const other = yield* dial(port)
      other.send(
        upgradeRequest("/ws", hostOn(child.port)).replace(
          "Connection: Upgrade",
          "Connection: Upgrade, X-Forwarded-For, X-Real-IP"
        )
      )
      yield* eventually(Effect.sync(() => child.bytes().includes("/ws")))
      yield* eventually(Effect.sync(() => child.bytes().endsWith("\r\n\r\n")))
      assert.match(child.bytes().split("GET /ws")[1] ?? "", /\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/i)
    })
  )
})

/** Behind the project's own host, and behind `/projects/<id>`. */
const internalPaths = [
  "/internal",
  "/internal/configure",
  "/internal?x",
  "/internal/",
  "//internal/x",
  "///internal/x",
  "/./internal/x",
  "/a/../internal/x",
  "/a/b/../../internal/x",
  "/internal/../internal/x",
  "/../internal/x",
  "/%69nternal/x",
  "/%49nternal/x",
  "/%2finternal/x",
  "/%2Finternal/x",
  "/a%2f..%2finternal/x",
  "/a/%2e%2e/internal/x",
  "/a/.%2e/internal/x",
  "/%2e/internal/x",
  "/INTERNAL/x",
  "/Internal/x",
  "/internal;a=b/x",
  "/a/..;/internal/x",
  "/;/internal/x",
  "/internal%3bx",
  "/internal%2fx",
  "/internal%00",
  "/internal%20/x",
  "/\\internal/x",
  "/a/..\\internal/x",
  "/%5cinternal/x",
  "/internal%23",
  "/internal%3fx",
  "/internal#x"
]

suite("paths", (it) => {
  for (const path of internalPaths) {
    it.effect(`${path} reaches no child, by host, by path, by absolute target and as an upgrade`, () =>
      Effect.gen(function* () {
        const { port } = yield* Subject
        const child = yield* recordingChild
        const host = hostOn(child.port)
        const byPath = pathOn(child.port) + path
        const requests = [
          `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
          `GET ${byPath} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
          `GET http://${host}${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
          `POST ${path} HTTP/1.0\r\nHost: ${host}\r\n\r\n`,
          upgradeRequest(path, host),
          upgradeRequest(byPath, "localhost")
        ]
        for (const request of requests) {
          const client = yield* dial(port)
          client.send(request)
          const { text } = yield* client.over
          assert.include([400, 404], answersIn(text)[0]?.status)
        }
        assert.strictEqual(child.bytes(), "")
      })
    )
  }

  it.effect("dots and encoded slashes behind one project never lead to another, nor to the orchestrator's own", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const one = yield* recordingChild
      const other = yield* recordingChild
      const to = (rest: string) => `/projects/${rest}`
      const [a, b] = [`p${one.port}`, `p${other.port}`]
      const paths = [
        to(`${a}/../${b}/`),
        to(`${a}/%2e%2e/${b}/`),
        to(`${a}%2f..%2f${b}/`),
        to(`${a}/..%2f${b}/`),
        to(`${a}/..\\${b}/`),
        to(`${a}/../../status`),
        to(`${a}%00/../${b}/`),
        to(`../projects/${b}/`),
        to(`./${b}/`),
        to(`/${b}/`),
        to(`%70${b.slice(1)}/`),
        to(`${b.toUpperCase()}/`),
        `//projects/${b}/`,
        `/PROJECTS/${b}/`,
        `/./projects/${b}/`,
        `/%70rojects/${b}/`
      ]
      for (const path of paths) {
        const client = yield* dial(port)
        client.send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
        yield* client.over
      }
      assert.strictEqual(other.bytes(), "")
      // What the first one got, it got as it was sent.
      for (const { url } of one.seen) assert.include(paths, `/projects/${a}${url}`)
    })
  )
})
