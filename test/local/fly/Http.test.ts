/** The Machines API over HTTP, on machines that are only imagined: paths, shapes, faults, and an independent client. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createClient } from "fly-admin"
import { StateEnum } from "fly-admin/dist/lib/types.js"
import { createServer } from "node:http"
import * as FlyWorld from "../../../src/local/fly/FlyWorld.ts"
import { publicApi } from "../../../src/local/fly/http/Routes.ts"
import { LocalFly } from "../../../src/local/fly/LocalFly.ts"
import { MachineHost } from "../../../src/local/fly/MachineHost.ts"
import { createApp } from "../../../src/local/fly/model/Apps.ts"
import type { Params } from "../../../src/local/fly/model/FlyState.ts"
import { instantDelays } from "../../../src/local/fly/model/FlyState.ts"
import type { Answer, Ask } from "./support/fixture.ts"
import { api, app, at, config, machines, send, token, volumes } from "./support/fixture.ts"
import type { Exchange } from "./support/officialDocument.ts"
import { judge } from "./support/officialDocument.ts"

const layer = (params: Partial<Params> = {}) =>
  Layer.effect(
    LocalFly,
    Effect.gen(function* () {
      const server = yield* NodeHttpServer.make(() => createServer(), {
        port: 0,
        host: "127.0.0.1",
        gracefulShutdownTimeout: "100 millis"
      })
      yield* server.serve(yield* publicApi(Redacted.make(token)))
      yield* (yield* FlyWorld.FlyWorld).apply(createApp({ name: app, org: "personal" }))
      const port = "port" in server.address ? server.address.port : 0
      return { url: `http://127.0.0.1:${port}`, app, token: Redacted.make(token) }
    })
  ).pipe(Layer.provide(MachineHost.layerNone), Layer.provideMerge(FlyWorld.layer({ seed: 5, params })))

const create = (body: object = {}) =>
  Effect.map(api("POST", machines, { body: { config: config(), ...body } }), (answer) => {
    assert.strictEqual(answer.status, 200, answer.text)
    return String(at(answer.body, "id"))
  })

describe("requests", () => {
  it.live("want the token, get an id, and errors in Fly's shape", () =>
    Effect.gen(function* () {
      const { url } = yield* LocalFly
      for (const authorization of ["", "Bearer wrong", `Bearer ${token}x`]) {
        const answer = yield* send(`${url}${machines}`, "GET", { headers: { authorization } })
        assert.strictEqual(answer.status, 401)
        assert.isDefined(at(answer.body, "error"))
        assert.isDefined(answer.headers["fly-request-id"])
      }
      const admin = yield* send(`${url}/_local/state`, "GET")
      assert.strictEqual(admin.status, 401)
      const ids = yield* Effect.forEach([1, 2], () =>
        Effect.map(api("GET", machines), (it) => it.headers["fly-request-id"])
      )
      assert.notStrictEqual(ids[0], ids[1])
      for (const path of ["/v1/nothing", `${machines}/0123456789abcd`, "/v1/apps/other/machines", "/"]) {
        const answer = yield* api("GET", path)
        assert.strictEqual(answer.status, 404)
        assert.isString(at(answer.body, "error"))
      }
      const bad = yield* api("POST", machines, { body: { config: {} } })
      assert.strictEqual(bad.status, 400)
      assert.match(String(at(bad.body, "error")), /^invalid_argument/)
      const long = yield* api("POST", machines, { body: { config: config({ env: { LONG: "x".repeat(5_000_000) } }) } })
      assert.strictEqual(long.status, 400)
    }).pipe(Effect.provide(layer()))
  )

  it.live("listings come in pages", () =>
    Effect.gen(function* () {
      const made = yield* Effect.forEach([1, 2, 3, 4, 5], () => create())
      const seen: Array<unknown> = []
      let cursor: string | undefined = ""
      let pages = 0
      while (cursor !== undefined) {
        const page: Answer = yield* api("GET", `${machines}?limit=2&cursor=${cursor}`)
        for (const it of Array.isArray(page.body) ? page.body : []) seen.push(at(it, "id"))
        const next: Answer["headers"][string] = page.headers["fly-next-cursor"]
        cursor = next === undefined ? undefined : String(next)
        pages++
      }
      assert.strictEqual(pages, 3)
      assert.sameMembers(seen, made)
      assert.strictEqual((yield* api("GET", `${machines}?limit=0`)).status, 400)
      assert.strictEqual((yield* api("GET", `${machines}?limit=2&cursor=x`)).status, 400)
      const all = yield* api("GET", `${machines}?summary=true`)
      assert.isUndefined(all.headers["fly-next-cursor"])
      assert.isUndefined(at(all.body, 0, "events"))
    }).pipe(Effect.provide(layer()))
  )

  it.live("wait waits, within its limits", () =>
    Effect.gen(function* () {
      const id = yield* create()
      const wait = (query: string) => api("GET", `${machines}/${id}/wait?${query}`)
      assert.deepInclude((yield* wait("state=started")).body, { ok: true, state: "started" })
      assert.strictEqual((yield* wait("state=suspended,destroyed&timeout=90")).status, 400)
      assert.strictEqual((yield* wait("timeout=0")).status, 400)
      assert.strictEqual((yield* wait("state=stopped")).status, 400)
      assert.strictEqual((yield* wait("state=sleeping")).status, 400)
      const expired = yield* wait("state=suspended&state=destroyed&timeout=1")
      assert.strictEqual(expired.status, 408)
      assert.strictEqual(
        at(expired.body, "error"),
        "deadline_exceeded: machine failed to reach desired state, suspended, destroyed, currently started"
      )
      const waiting = yield* Effect.all([wait("state=suspended"), api("POST", `${machines}/${id}/suspend`)], {
        concurrency: 2
      })
      assert.strictEqual(waiting[0].status, 200)
      yield* api("DELETE", `${machines}/${id}?force=true`)
      assert.strictEqual((yield* wait("state=started")).status, 400)
    }).pipe(Effect.provide(layer({ delays: { ...instantDelays, suspendMs: 300 } })))
  )

  it.live("apps: both names of the name, taken names, and what goes with them", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* api("POST", "/v1/apps", { body: { name: "one", org_slug: "o" } })).status, 201)
      assert.strictEqual((yield* api("POST", "/v1/apps", { body: { app_name: "two", org_slug: "o" } })).status, 201)
      const taken = yield* api("POST", "/v1/apps", { body: { name: "two", org_slug: "p" } })
      assert.deepStrictEqual([taken.status, at(taken.body, "status")], [422, "name_taken"])
      assert.strictEqual(at((yield* api("GET", "/v1/apps?org_slug=o")).body, "total_apps"), 2)
      const id = yield* create()
      assert.strictEqual((yield* api("DELETE", `/v1/apps/${app}`)).status, 412)
      assert.strictEqual((yield* api("DELETE", `/v1/apps/${app}?force=true`)).status, 202)
      assert.strictEqual((yield* api("GET", `/v1/apps/${app}`)).status, 404)
      assert.strictEqual(at((yield* api("GET", `${machines}/${id}`)).body, "state"), "destroyed")
    }).pipe(Effect.provide(layer()))
  )

  it.live("leases have their own shape of error", () =>
    Effect.gen(function* () {
      const id = yield* create()
      const lease = `${machines}/${id}/lease`
      assert.strictEqual((yield* api("GET", lease)).status, 404)
      const held = yield* api("POST", lease, { body: { ttl: 30, description: "test" } })
      assert.deepStrictEqual([held.status, at(held.body, "status")], [201, "success"])
      const nonce = String(at(held.body, "data", "nonce"))
      const refused = yield* api("POST", `${machines}/${id}/stop`)
      assert.strictEqual(refused.status, 409)
      assert.strictEqual(at(refused.body, "status"), "error")
      assert.match(String(at(refused.body, "message")), /lease currently held by/)
      const headers = { "fly-machine-lease-nonce": nonce }
      assert.strictEqual((yield* api("POST", `${machines}/${id}/stop`, { headers })).status, 200)
      assert.strictEqual((yield* api("POST", `${lease}?ttl=60`, { headers })).status, 201)
      assert.strictEqual((yield* api("DELETE", lease, { headers })).status, 200)
    }).pipe(Effect.provide(layer()))
  )
})

describe("faults over HTTP", () => {
  const rule = (operation: string, fault: object, more: object = {}) => ({
    match: { operation, ...more },
    times: 1,
    fault
  })

  it.live("are set, hit, and taken back; and the answers are Fly's", () =>
    Effect.gen(function* () {
      const inject = (...rules: ReadonlyArray<object>) =>
        Effect.map(api("POST", "/_local/faults", { body: rules }), ({ status, text }) =>
          assert.strictEqual(status, 204, text)
        )
      const made = () => api("POST", volumes, { body: { name: "data", region: "sjc", require_unique_zone: false } })
      const count = Effect.map(api("GET", volumes), ({ body }) => (Array.isArray(body) ? body.length : -1))

      yield* inject(rule("createVolume", { kind: "capacity", status: 422 }))
      assert.deepInclude(yield* made(), { status: 422 })
      yield* inject(rule("createVolume", { kind: "rate_limit", retry_after_seconds: 7 }))
      const limited = yield* made()
      assert.deepStrictEqual([limited.status, limited.headers["retry-after"]], [429, "7"])
      yield* inject(rule("createVolume", { kind: "timeout", effect: "before" }))
      assert.strictEqual((yield* made()).status, 408)
      assert.strictEqual(yield* count, 0)
      yield* inject(rule("createVolume", { kind: "error", status: 502, effect: "after" }))
      assert.strictEqual((yield* made()).status, 502)
      assert.strictEqual(yield* count, 1)
      yield* inject(rule("createVolume", { kind: "drop", effect: "after" }))
      assert.match(yield* Effect.flip(made()), /hang up|ECONNRESET/)
      assert.strictEqual(yield* count, 2)
      yield* inject(rule("listVolumes", { kind: "empty_list" }))
      assert.strictEqual(yield* count, 0)
      yield* inject({ ...rule("createVolume", { kind: "error", status: 500, effect: "before" }), times: 100 })
      assert.strictEqual((yield* made()).status, 500)
      assert.strictEqual((yield* api("DELETE", "/_local/faults")).status, 204)
      assert.strictEqual((yield* made()).status, 200)
      const state = yield* api("GET", "/_local/state")
      assert.strictEqual(at(state.body, "calls", "createVolume"), 7)
      assert.strictEqual((yield* api("POST", "/_local/faults", { body: { fault: { kind: "odd" } } })).status, 400)
    }).pipe(Effect.provide(layer()))
  )

  it.live("the request budget answers 429", () =>
    Effect.gen(function* () {
      const statuses = yield* Effect.forEach([1, 2, 3, 4], () =>
        Effect.map(api("GET", volumes), ({ status }) => status)
      )
      assert.deepStrictEqual(statuses, [200, 200, 200, 429])
    }).pipe(Effect.provide(layer({ rateLimits: true })))
  )
})

describe("fly-admin", () => {
  it.live("takes a machine and its volume through their whole life", () =>
    Effect.gen(function* () {
      const { url } = yield* LocalFly
      const client = createClient(token)
      // Its class takes the address, its constructor function does not pass one on.
      Reflect.set(client, "apiUrl", url)
      const from = <A>(call: () => Promise<A>) => Effect.tryPromise({ try: call, catch: (cause) => String(cause) })
      const app_name = "by-fly-admin"
      yield* from(() => client.App.createApp({ app_name, org_slug: "personal" }))
      assert.strictEqual((yield* from(() => client.App.getApp(app_name))).name, app_name)
      const volume = yield* from(() =>
        client.Volume.createVolume({ app_name, name: "data", region: "ams", size_gb: 1 })
      )
      assert.strictEqual(volume.region, "ams")
      const config = { image: "image:1", mounts: [{ volume: volume.id, path: "/data" }] }
      const machine = yield* from(() => client.Machine.createMachine({ app_name, name: "one", config }))
      const machine_id = machine.id
      const about = { app_name, machine_id }
      const instance = machine.instance_id ?? ""
      const wait = (state: StateEnum) =>
        from(() => client.Machine.waitMachine({ ...about, instance_id: instance, timeout: "10s", state }))
      yield* wait(StateEnum.Started)
      assert.lengthOf(yield* from(() => client.Machine.listMachines(app_name)), 1)
      const listed = yield* from(() => client.Volume.listVolumes(app_name))
      assert.strictEqual(listed[0]?.attached_machine_id, machine_id)
      yield* from(() => client.Machine.cordonMachine(about))
      yield* from(() => client.Machine.uncordonMachine(about))
      yield* from(() => client.Machine.stopMachine(about))
      yield* wait(StateEnum.Stopped)
      yield* from(() => client.Machine.startMachine(about))
      const updated = yield* from(() =>
        client.Machine.updateMachine({ ...about, config: { ...config, env: { A: "1" } } })
      )
      assert.notStrictEqual(updated.instance_id, instance)
      assert.isNotEmpty(yield* from(() => client.Machine.listEvents(about)))
      assert.lengthOf(yield* from(() => client.Machine.listVersions(about)), 2)
      yield* from(() => client.Machine.acquireLease({ ...about, ttl: 1 }))
      assert.match(yield* Effect.flip(from(() => client.Machine.deleteMachine({ ...about, force: true }))), /409/)
      const world = yield* FlyWorld.FlyWorld
      yield* world.advance(2_000)
      yield* from(() => client.Machine.deleteMachine({ ...about, force: true }))
      assert.strictEqual((yield* from(() => client.Machine.getMachine(about))).state, "destroyed")
      yield* from(() => client.Volume.deleteVolume({ app_name, volume_id: volume.id }))
      assert.strictEqual(
        (yield* from(() => client.Volume.getVolume({ app_name, volume_id: volume.id }))).state,
        "pending_destroy"
      )
      yield* from(() => client.App.deleteApp(app_name))
    }).pipe(Effect.provide(layer()))
  )
})

/** Every endpoint once, with what it answers when all is well and when it is not. */
const tour = Effect.gen(function* () {
  const exchanges: Array<Exchange> = []
  const ask = (method: string, path: string, more: Ask = {}) =>
    Effect.map(api(method, `/v1${path}`, more), (answer) => {
      exchanges.push({ method, path: path.replace(/\?.*/, ""), status: answer.status, body: answer.body })
      return answer
    })
  const [ofMachines, ofVolumes] = [machines.slice(3), volumes.slice(3)]
  yield* ask("POST", "/apps", { body: { name: "toured", org_slug: "personal" } })
  yield* ask("GET", "/apps?org_slug=personal")
  yield* ask("GET", "/apps/toured")
  yield* ask("POST", "/apps/toured/ip_assignments", { body: { type: "private_v6" } })
  const ips = yield* ask("GET", "/apps/toured/ip_assignments")
  yield* ask("DELETE", `/apps/toured/ip_assignments/${String(at(ips.body, "ips", 0, "ip"))}`)
  yield* ask("DELETE", "/apps/toured")
  yield* ask("GET", "/platform/regions")
  yield* ask("POST", "/platform/placements", { body: { org_slug: "personal", count: 2 } })

  const volume = String(at((yield* ask("POST", ofVolumes, { body: { name: "data", region: "sjc" } })).body, "id"))
  yield* ask("GET", ofVolumes)
  yield* ask("GET", `${ofVolumes}/${volume}`)
  yield* ask("PUT", `${ofVolumes}/${volume}`, { body: { snapshot_retention: 7 } })
  yield* ask("PUT", `${ofVolumes}/${volume}/extend`, { body: { size_gb: 4 } })
  yield* ask("POST", `${ofVolumes}/${volume}/snapshots`)
  yield* ask("GET", `${ofVolumes}/${volume}/snapshots`)

  const full = config({
    mounts: [{ volume, path: "/data" }],
    metadata: { a: "1" },
    guest: { cpu_kind: "shared", cpus: 1, memory_mb: 256 },
    checks: { health: { type: "http", port: 3000, path: "/health", interval: "15s", timeout: "2s" } }
  })
  const made = yield* ask("POST", ofMachines, { body: { name: "toured", config: full } })
  const id = String(at(made.body, "id"))
  const one = `${ofMachines}/${id}`
  yield* ask("POST", ofMachines, { body: { name: "toured", config: config() } })
  yield* ask("GET", ofMachines)
  yield* ask("GET", `${ofMachines}?summary=true&metadata.a=1`)
  yield* ask("GET", one)
  yield* ask("GET", `${one}/wait?state=started`)
  yield* ask("GET", `${one}/wait?timeout=90`)
  yield* ask("GET", `${one}/metadata`)
  yield* ask("PATCH", `${one}/metadata`, { body: { metadata: { b: "2" } } })
  yield* ask("PUT", `${one}/metadata`, { body: { metadata: { b: null } } })
  yield* ask("PATCH", `${one}/metadata`, { body: { metadata: {}, machine_version: "old" } })
  yield* ask("POST", `${one}/metadata/c`, { body: { value: "3" } })
  yield* ask("GET", `${one}/metadata/c`)
  yield* ask("GET", `${one}/metadata/d`)
  yield* ask("DELETE", `${one}/metadata/c`)
  const lease = yield* ask("POST", `${one}/lease`, { body: { ttl: 30 } })
  yield* ask("GET", `${one}/lease`)
  yield* ask("POST", `${one}/stop`)
  const headers = { "fly-machine-lease-nonce": String(at(lease.body, "data", "nonce")) }
  yield* ask("DELETE", `${one}/lease`, { headers })
  for (const action of ["cordon", "uncordon", "suspend", "start", "restart", "stop"])
    yield* ask("POST", `${one}/${action}`)
  yield* ask("POST", `${one}/signal`, { body: { signal: "SIGUSR1" } })
  yield* ask("POST", `${one}/start`)
  yield* ask("POST", `${one}/signal`, { body: { signal: "SIGUSR1" } })
  yield* ask("GET", `${one}/ps`)
  yield* ask("GET", `${one}/memory`)
  assert.strictEqual(at((yield* ask("PUT", `${one}/memory`, { body: { limit_mb: 128 } })).body, "limit_mb"), 128)
  yield* ask("PUT", `${one}/memory`, { body: { limit_mb: 10_000 } })
  yield* ask("POST", `${one}/memory/reclaim`, { body: { amount_mb: 10 } })
  yield* ask("GET", `${one}/events?limit=5`)
  yield* ask("GET", `${one}/versions`)
  yield* ask("POST", one, { body: { config: full } })
  yield* api("POST", `/_local/hosts/${id}/lose`, { body: { loss: "unreachable" } })
  yield* ask("GET", one)
  yield* ask("GET", `${ofVolumes}/${volume}`)
  yield* ask("POST", `${one}/stop`)
  yield* api("POST", `/_local/hosts/${id}/restore`)
  yield* ask("GET", "/orgs/personal/machines")
  yield* ask("GET", "/orgs/personal/volumes?limit=1")
  yield* ask("DELETE", `${ofVolumes}/${volume}`)
  yield* ask("DELETE", `${one}?force=true`)
  yield* ask("GET", one)
  yield* ask("DELETE", `${ofVolumes}/${volume}`)
  yield* ask("GET", `${ofMachines}?include_deleted=true`)
  return exchanges
})

it.live("every answer is one that Fly's OpenAPI document describes", () =>
  Effect.gen(function* () {
    const file = yield* Config.String("FLY_OPENAPI_FILE").pipe(Config.withDefault(""))
    const exchanges = yield* tour
    for (const { method, path, status } of exchanges) assert.notStrictEqual(status, 500, `${method} ${path}`)
    if (file === "") {
      yield* Effect.logWarning("left out: set FLY_OPENAPI_FILE to the official document (docs.machines.dev)")
      return
    }
    const say = judge(file)
    assert.deepStrictEqual(
      exchanges.map(say).filter((it) => it !== null),
      []
    )
    assert.isNotNull(say({ method: "GET", path: "/apps/a/machines/b", status: 200, body: { id: 1 } }))
    assert.isNotNull(say({ method: "GET", path: "/apps/a/machines/b", status: 200, body: { odd: "" } }))
  }).pipe(Effect.provide(layer()))
)
