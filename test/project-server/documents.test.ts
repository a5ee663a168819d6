import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { limits } from "../../src/contract/Documents.ts"
import { connect, start, temporaryFolder, unmanaged } from "./harness.ts"

const server = Effect.flatMap(temporaryFolder, (folder) => start(unmanaged(folder)))
const codeOf = (answer: Record<string, unknown>) => {
  const error = answer["error"]
  return typeof error === "object" && error !== null && "code" in error ? error.code : undefined
}

describe("documents over WebSocket", () => {
  it.live("puts, gets, deletes, with versions that never come back", () =>
    Effect.gen(function* () {
      const { ask } = yield* (yield* server).connect
      assert.deepStrictEqual(yield* ask({ id: 1, op: "get", key: "k" }), { id: 1, ok: true, value: null, version: 0 })
      assert.deepStrictEqual(yield* ask({ id: "a", op: "put", key: "k", value: { n: [1, null] } }), {
        id: "a",
        ok: true,
        version: 1
      })
      assert.deepStrictEqual(yield* ask({ id: 2, op: "get", key: "k" }), {
        id: 2,
        ok: true,
        value: { n: [1, null] },
        version: 1
      })
      const deleted = yield* ask({ id: 3, op: "delete", key: "k" })
      assert.deepStrictEqual(deleted, { id: 3, ok: true, version: 2 })
      assert.deepStrictEqual(yield* ask({ id: 4, op: "delete", key: "k" }), { id: 4, ok: true, version: 0 })
      assert.deepStrictEqual(yield* ask({ id: 5, op: "put", key: "k", value: null }), { id: 5, ok: true, version: 3 })
    })
  )

  it.live("compares versions, 0 for what must not exist", () =>
    Effect.gen(function* () {
      const { ask } = yield* (yield* server).connect
      assert.strictEqual((yield* ask({ id: 1, op: "put", key: "k", value: 1, if_version: 0 }))["ok"], true)
      assert.strictEqual(codeOf(yield* ask({ id: 2, op: "put", key: "k", value: 2, if_version: 0 })), "conflict")
      assert.strictEqual(codeOf(yield* ask({ id: 3, op: "delete", key: "k", if_version: 7 })), "conflict")
      assert.strictEqual((yield* ask({ id: 4, op: "put", key: "k", value: 2, if_version: 1 }))["version"], 2)
      assert.strictEqual((yield* ask({ id: 5, op: "get", key: "k" }))["value"], 2)
    })
  )

  it.live("answers pipelined requests in order, each seeing those before it", () =>
    Effect.gen(function* () {
      const client = yield* (yield* server).connect
      for (let i = 0; i < 500; i++) {
        client.post({ id: 2 * i, op: "put", key: `k${i}`, value: i })
        client.post({ id: 2 * i + 1, op: "get", key: `k${i}` })
      }
      for (let i = 0; i < 500; i++) {
        assert.deepStrictEqual(yield* client.next, { id: 2 * i, ok: true, version: i + 1 })
        assert.deepStrictEqual(yield* client.next, { id: 2 * i + 1, ok: true, value: i, version: i + 1 })
      }
    })
  )

  it.live("lists by prefix, in the order of UTF-8 bytes, page by page", () =>
    Effect.gen(function* () {
      const { ask } = yield* (yield* server).connect
      const keys = ["a", "b/1", "b/2", "b/\uffff", "b/\u{1f600}", "c"]
      for (const key of keys.toReversed()) yield* ask({ id: 1, op: "put", key, value: 0 })
      const first = yield* ask({ id: 1, op: "list", prefix: "b/", limit: 3 })
      assert.deepStrictEqual(first["keys"], [
        { key: "b/1", version: 5 },
        { key: "b/2", version: 4 },
        { key: "b/\uffff", version: 3 }
      ])
      assert.strictEqual(first["next"], "b/\uffff")
      const second = yield* ask({ id: 1, op: "list", prefix: "b/", after: "b/\uffff", limit: 3 })
      assert.deepStrictEqual(second, { id: 1, ok: true, keys: [{ key: "b/\u{1f600}", version: 2 }], next: null })
      const all = yield* ask({ id: 1, op: "list" })
      assert.strictEqual(Array.isArray(all["keys"]) && all["keys"].length, keys.length)
    })
  )

  it.live("tells subscribers of a prefix, once, until they unsubscribe", () =>
    Effect.gen(function* () {
      const running = yield* server
      const watcher = yield* running.connect
      const writer = yield* running.connect
      yield* watcher.ask({ id: 1, op: "subscribe", prefix: "a/" })
      yield* watcher.ask({ id: 2, op: "subscribe", prefix: "" })
      yield* writer.ask({ id: 1, op: "put", key: "a/1", value: { x: "é" } })
      yield* writer.ask({ id: 2, op: "delete", key: "a/1" })
      assert.deepStrictEqual(yield* watcher.next, { event: "put", key: "a/1", value: { x: "é" }, version: 1 })
      assert.deepStrictEqual(yield* watcher.next, { event: "delete", key: "a/1", version: 2 })
      yield* watcher.ask({ id: 3, op: "unsubscribe", prefix: "" })
      yield* writer.ask({ id: 3, op: "put", key: "b", value: 1 })
      yield* writer.ask({ id: 4, op: "put", key: "a/2", value: 1 })
      assert.strictEqual((yield* watcher.next)["key"], "a/2")
    })
  )

  it.live("answers malformed frames and goes on", () =>
    Effect.gen(function* () {
      const client = yield* (yield* server).connect
      const bad: ReadonlyArray<unknown> = [
        "not json",
        "[]",
        "null",
        { id: 1 },
        { id: 1, op: "toString" },
        { id: 1, op: "put", key: "k" },
        { id: 1, op: "put", key: "", value: 1 },
        { op: "get", key: "k" },
        { id: {}, op: "get", key: "k" },
        { id: 1, op: "get", key: "a\0b" },
        '{"id":1,"op":"get","key":"\\ud800"}',
        { id: 1, op: "list", limit: 1001 },
        { id: 1, op: "put", key: "k", value: 1, if_version: 1.5 }
      ]
      for (const frame of bad)
        assert.strictEqual(codeOf(yield* client.ask(frame)), "bad_request", JSON.stringify(frame))
      client.socket.send(Buffer.from('{"id":1,"op":"get","key":"k"}'), { binary: true })
      assert.strictEqual(codeOf(yield* client.next), "bad_request")
      assert.strictEqual((yield* client.ask({ id: 9, op: "get", key: "k" }))["ok"], true)
    })
  )

  it.live("bounds keys and values", () =>
    Effect.gen(function* () {
      const { ask } = yield* (yield* server).connect
      const key = "é".repeat(256)
      const value = "x".repeat(limits.maxValueBytes - 2)
      assert.strictEqual((yield* ask({ id: 1, op: "put", key, value }))["ok"], true)
      assert.strictEqual((yield* ask({ id: 2, op: "get", key }))["value"], value)
      assert.strictEqual(codeOf(yield* ask({ id: 3, op: "put", key: `${key}a`, value: 1 })), "too_large")
      assert.strictEqual(codeOf(yield* ask({ id: 4, op: "put", key, value: `${value}x` })), "too_large")
      const escaped = `{"id":5,"op":"put","key":"k","value":"${"\\u0078".repeat(limits.maxValueBytes - 2)}"}`
      assert.strictEqual((yield* ask(escaped))["ok"], true)
      const prefixes = yield* Effect.forEach(Array.from({ length: limits.maxPrefixes + 1 }), (_, i) =>
        ask({ id: i, op: "subscribe", prefix: `p${i}` })
      )
      assert.deepStrictEqual(prefixes.map(codeOf), [
        ...Array.from({ length: limits.maxPrefixes }, () => undefined),
        "bad_request"
      ])
    })
  )

  it.live("a client that does not read its answers stops being served, and loses none", () =>
    Effect.gen(function* () {
      const running = yield* server
      const slow = yield* running.connect
      const other = yield* running.connect
      yield* other.ask({ id: 0, op: "put", key: "big", value: "x".repeat(1_000_000) })
      slow.socket.pause()
      for (let i = 0; i < 200; i++) slow.post({ id: i, op: "get", key: "big" })
      slow.post({ id: 200, op: "put", key: "after", value: 1 })
      // Every turn of the other client is a turn in which the slow one could have been served.
      for (let i = 0; i < 300; i++) yield* other.ask({ id: i, op: "put", key: "n", value: i })
      assert.strictEqual((yield* other.ask({ id: 1, op: "get", key: "after" }))["version"], 0)
      slow.socket.resume()
      for (let i = 0; i <= 200; i++) assert.strictEqual((yield* slow.next)["id"], i)
    })
  )

  it.live("a subscriber that lags too far behind is closed with 1013", () =>
    Effect.gen(function* () {
      const running = yield* server
      const slow = yield* running.connect
      const writer = yield* running.connect
      yield* slow.ask({ id: 1, op: "subscribe", prefix: "" })
      slow.socket.pause()
      const value = "x".repeat(1_000_000)
      for (let i = 0; i < 30; i++) yield* writer.ask({ id: i, op: "put", key: "big", value })
      slow.socket.resume()
      assert.strictEqual(yield* slow.closed, 1013)
    })
  )
})

describe("documents over HTTP", () => {
  it.live("writes and reads, with entity tags", () =>
    Effect.gen(function* () {
      const { send } = yield* server
      const created = yield* send("PUT", "/documents/a%2Fb/%C3%A9", { body: '{"n": 12345678901234567890}' })
      assert.strictEqual(created.status, 201)
      assert.strictEqual(created.headers.etag, '"1"')
      assert.deepStrictEqual(created.json, { key: "a/b/é", version: 1 })
      const got = yield* send("GET", "/documents/a/b/é".replace("é", "%c3%a9"))
      assert.strictEqual(got.text, '{"n": 12345678901234567890}')
      assert.strictEqual(got.headers.etag, '"1"')
      assert.strictEqual(got.headers["access-control-allow-origin"], "*")
      const head = yield* send("HEAD", "/documents/a/b/%C3%A9")
      assert.deepStrictEqual([head.status, head.text, head.headers["content-length"]], [200, "", "27"])
      const same = yield* send("GET", "/documents/a/b/%C3%A9", { headers: { "if-none-match": '"1"' } })
      assert.strictEqual(same.status, 304)
      assert.strictEqual((yield* send("DELETE", "/documents/a/b/%C3%A9")).status, 204)
      assert.strictEqual((yield* send("GET", "/documents/a/b/%C3%A9")).status, 404)
    })
  )

  it.live("honours preconditions", () =>
    Effect.gen(function* () {
      const { send } = yield* server
      const put = (headers: Record<string, string>) =>
        Effect.map(send("PUT", "/documents/k", { headers, body: "1" }), ({ status }) => status)
      assert.strictEqual(yield* put({ "if-match": "*" }), 412)
      assert.strictEqual(yield* put({ "if-none-match": "*" }), 201)
      assert.strictEqual(yield* put({ "if-none-match": "*" }), 412)
      assert.strictEqual(yield* put({ "if-match": '"9", "1"' }), 200)
      assert.strictEqual(yield* put({ "if-match": '"1"' }), 412)
      assert.strictEqual(yield* put({ "if-match": 'W/"2"' }), 412)
      assert.strictEqual(yield* put({ "if-none-match": '"2"' }), 400)
      assert.strictEqual((yield* send("DELETE", "/documents/k", { headers: { "if-match": '"1"' } })).status, 412)
      assert.strictEqual((yield* send("DELETE", "/documents/k", { headers: { "if-match": '"2"' } })).status, 204)
    })
  )

  it.live("answers errors as problems with a code, and writes nothing then", () =>
    Effect.gen(function* () {
      const { send } = yield* server
      const cases = [
        [yield* send("PUT", "/documents/k", { body: "{" }), 400, "bad_request"],
        [yield* send("PUT", "/documents/k", { body: Buffer.from([0x22, 0xff, 0x22]) }), 400, "bad_request"],
        [yield* send("PUT", "/documents/%zz", { body: "1" }), 400, "bad_request"],
        [yield* send("PUT", "/documents/", { body: "1" }), 400, "bad_request"],
        [yield* send("PUT", `/documents/${"k".repeat(513)}`, { body: "1" }), 413, "too_large"],
        [yield* send("PUT", "/documents/k", { body: `"${"x".repeat(limits.maxValueBytes)}"` }), 413, "too_large"],
        [yield* send("GET", "/documents?limit=0"), 400, "bad_request"],
        [yield* send("PATCH", "/documents/k"), 405, "method_not_allowed"],
        [yield* send("GET", "/nothing"), 404, "not_found"]
      ] as const
      for (const [answer, status, code] of cases) {
        assert.strictEqual(answer.status, status, answer.text)
        assert.strictEqual(answer.headers["content-type"], "application/problem+json")
        assert.propertyVal(answer.json, "code", code)
      }
      assert.deepStrictEqual((yield* send("GET", "/documents")).json, { keys: [], next: null })
    })
  )

  it.live("lists, answers preflights and shows a page, also beneath /projects/<id>/", () =>
    Effect.gen(function* () {
      const { port, send } = yield* server
      for (const key of ["a", "b", "c"]) yield* send("PUT", `/documents/${key}`, { body: "1" })
      const listed = yield* send("GET", "/projects/demo/documents?after=a&limit=1")
      assert.deepStrictEqual(listed.json, { keys: [{ key: "b", version: 2 }], next: "b" })
      const preflight = yield* send("OPTIONS", "/documents/a", {
        headers: { origin: "https://elsewhere.example", "access-control-request-headers": "if-match" }
      })
      assert.strictEqual(preflight.status, 204)
      assert.strictEqual(preflight.headers["access-control-allow-headers"], "if-match")
      const page = yield* send("GET", "/projects/demo/")
      assert.include(page.text, "<!doctype html>")
      assert.notMatch(page.text, /https?:\/\//)
      assert.strictEqual((yield* send("GET", "/projects/demo")).headers.location, "/projects/demo/")
      const client = yield* connect(port, "/projects/demo/ws")
      assert.strictEqual((yield* client.ask({ id: 1, op: "get", key: "a" }))["value"], 1)
    })
  )
})
