import { IncomingMessage } from "node:http"
import { Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { KeptAwake } from "../../../src/contract/OrchestratorApi.ts"
import { isFromThisMachine } from "../../../src/orchestrator/endpoints/CurrentCaller.ts"
import { eventually } from "../../support/eventually.ts"
import { adminToken, bearer, childToken, codeOf, id, problemOf, serve } from "./support.ts"

const decodeKept = Schema.decodeUnknownSync(Schema.fromJsonString(KeptAwake), { onExcessProperty: "error" })
const keepAwake = "/internal/keep-awake"
const child = { authorization: `Bearer ${childToken}` }
const forwarding = ["x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "x-real-ip", "fly-client-ip"]

describe("keep-awake", () => {
  it.effect("a server's own token keeps it awake, until when the answer says", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      yield* TestClock.setTime(Date.UTC(2026, 0, 1))
      const reply = yield* post(keepAwake, `{"seconds":60,"reason":"import"}`, child)
      assert.strictEqual(reply.status, 200)
      assert.strictEqual(decodeKept(reply.text).awake_until, "2026-01-01T00:01:00.000Z")
      const ended = yield* post(keepAwake, `{"seconds":0}`, child)
      assert.strictEqual(decodeKept(ended.text).awake_until, "2026-01-01T00:00:00.000Z")
      assert.deepStrictEqual(world.calls, ["keepAwake 60 import", "keepAwake 0 "])
    })
  )

  it.live("no other token does, the admin's included", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      for (const authorization of ["", "Bearer ", "Bearer wrong", `Bearer ${adminToken}`, `Basic ${childToken}`]) {
        const reply = yield* post(keepAwake, `{"seconds":60}`, { authorization })
        assert.strictEqual(reply.status, 401, authorization)
        assert.strictEqual(codeOf(reply), problemOf("unauthorized"))
        assert.strictEqual(reply.headers["www-authenticate"], `Bearer realm="valet"`)
      }
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("leases that are too long, or say something else, are refused", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      for (const body of [
        "{}",
        "",
        `{"seconds":3601}`,
        `{"seconds":-1}`,
        `{"seconds":1.5}`,
        `{"seconds":"60"}`,
        `{"seconds":60,"minutes":1}`,
        JSON.stringify({ seconds: 60, reason: "x".repeat(201) })
      ]) {
        assert.strictEqual((yield* post(keepAwake, body, child)).status, 400, body)
      }
      assert.strictEqual(
        (yield* post(keepAwake, `{"seconds":60}`, { ...child, "content-type": "text/plain" })).status,
        415
      )
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("what came through a proxy or from a browser's page finds nothing there", () =>
    Effect.gen(function* () {
      const { world, post, call } = yield* serve
      for (const name of [...forwarding, "origin"]) {
        const reply = yield* post(keepAwake, `{"seconds":60}`, { ...child, [name]: "10.0.0.1" })
        assert.strictEqual(reply.status, 404, name)
        assert.strictEqual(codeOf(reply), problemOf("not_found"))
        // Not even which methods there are.
        assert.strictEqual((yield* call(keepAwake, { headers: { [name]: "10.0.0.1" } })).status, 404)
      }
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("nothing else is beneath /internal", () =>
    Effect.gen(function* () {
      const { post } = yield* serve
      for (const path of ["/internal/configure", "/internal/unseal", "/internal/keep-awake/x", "/internal/"]) {
        assert.strictEqual((yield* post(path, `{"seconds":60}`, { ...child })).status, 404, path)
      }
    })
  )
})

describe("whether a request is this machine's own", () => {
  const request = (remoteAddress: string | undefined, localAddress: string, headers: Record<string, string> = {}) => {
    const socket = new Socket()
    Object.defineProperty(socket, "remoteAddress", { value: remoteAddress })
    Object.defineProperty(socket, "localAddress", { value: localAddress })
    return Object.assign(new IncomingMessage(socket), { headers })
  }

  it("loopback, or from the address that it came to", () => {
    assert.isTrue(isFromThisMachine(request("127.0.0.1", "127.0.0.1")))
    assert.isTrue(isFromThisMachine(request("127.3.2.1", "127.0.0.1")))
    assert.isTrue(isFromThisMachine(request("::1", "::1")))
    assert.isTrue(isFromThisMachine(request("::ffff:127.0.0.1", "::ffff:127.0.0.1")))
    assert.isTrue(isFromThisMachine(request("10.0.0.5", "10.0.0.5")))
    assert.isTrue(isFromThisMachine(request("::ffff:10.0.0.5", "10.0.0.5")))
    assert.isFalse(isFromThisMachine(request("10.0.0.6", "10.0.0.5")))
    assert.isFalse(isFromThisMachine(request("::ffff:10.0.0.6", "::ffff:10.0.0.5")))
    assert.isFalse(isFromThisMachine(request("fe80::127.0.0.1", "fe80::1")))
    assert.isFalse(isFromThisMachine(request(undefined, "127.0.0.1")))
    assert.isFalse(isFromThisMachine(request("127.0.0.1", "127.0.0.1", { "x-forwarded-anything": "" })))
  })
})

describe("GET /ask", () => {
  it.live("a certificate may be had for served projects, listed hosts and the domain itself", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.local = false
      world.served.add("apple")
      world.hosts.set("fruit.example", id("melon"))
      world.hosts.set("two.labels.apps.example", id("melon"))
      world.hosts.set("www.apps.example", id("melon"))
      for (const domain of [
        "apple.apps.example",
        "APPLE.Apps.Example",
        "fruit.example",
        "two.labels.apps.example",
        "www.apps.example",
        "apps.example"
      ]) {
        assert.strictEqual((yield* call(`/ask?domain=${domain}`)).status, 200, domain)
      }
      for (const domain of [
        "melon.apps.example",
        "x.apple.apps.example",
        "apple.apps.example.evil.example",
        "apple-apps.example",
        "api.apps.example",
        "other.example",
        "127.0.0.1",
        "localhost"
      ]) {
        const reply = yield* call(`/ask?domain=${domain}`)
        assert.strictEqual(reply.status, 404, domain)
        assert.strictEqual(codeOf(reply), problemOf("not_served"))
      }
    })
  )

  it.live("what is no domain name is refused before anybody is asked", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      for (const query of [
        "",
        "?domain=",
        "?domain=a.example&domain=b.example",
        "?domain=a.example:443",
        "?domain=..",
        "?domain=../../etc/passwd",
        "?domain=a%00.example",
        "?domain=[::1]",
        "?domain=*.apps.example",
        `?domain=${"a.".repeat(127)}example`
      ]) {
        assert.strictEqual((yield* call(`/ask${query}`)).status, 400, query)
      }
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("is for the proxy on this machine, not for those behind it", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.served.add("apple")
      for (const name of [...forwarding, "origin"]) {
        const reply = yield* call("/ask?domain=apple.apps.example", { headers: { ...bearer, [name]: "10.0.0.1" } })
        assert.strictEqual(reply.status, 404, name)
        assert.strictEqual(codeOf(reply), problemOf("not_found"))
      }
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.effect("a burst for one name looks once, and a name after five seconds anew", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      const ask = call("/ask?domain=apple.apps.example")
      const burst = Effect.all(
        Array.from({ length: 20 }, () => ask),
        { concurrency: "unbounded" }
      )
      for (const reply of yield* burst) assert.strictEqual(reply.status, 404)
      assert.deepStrictEqual(world.calls, ["serves apple"])
      world.served.add("apple")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* ask).status, 200)
      assert.deepStrictEqual(world.calls, ["serves apple", "serves apple"])
    })
  )

  it.live("looks at a bounded number of names at a time, and forgets those that it turned away", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      const gate = yield* Deferred.make<void>()
      world.beforeServes = Deferred.await(gate)
      for (let at = 0; at < 9; at++) world.served.add(`p${at}`)
      const looking = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 8 }, (_, at) => call(`/ask?domain=p${at}.apps.example`)),
          { concurrency: "unbounded" }
        )
      )
      yield* eventually(Effect.sync(() => world.calls.length === 8))
      const late = yield* call("/ask?domain=p8.apps.example")
      assert.strictEqual(late.status, 503)
      assert.strictEqual(late.headers["retry-after"], "1")
      yield* Deferred.succeed(gate, undefined)
      for (const reply of yield* Fiber.join(looking)) assert.strictEqual(reply.status, 200)
      assert.strictEqual((yield* call("/ask?domain=p8.apps.example")).status, 200)
    })
  )
})
