import * as Fs from "node:fs"
import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import {
  archiveBytes,
  configOf,
  configureBody,
  connect,
  objectStore,
  put,
  restoreOf,
  secret,
  send,
  start,
  startConfigured,
  temporaryFolder,
  unmanaged,
  type Server
} from "./harness.ts"

const setup = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const store = yield* objectStore
  const bytes = yield* archiveBytes({ k: "from the archive" })
  store.objects.set("/u1/1", bytes)
  const restoring = (generation: number, more = {}) =>
    configureBody(generation, { restore: restoreOf(store, "u1/1", bytes, more) })
  return { folder, store, bytes, restoring, config: configOf(folder) }
})

const valueOf = (server: Server) => Effect.map(server.send("GET", "/documents/k"), ({ json }) => json)
const left = (folder: string) => Fs.readdirSync(folder).toSorted()

describe("configure", () => {
  it.live("makes an empty database, and does nothing the second time", () =>
    Effect.gen(function* () {
      const { folder, config } = yield* setup
      const server = yield* start(config)
      assert.strictEqual((yield* server.send("GET", "/documents")).status, 503)
      const answer = yield* server.call("configure", configureBody(1))
      assert.deepStrictEqual([answer.status, answer.json], [200, { ready: true, restored_bytes: 0 }])
      yield* put(server, "k", 1)
      assert.strictEqual((yield* server.call("configure", configureBody(1))).status, 200)
      assert.strictEqual(yield* valueOf(server), 1)
      assert.deepStrictEqual((yield* server.send("GET", "/health")).json, {
        status: "ok",
        project_id: "demo",
        generation: 1,
        connections: 0,
        sealed: false
      })
      yield* server.stop
      assert.deepStrictEqual(left(folder), ["project.db", "valet-state.json"])
      assert.strictEqual(yield* valueOf(yield* start(config)), 1)
    })
  )

  it.live("refuses older generations and other projects, also after a restart", () =>
    Effect.gen(function* () {
      const { config } = yield* setup
      const first = yield* start(config)
      yield* first.call("configure", configureBody(5))
      yield* first.stop
      const server = yield* start(config)
      for (const body of [
        configureBody(4),
        configureBody(6, { project_id: "other" }),
        configureBody(6, { project_uid: "u2" })
      ]) {
        const answer = yield* server.call("configure", body)
        assert.deepStrictEqual([answer.status, answer.json], [409, { error: "stale", newest_generation: 5 }])
      }
      const settings = { project_uid: "u1", generation: 4, idle_timeout_seconds: 60 }
      assert.strictEqual((yield* server.call("settings", settings)).status, 409)
      assert.strictEqual((yield* server.call("settings", { ...settings, generation: 5 })).status, 200)
    })
  )

  it.live.each<readonly [string, string]>([
    ["router_app", "router\r\nx-injected: 1"],
    ["router_app", "\u{1f4a9}"],
    ["project_id", 'demo"'],
    ["project_id", "a/../b"]
  ])("refuses a %s that would not fit the headers it goes into: %j", ([field, value]) =>
    Effect.gen(function* () {
      const { config } = yield* setup
      const server = yield* start(config)
      const refused = yield* server.call("configure", { ...configureBody(1), [field]: value })
      assert.strictEqual(refused.status, 400)
      assert.strictEqual((yield* server.send("GET", "/documents/k")).status, 503)
    })
  )

  it.live("restores an archive once, and never over data", () =>
    Effect.gen(function* () {
      const { bytes, restoring, config, store } = yield* setup
      const server = yield* start(config)
      const answer = yield* server.call("configure", restoring(2))
      assert.deepStrictEqual([answer.status, answer.json], [200, { ready: true, restored_bytes: bytes.length }])
      assert.strictEqual(yield* valueOf(server), "from the archive")
      yield* put(server, "k", "written since")
      assert.deepStrictEqual((yield* server.call("configure", restoring(2))).json, answer.json)
      const second = yield* server.call("configure", restoring(3))
      assert.strictEqual(second.status, 422)
      assert.propertyVal(second.json, "error", "restore_failed")
      assert.strictEqual((yield* server.call("configure", configureBody(4))).status, 200)
      assert.strictEqual(yield* valueOf(server), "written since")
      assert.strictEqual(store.requests.length, 1)
      yield* server.stop
      assert.strictEqual(yield* valueOf(yield* start(config)), "written since")
    })
  )

  it.live("never restores over a database whose state file is missing", () =>
    Effect.gen(function* () {
      const { folder, restoring, config } = yield* setup
      const first = yield* startConfigured(config)
      yield* put(first, "k", "the only copy")
      yield* first.stop
      Fs.rmSync(`${folder}/valet-state.json`)
      const server = yield* start(config)
      assert.strictEqual((yield* server.call("configure", restoring(2))).status, 422)
      assert.strictEqual((yield* server.call("configure", configureBody(2))).status, 200)
      assert.strictEqual(yield* valueOf(server), "the only copy")
    })
  )

  it.live("a restore that fails says why, leaves nothing, and may be tried again", () =>
    Effect.gen(function* () {
      const { folder, bytes, restoring, config, store } = yield* setup
      const server = yield* start(config)
      const damaged = Buffer.from(bytes)
      damaged.fill(0xa5, 4096, 4096 * 3)
      store.objects.set("/damaged", damaged)
      const cases = [
        [restoring(1, { r2_checksum: "0".repeat(64) }), "the object has another checksum"],
        [restoring(1, { size: bytes.length - 1 }), "the object is larger than recorded"],
        [restoring(1, { download_url: `${store.url}/missing` }), "the object store answered 404"],
        [restoring(1, { download_url: "file:///etc/passwd" }), "the URL is not one"],
        [
          configureBody(1, { restore: restoreOf(store, "damaged", damaged) }),
          /integrity check failed|malformed|disk image/
        ]
      ] as const
      for (const [body, detail] of cases) {
        const answer = yield* server.call("configure", body)
        assert.strictEqual(answer.status, 422, answer.text)
        assert.propertyVal(answer.json, "error", "restore_failed")
        assert.match(answer.text, detail instanceof RegExp ? detail : new RegExp(detail))
        assert.notInclude(answer.text, "127.0.0.1")
        assert.deepStrictEqual(left(folder), ["valet-state.json"])
        assert.strictEqual((yield* server.send("GET", "/documents/k")).status, 307)
      }
      assert.strictEqual((yield* server.call("configure", restoring(1))).status, 200)
      assert.strictEqual(yield* valueOf(server), "from the archive")
    })
  )

  it.live("a download that breaks off is tried again", () =>
    Effect.gen(function* () {
      const { bytes, restoring, config, store } = yield* setup
      store.fault = (_request, response) => {
        if (store.requests.length === 1) {
          response.writeHead(200, { "content-length": bytes.length })
          response.write(bytes.subarray(0, 5000), () => response.destroy())
        } else if (store.requests.length === 2) response.writeHead(200).end(bytes.subarray(0, 5000))
        else return false
        return true
      }
      const server = yield* start(config)
      const answer = yield* server.call("configure", restoring(1))
      assert.strictEqual(answer.status, 200, answer.text)
      assert.strictEqual(store.requests.length, 3)
      assert.strictEqual(yield* valueOf(server), "from the archive")
    })
  )

  it.live("answers 202 while it restores, to all who ask; a newer call takes over", () =>
    Effect.gen(function* () {
      const { bytes, restoring, config, store } = yield* setup
      const begun = yield* Deferred.make<void>()
      store.fault = (_request, response) => {
        if (store.requests.length > 1) return false
        response.writeHead(200, { "content-length": bytes.length })
        response.write(bytes.subarray(0, 5000))
        Deferred.doneUnsafe(begun, Effect.void)
        return true
      }
      const server = yield* start({ ...config, longCallMs: 30 })
      const [one, two] = yield* Effect.all(
        [server.call("configure", restoring(1)), server.call("configure", restoring(1))],
        {
          concurrency: 2
        }
      )
      assert.deepStrictEqual([one.status, two.status], [202, 202])
      yield* Deferred.await(begun)
      const progress = yield* server.call("configure", restoring(1)).pipe(
        Effect.repeat({
          until: ({ text }) => text.includes("5000"),
          schedule: Schedule.spaced("10 millis"),
          times: 500
        })
      )
      assert.deepStrictEqual(progress.json, { progress: { phase: "restoring", bytes: 5000 } })
      const next = yield* server
        .call("configure", restoring(2))
        .pipe(
          Effect.repeat({ until: ({ status }) => status !== 202, schedule: Schedule.spaced("10 millis"), times: 500 })
        )
      assert.strictEqual(next.status, 200, next.text)
      assert.strictEqual((yield* server.call("configure", restoring(1))).status, 409)
      assert.strictEqual(store.requests.length, 2)
      assert.strictEqual(yield* valueOf(server), "from the archive")
    })
  )
})

describe("a volume that contradicts itself", () => {
  it.live.each([
    ["an unreadable state file", "valet-state.json", "{"],
    ["a state file of another kind", "valet-state.json", '{"sealed":false}'],
    ["no database although it was ready", "project.db", null],
    ["a database that is none", "project.db", "not a database, but longer than a header would have to be ............"]
  ] as const)("stops the server: %s", ([_name, file, text]) =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* startConfigured(configOf(folder))
      yield* server.stop
      if (text === null) Fs.rmSync(`${folder}/${file}`)
      else Fs.writeFileSync(`${folder}/${file}`, text)
      const before = left(folder)
      const exit = yield* Effect.exit(start(configOf(folder)))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(left(folder), before)
    })
  )
})

describe("who may ask what", () => {
  it.live("the protocol does not exist for anything that came through Fly's proxy", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* start(configOf(folder))
      const call = (headers: Record<string, string>, path = "/internal/configure") =>
        Effect.map(
          send(server.port, "POST", path, { headers, body: JSON.stringify(configureBody(1)) }),
          ({ status }) => status
        )
      const authorization = `Bearer ${secret}`
      assert.strictEqual(yield* call({ authorization, "fly-client-ip": "1.2.3.4" }), 404)
      assert.strictEqual(yield* call({ authorization, "fly-replay-src": "instance=1" }), 404)
      assert.strictEqual(yield* call({}), 401)
      assert.strictEqual(yield* call({ authorization: "Bearer another" }), 401)
      assert.strictEqual(yield* call({ authorization }, "/internal/unknown"), 404)
      assert.strictEqual(yield* call({ authorization }, "/projects/demo/internal/configure"), 503)
      assert.strictEqual((yield* server.call("configure", { project_id: "demo" })).status, 400)
      const large = { headers: { authorization }, body: "x".repeat(65 * 1024) }
      assert.strictEqual((yield* server.send("POST", "/internal/configure", large)).status, 413)
      assert.propertyVal((yield* server.send("GET", "/health")).json, "project_id", null)
    })
  )

  it.live("without a secret there is no protocol", () =>
    Effect.gen(function* () {
      const server = yield* start(unmanaged(yield* temporaryFolder))
      assert.strictEqual((yield* server.call("configure", configureBody(1))).status, 404)
      assert.strictEqual((yield* put(server, "k", 1)).status, 201)
      assert.strictEqual((yield* server.send("GET", "/documents", { headers: { host: "my.own.site" } })).status, 200)
    })
  )

  it.live("sends back what is not its project's, by path or Host, requests and upgrades alike", () =>
    Effect.gen(function* () {
      const server = yield* startConfigured(configOf(yield* temporaryFolder))
      const replayed = (path: string, host: string) =>
        Effect.map(server.send("GET", path, { headers: { host } }), ({ headers }) => headers["fly-replay"])
      const stale = "app=router;state=stale"
      assert.isUndefined(yield* replayed("/documents", "127.0.0.1:3000"))
      assert.isUndefined(yield* replayed("/documents", "[::1]:3000"))
      assert.isUndefined(yield* replayed("/documents", "localhost:3000"))
      assert.isUndefined(yield* replayed("/documents", "Demo.example.com"))
      assert.isUndefined(yield* replayed("/projects/demo/documents", "other.example.com"))
      assert.strictEqual(yield* replayed("/documents", "other.example.com"), stale)
      // The router sends here whatever this Host asks for: sent back it would come again and again.
      const foreignPath = { headers: { host: "demo.example.com" } }
      assert.strictEqual((yield* server.send("GET", "/projects/other/documents", foreignPath)).status, 404)
      assert.strictEqual(yield* replayed("/projects/other/documents", "any.example.com"), stale)
      assert.isUndefined(yield* replayed("/health", "other.example.com"))
      const upgrade = yield* Effect.flip(connect(server.port, "/ws", { host: "other.example.com" }))
      assert.include(upgrade.message, "307")
      const ours = yield* connect(server.port, "/projects/demo/ws", { host: "any.example.com" })
      assert.strictEqual((yield* ours.ask({ id: 1, op: "get", key: "k" }))["ok"], true)
    })
  )

  it.live("keeps no connection of a refused upgrade, whatever came behind the request", () =>
    Effect.gen(function* () {
      const { config } = yield* setup
      const server = yield* startConfigured(config)
      const socket = yield* Effect.acquireRelease(
        Effect.sync(() => Net.connect({ port: server.port, host: "127.0.0.1" })),
        (socket) => Effect.sync(() => socket.destroy())
      )
      const request =
        "POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4000000\r\n\r\n"
      // As long as the server has the connection open, the rest of this stays unsent.
      yield* Effect.callback<void>((resume) => {
        socket
          .on("error", () => {})
          .on("close", () => resume(Effect.void))
          .resume()
        socket.write(request + "x".repeat(4_000_000))
      })
    })
  )

  it.live("serves whatever Host asks, where requests come by no route that can be stale", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* startConfigured(configOf(folder, { comparesAddress: false, stateDir: `${folder}/state` }))
      const { status } = yield* server.send("GET", "/documents", { headers: { host: "other.example.com" } })
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(Fs.readdirSync(`${folder}/state`), ["valet-state.json"])
      assert.isFalse(Fs.existsSync(`${folder}/valet-state.json`))
    })
  )

  it.live("an unconfigured server knows the router from its environment", () =>
    Effect.gen(function* () {
      const server = yield* start(configOf(yield* temporaryFolder, { routerApp: "router" }))
      const answer = yield* server.send("GET", "/")
      assert.deepStrictEqual([answer.status, answer.headers["fly-replay"]], [307, "app=router;state=stale"])
      const upgrade = yield* Effect.flip(server.connect)
      assert.include(upgrade.message, "307")
    })
  )
})
