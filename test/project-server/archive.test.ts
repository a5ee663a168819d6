import * as Fs from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import {
  archiveBody,
  configOf,
  configureBody,
  objectStore,
  put,
  readDatabase,
  sha256,
  start,
  startConfigured,
  temporaryFolder,
  unmanaged,
  type Server
} from "./harness.ts"

const setup = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const store = yield* objectStore
  return { folder, store, config: configOf(folder) }
})

/** Forced, as what was put a moment ago would make the server busy otherwise. */
const forced = { force: true }

const serves = (server: Server) => Effect.map(server.send("GET", "/documents/k"), ({ status }) => status === 200)

/** Nothing is served, read or written, and a request is sent back to the router. */
const assertSealed = Effect.fnUntraced(function* (server: Server) {
  for (const [method, path] of [
    ["GET", "/documents/k"],
    ["PUT", "/documents/k"],
    ["GET", "/export"]
  ] as const) {
    const answer = yield* server.send(method, path, { body: method === "PUT" ? "2" : "" })
    assert.strictEqual(answer.status, 307)
    assert.strictEqual(answer.headers["fly-replay"], "app=router;state=stale")
  }
  assert.propertyVal((yield* server.send("GET", "/health")).json, "sealed", true)
})

const untilUploading = (requests: ReadonlyArray<unknown>) =>
  Effect.suspend(() => (requests.length > 0 ? Effect.void : Effect.fail("not yet" as const))).pipe(
    Effect.retry(Schedule.spaced("5 millis").pipe(Schedule.upTo({ duration: "20 seconds" })))
  )

describe("archive", () => {
  it.live("uploads the sealed file itself, and answers the same to the same call", () =>
    Effect.gen(function* () {
      const { folder, store, config } = yield* setup
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      const answer = yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      const object = store.objects.get("/u1/2") ?? Buffer.alloc(0)
      assert.strictEqual(answer.status, 200, answer.text)
      assert.deepStrictEqual(answer.json, { r2_key: "u1/2", r2_checksum: sha256(object), size: object.length })
      assert.isTrue(object.equals(Fs.readFileSync(`${folder}/project.db`)))
      assert.strictEqual(store.requests[0]?.headers["x-amz-checksum"], "as given")
      assert.strictEqual(store.requests[0]?.headers["content-length"], String(object.length))
      Fs.writeFileSync(`${folder}/copy.db`, object)
      assert.deepStrictEqual([...readDatabase(`${folder}/copy.db`)], [["k", 1]])
      assert.deepStrictEqual((yield* server.call("archive-to-r2", archiveBody(2, store, forced))).json, answer.json)
      assert.strictEqual(store.requests.length, 1)
      yield* assertSealed(server)
    })
  )

  it.live("stays sealed over a restart, and uploads the same bytes again there", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const first = yield* startConfigured(config)
      yield* put(first, "k", 1)
      const answer = yield* first.call("archive-to-r2", archiveBody(2, store, forced))
      yield* first.stop
      const second = yield* start(config)
      yield* assertSealed(second)
      // The object is there: a 412 says that an earlier attempt arrived.
      const again = yield* second.call("archive-to-r2", archiveBody(2, store))
      assert.deepStrictEqual([again.status, again.json], [200, answer.json])
      assert.strictEqual((yield* second.call("unseal", { project_uid: "u1", generation: 2 })).status, 409)
      assert.strictEqual((yield* second.call("unseal", { project_uid: "u1", generation: 3 })).status, 200)
      assert.isTrue(yield* serves(second))
    })
  )

  it.live("a late archive after an unseal is refused, and names the newest generation", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      yield* server.call("unseal", { project_uid: "u1", generation: 3 })
      for (const generation of [2, 3]) {
        const late = yield* server.call("archive-to-r2", archiveBody(generation, store, forced))
        assert.deepStrictEqual([late.status, late.json], [409, { error: "stale", newest_generation: 3 }])
      }
      assert.isTrue(yield* serves(server))
      assert.strictEqual((yield* server.call("unseal", { project_uid: "u1", generation: 3 })).status, 200)
    })
  )

  it.live("refuses while somebody is connected or was served within the window, and does not seal", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const server = yield* startConfigured(config)
      const fresh = yield* server.call("archive-to-r2", archiveBody(2, store, { idle_window_seconds: 600 }))
      assert.strictEqual(fresh.status, 200, "nothing was ever served")
      yield* server.call("unseal", { project_uid: "u1", generation: 3 })
      yield* put(server, "k", 1)
      const recent = yield* server.call("archive-to-r2", archiveBody(4, store, { idle_window_seconds: 600 }))
      assert.deepStrictEqual([recent.status, recent.json], [409, { error: "busy", connections: 0, idle_seconds: 0 }])
      const client = yield* server.connect
      const busy = yield* server.call("archive-to-r2", archiveBody(4, store))
      assert.deepStrictEqual([busy.status, busy.json], [409, { error: "busy", connections: 1, idle_seconds: 0 }])
      assert.strictEqual((yield* client.ask({ id: 1, op: "get", key: "k" }))["value"], 1)
      assert.strictEqual(store.objects.size, 1)
    })
  )

  it.live("closes sockets with 1001 when forced, after what was admitted is on disk", () =>
    Effect.gen(function* () {
      const { folder, store, config } = yield* setup
      const server = yield* startConfigured(config)
      const client = yield* server.connect
      yield* client.ask({ id: 1, op: "put", key: "k", value: 1 })
      const answer = yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(yield* client.closed, 1001)
      assert.deepStrictEqual([...readDatabase(`${folder}/project.db`)], [["k", 1]])
      const refused = yield* Effect.flip(server.connect)
      assert.include(refused.message, "307")
    })
  )

  it.live("retries with the same bytes while the store fails, and takes a 412 then for its own", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const bodies: Array<Buffer> = []
      store.fault = (request, response, body) => {
        bodies.push(body)
        if (bodies.length > 2) return false
        // The second attempt arrives, and its answer is lost.
        if (bodies.length === 2) store.objects.set(request.url ?? "", body)
        response.writeHead(bodies.length === 1 ? 500 : 503).end()
        return true
      }
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      const answer = yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      assert.strictEqual(answer.status, 200, answer.text)
      assert.strictEqual(bodies.length, 3)
      assert.isTrue(bodies.every((body) => bodies[0]?.equals(body)))
    })
  )

  it.live("a refused upload unseals and says so, without the URL", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      store.fault = (_request, response) => {
        response.writeHead(403).end()
        return true
      }
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      const answer = yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      assert.deepStrictEqual(
        [answer.status, answer.json],
        [422, { error: "archive_failed", detail: "the object store answered 403" }]
      )
      assert.isTrue(yield* serves(server))
      store.objects.set("/u1/3", Buffer.from("somebody else's"))
      store.fault = () => false
      const taken = yield* server.call("archive-to-r2", archiveBody(3, store, forced))
      assert.strictEqual(taken.status, 422, "a key that was taken before the first attempt is not ours")
      yield* server.stop
      const again = yield* start(config)
      assert.isTrue(yield* serves(again))
    })
  )

  it.live("a call that comes once more after a restart, and fails, leaves the seal: its archive may be committed", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      const body = archiveBody(2, store, forced)
      assert.strictEqual((yield* server.call("archive-to-r2", body)).status, 200)
      yield* server.stop
      store.fault = (_request, response) => {
        response.writeHead(403).end()
        return true
      }
      const again = yield* start(config)
      assert.strictEqual((yield* again.call("archive-to-r2", body)).status, 422)
      assert.isFalse(yield* serves(again))
      assert.strictEqual((yield* again.call("unseal", { project_uid: "u1", generation: 3 })).status, 200)
      assert.isTrue(yield* serves(again))
    })
  )

  it.live("answers 202 while it uploads; the same call polls", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const uploaded = yield* Deferred.make<void>()
      let release = () => {}
      store.fault = (request, response, body) => {
        store.objects.set(request.url ?? "", body)
        release = () => response.writeHead(200).end()
        Deferred.doneUnsafe(uploaded, Effect.void)
        return true
      }
      const server = yield* startConfigured({ ...config, longCallMs: 50 })
      yield* put(server, "k", 1)
      const call = server.call("archive-to-r2", archiveBody(2, store, forced))
      const first = yield* call
      assert.strictEqual(first.status, 202, first.text)
      yield* Deferred.await(uploaded)
      const polled = yield* call
      assert.strictEqual(polled.status, 202)
      assert.deepStrictEqual(polled.json, {
        progress: { phase: "uploading", bytes: store.objects.get("/u1/2")?.length }
      })
      const other = yield* server.call("archive-to-r2", { ...archiveBody(2, store, forced), r2_key: "another" })
      assert.strictEqual(other.status, 409)
      release()
      const last = yield* call.pipe(
        Effect.repeat({ until: ({ status }) => status !== 202, schedule: Schedule.spaced("10 millis"), times: 500 })
      )
      assert.strictEqual(last.status, 200)
      assert.strictEqual(store.requests.length, 1)
    })
  )

  it.live("an unseal during an upload that hangs stops it, and serves", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      store.fault = () => true
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      const archiving = yield* Effect.forkChild(server.call("archive-to-r2", archiveBody(2, store, forced)))
      yield* untilUploading(store.requests)
      yield* assertSealed(server)
      assert.strictEqual((yield* server.call("unseal", { project_uid: "u1", generation: 3 })).status, 200)
      assert.isTrue(yield* serves(server))
      const superseded = yield* Fiber.join(archiving)
      assert.deepStrictEqual([superseded.status, superseded.json], [409, { error: "stale", newest_generation: 3 }])
      yield* server.stop
      assert.isTrue(yield* serves(yield* start(config)))
    })
  )

  it.live("an upload in which no byte moves any more fails", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      store.fault = () => true
      const server = yield* startConfigured({ ...config, stallMs: 200 })
      yield* put(server, "k", 1)
      const answer = yield* server
        .call("archive-to-r2", archiveBody(2, store, forced))
        .pipe(
          Effect.repeat({ until: ({ status }) => status !== 202, schedule: Schedule.spaced("100 millis"), times: 200 })
        )
      assert.deepStrictEqual(
        [answer.status, answer.json],
        [422, { error: "archive_failed", detail: "the transfer stalled" }]
      )
      assert.isAtMost(store.requests.length, 5)
      assert.isTrue(yield* serves(server))
    })
  )

  it.live("a log that a reader keeps from being emptied is not sealed", () =>
    Effect.gen(function* () {
      const { folder, store, config } = yield* setup
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      const reader = new DatabaseSync(`${folder}/project.db`)
      reader.exec("BEGIN; SELECT * FROM documents")
      yield* put(server, "k", 2)
      const busy = yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      assert.deepStrictEqual([busy.status, busy.json], [409, { error: "busy", connections: 0, idle_seconds: 0 }])
      assert.strictEqual((yield* server.send("GET", "/documents/k")).json, 2)
      assert.strictEqual(store.requests.length, 0)
      reader.close()
      assert.strictEqual((yield* server.call("archive-to-r2", archiveBody(2, store, forced))).status, 200)
    })
  )

  it.live("a sealed volume stays sealed where there is no control plane", () =>
    Effect.gen(function* () {
      const { folder, store, config } = yield* setup
      const server = yield* startConfigured(config)
      yield* server.call("archive-to-r2", archiveBody(2, store))
      yield* server.stop
      const moved = yield* start(unmanaged(folder))
      assert.strictEqual((yield* moved.send("GET", "/documents/k")).status, 307)
      const other = yield* Effect.exit(start({ ...unmanaged(folder), projectId: "other" }))
      assert.isTrue(Exit.isFailure(other))
    })
  )

  it.live("a damaged database is not uploaded", () =>
    Effect.gen(function* () {
      const { folder, store, config } = yield* setup
      const first = yield* startConfigured(config)
      for (let i = 0; i < 20; i++) yield* put(first, `k${i}`, "x".repeat(3000))
      yield* put(first, "k", 1)
      yield* first.stop
      const bytes = Fs.readFileSync(`${folder}/project.db`)
      bytes.fill(0xa5, 4096 * 5, 4096 * 9)
      Fs.writeFileSync(`${folder}/project.db`, bytes)
      const server = yield* start(config)
      const answer = yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      assert.strictEqual(answer.status, 422, answer.text)
      assert.strictEqual(store.requests.length, 0)
      assert.propertyVal((yield* server.send("GET", "/health")).json, "sealed", false)
    })
  )

  it.live("a newer configuration serves a sealed volume again", () =>
    Effect.gen(function* () {
      const { store, config } = yield* setup
      const server = yield* startConfigured(config)
      yield* put(server, "k", 1)
      yield* server.call("archive-to-r2", archiveBody(2, store, forced))
      assert.strictEqual((yield* server.call("configure", configureBody(1))).status, 409)
      assert.strictEqual((yield* server.call("configure", configureBody(3))).status, 200)
      assert.isTrue(yield* serves(server))
    })
  )
})
