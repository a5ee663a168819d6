import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { LocalTarget } from "../../../src/local/fly/LocalMachines.ts"
import {
  closedPort,
  edge,
  eventually,
  fakeMachines,
  plane,
  projectApp,
  router,
  routerApp,
  send,
  serve
} from "./support.ts"

const hello = serve((request, response) => {
  request.resume()
  response.end("hello")
})

/** A router that replays and, when that fails, answers with what the edge told it. */
const tellingRouter = (replay: string) =>
  serve((request, response) => {
    request.resume()
    const failed = request.headers["fly-replay-failed"]
    if (failed === undefined) return response.writeHead(307, { "fly-replay": replay }).end()
    return response
      .writeHead(503, { "retry-after": "1" })
      .end(JSON.stringify({ failed, src: request.headers["fly-replay-src"], path: request.url }))
  })

const toMachine = `instance=m1;app=${projectApp}`

describe("autostart", () => {
  it.live.each(["stopped", "suspended"])("a %s machine is started once for all who wait", (state) =>
    Effect.gen(function* () {
      const port = yield* hello
      const go = yield* Deferred.make<void>()
      const machines = fakeMachines(() => Effect.as(Deferred.await(go), { state: "started", port }))
      machines.put({ id: "m1", state, port: state === "suspended" ? port : null })
      const { port: at } = yield* edge([plane(yield* router(toMachine))], machines)
      const waiting = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 8 }, () => send(at, { method: "POST", body: "x" })),
          { concurrency: "unbounded" }
        )
      )
      const given = yield* Effect.forkChild(send(at))
      yield* eventually(() => machines.found.length === 9)
      yield* Fiber.interrupt(given)
      yield* Deferred.succeed(go, undefined)
      const replies = yield* Fiber.join(waiting)
      assert.deepStrictEqual(
        replies.map(({ body }) => body),
        Array.from({ length: 8 }, () => "hello")
      )
      assert.deepStrictEqual(machines.started, ["m1"])
    })
  )

  it.live("an app without a running machine starts one", () =>
    Effect.gen(function* () {
      const port = yield* hello
      const machines = fakeMachines(() => Effect.succeed({ state: "started", port }))
      machines.put({ id: "off", state: "stopped", autostart: false })
      machines.put({ id: "m1", state: "stopped" })
      const { port: at } = yield* edge([plane(yield* router(`app=${projectApp}`))], machines)
      assert.strictEqual((yield* send(at)).body, "hello")
      assert.deepStrictEqual(machines.started, ["m1"])
    })
  )

  it.live("a machine between two states is waited for", () =>
    Effect.gen(function* () {
      const port = yield* hello
      const machines = fakeMachines()
      machines.put({ id: "m1", state: "starting" })
      const { port: at } = yield* edge([plane(yield* router(toMachine))], machines)
      const waiting = yield* Effect.forkChild(send(at))
      const later: ReadonlyArray<Partial<LocalTarget>> = [
        { state: "started", port: yield* closedPort },
        { state: "started", port }
      ]
      for (const change of later) {
        yield* Effect.sleep("50 millis")
        machines.put({ id: "m1", ...change })
      }
      assert.strictEqual((yield* Fiber.join(waiting)).body, "hello")
    })
  )

  it.live("a machine that is suspended with the request in its hands is woken", () =>
    Effect.gen(function* () {
      const frozen = yield* Deferred.make<void>()
      let answer = () => {}
      const port = yield* serve((_, response) => {
        answer = () => response.end("hello")
        Deferred.doneUnsafe(frozen, Exit.void)
      })
      const machines = fakeMachines(() => Effect.sync(() => (answer(), { state: "started", port })))
      machines.put({ id: "m1", port })
      const { port: at } = yield* edge([plane(yield* router(toMachine))], machines)
      const waiting = yield* Effect.forkChild(send(at, { method: "POST", body: "x" }))
      yield* Deferred.await(frozen)
      machines.put({ id: "m1", state: "suspended" })
      assert.strictEqual((yield* Fiber.join(waiting)).body, "hello")
      assert.deepStrictEqual(machines.started, ["m1"])
    })
  )
})

describe("without fallback", () => {
  it.live.each<[string, Partial<LocalTarget>, string]>([
    ["autostart off", { state: "stopped", autostart: false }, "503 PM08"],
    ["destroyed", { state: "destroyed" }, "503 PM08"],
    ["leased", { state: "stopped", leased: true }, "503 PM01"],
    ["cannot be started", { state: "stopped" }, "503 PM07"],
    ["stays in between", { state: "stopping" }, "503 PM08"],
    ["refuses connections", { state: "started", port: 1 }, "502 PC01"]
  ])("%s", ([, machine, expected]) =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      machines.put({ id: "m1", ...machine })
      if (machine.port === 1) machines.put({ id: "m1", port: yield* closedPort })
      const { port } = yield* edge([plane(yield* router(`${toMachine};timeout=400ms`))], machines)
      const { body, headers, status } = yield* send(port)
      assert.strictEqual(`${status} ${String(headers["x-edge-error"])}`, expected)
      assert.include(body, expected.slice(4))
    })
  )

  it.live("a machine that never comes up is PM03 after the timeout", () =>
    Effect.gen(function* () {
      const machines = fakeMachines(() => Effect.never)
      machines.put({ id: "m1", state: "stopped" })
      const { port } = yield* edge([plane(yield* router(`${toMachine};timeout=300ms`))], machines)
      assert.strictEqual((yield* send(port)).headers["x-edge-error"], "PM03")
    })
  )
})

describe("fallback", () => {
  const returned = (
    replay: string,
    machine: Partial<LocalTarget> | undefined,
    start?: Parameters<typeof fakeMachines>[0]
  ) =>
    Effect.gen(function* () {
      const machines = fakeMachines(start)
      if (machine !== undefined) machines.put({ id: "m1", ...machine })
      const { port } = yield* edge([plane(yield* tellingRouter(replay))], machines)
      const reply = yield* send(port, { method: "POST", path: "/p?q=1", body: "x" })
      assert.strictEqual(reply.status, 503)
      assert.strictEqual(reply.headers["retry-after"], "1")
      const told: { failed: string; src?: string; path: string } = JSON.parse(reply.body)
      assert.isUndefined(told.src)
      assert.strictEqual(told.path, "/p?q=1")
      return told.failed
    })
  const failed = (reason: string, elapsed: string) =>
    new RegExp(`^instance=m1;app=projects;region=local;replay_source=plane1;reason=${reason};elapsed_ms=${elapsed}$`)

  it.live("no candidate: an unknown machine comes back at once", () =>
    Effect.gen(function* () {
      assert.match(
        yield* returned(`${toMachine};timeout=10s;fallback=prefer_self`, undefined),
        failed("no_candidate", "\\d{1,4}")
      )
    })
  )

  it.live("timeout: a machine that does not come up", () =>
    Effect.gen(function* () {
      const replay = `${toMachine};timeout=300ms;fallback=force_self`
      assert.match(
        yield* returned(replay, { state: "stopped" }, () => Effect.never),
        failed("timeout", "([3-9]\\d\\d|\\d{4})")
      )
      assert.match(
        yield* returned(replay, { state: "stopped", leased: true }),
        failed("timeout", "([3-9]\\d\\d|\\d{4})")
      )
    })
  )

  it.live("retries exhausted: a machine that fails to start again and again", () =>
    Effect.gen(function* () {
      const replay = `${toMachine};timeout=10s;fallback=prefer_self`
      assert.match(yield* returned(replay, { state: "stopped" }), failed("retries_exhausted", "\\d{1,4}"))
    })
  )

  it.live("the JSON form's transform is undone on the way back", () =>
    Effect.gen(function* () {
      const at = yield* serve((request, response) => {
        request.resume()
        if (request.headers["fly-replay-failed"] !== undefined) {
          return response.end(`${request.url} ${request.headers.cookie}`)
        }
        response.writeHead(200, { "content-type": "application/vnd.fly.replay+json" })
        return response.end(
          JSON.stringify({
            app: projectApp,
            instance: "gone",
            fallback: "force_self",
            transform: { path: "/else", delete_headers: ["cookie"] }
          })
        )
      })
      const { port } = yield* edge([plane(at)])
      assert.strictEqual((yield* send(port, { path: "/here", headers: { cookie: "c" } })).body, "/here c")
    })
  )

  it.live("a request that came back is not replayed again", () =>
    Effect.gen(function* () {
      const { port } = yield* edge([plane(yield* router(`${toMachine};fallback=prefer_self`))])
      const reply = yield* send(port)
      assert.strictEqual(reply.status, 502)
      assert.match(reply.body, /PA03/)
    })
  )

  it.live("prefer_self takes another instance when the issuer is gone, force_self does not", () =>
    Effect.gen(function* () {
      const machines = fakeMachines(() =>
        Effect.sync(() => {
          planes.splice(0, planes.length, ...planes.filter(({ id }) => id !== "issuer"))
          return null
        })
      )
      const survivor = plane(yield* tellingRouter("app=unused"), "survivor")
      const issue = (fallback: string) =>
        router(() => `${toMachine};timeout=10s;fallback=${fallback}`).pipe(Effect.map((port) => plane(port, "issuer")))
      const planes = [yield* issue("prefer_self")]
      machines.put({ id: "m1", state: "stopped" })
      const { port } = yield* edge(planes, machines)
      const first = yield* Effect.forkChild(send(port))
      yield* eventually(() => machines.started.length > 0)
      planes.push(survivor)
      const told = yield* Fiber.join(first)
      assert.match(told.body, /replay_source=issuer/)
      planes.splice(0, planes.length, yield* issue("force_self"))
      machines.started.splice(0)
      const second = yield* Effect.forkChild(send(port))
      yield* eventually(() => machines.started.length > 0)
      planes.push(survivor)
      const refused = yield* Fiber.join(second)
      assert.strictEqual(refused.status, 502)
      assert.match(refused.body, /PR02.*issuer/)
    })
  )

  it.live("an established connection is a success: neither a 5xx nor a broken answer falls back", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      const at = yield* serve((request, response) => {
        if (request.url === "/500") response.writeHead(500).end("boom")
        else request.socket.destroy()
      })
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* tellingRouter(`${toMachine};fallback=prefer_self`))], machines)
      const error = yield* send(port, { path: "/500" })
      assert.strictEqual(`${error.status} ${error.body}`, "500 boom")
      const broken = yield* send(port, { path: "/cut" })
      assert.strictEqual(broken.status, 502)
      assert.match(broken.body, /PU02/)
    })
  )

  it.live("a machine's own replay falls back to the machine", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      const at = yield* serve((request, response) => {
        request.resume()
        const failed = request.headers["fly-replay-failed"]
        if (failed === undefined) {
          response.writeHead(307, { "fly-replay": `app=${routerApp};instance=gone;fallback=force_self` }).end()
        } else response.end(String(failed))
      })
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      assert.match(
        (yield* send(port)).body,
        /^instance=gone;app=valet;region=local;replay_source=m1;reason=no_candidate/
      )
    })
  )
})
