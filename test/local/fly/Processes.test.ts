import { assert, describe, it } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import { FlyWorld } from "../../../src/local/fly/FlyWorld.ts"
import { LocalMachines } from "../../../src/local/fly/LocalMachines.ts"
import {
  api,
  app,
  at,
  config,
  createMachine,
  createVolume,
  eventually,
  isAlive,
  layer,
  layerAt,
  machines,
  send,
  stateOf,
  temporary,
  volumes,
  wait
} from "./support/fixture.ts"

const portOf = (id: string) =>
  Effect.flatMap(LocalMachines, (local) => Effect.map(local.find(id), (target) => target?.port ?? 0))

const accepting = (id: string) =>
  Effect.flatMap(LocalMachines, (local) => Effect.map(local.autostart(id), (up) => assert.isTrue(up, "not up")))

const ask = (id: string, path: string) =>
  Effect.flatMap(portOf(id), (port) => Effect.map(send(`http://127.0.0.1:${port}${path}`, "GET"), ({ text }) => text))

const json = (text: string): unknown => JSON.parse(text)
const pidOf = (id: string) => Effect.map(ask(id, "/"), (text) => Number(at(json(text), "pid")))

const up = Effect.fnUntraced(function* (more: object = {}, body: object = {}) {
  const made = yield* createMachine(more, body)
  yield* accepting(made.id)
  return { ...made, pid: yield* pidOf(made.id) }
})

describe("machines as processes", () => {
  it.live("know who they are, and nothing of who runs them", () =>
    Effect.gen(function* () {
      const { id, volume } = yield* up({ env: { OWN: "1", PORT: "3000", DATA_DIR: "/data" } })
      const env = at(json(yield* ask(id, "/")), "env")
      assert.strictEqual(at(env, "FLY_MACHINE_ID"), id)
      assert.strictEqual(at(env, "FLY_APP_NAME"), app)
      assert.strictEqual(at(env, "FLY_REGION"), "sjc")
      assert.match(String(at(env, "FLY_PRIVATE_IP")), /^fdaa:/)
      assert.strictEqual(at(env, "OWN"), "1")
      assert.strictEqual(at(env, "MARK"), "from the command")
      assert.strictEqual(at(env, "PORT"), String(yield* portOf(id)))
      assert.include(String(at(env, "DATA_DIR")), volume)
      assert.isUndefined(at(env, "VITEST"))
      assert.isUndefined(at(env, "NODE_ENV"))
    }).pipe(Effect.provide(layer()))
  )

  it.live("suspended they stand still and keep their memory; the proxy wakes them", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { id, pid } = yield* up()
      assert.strictEqual((yield* api("POST", `${machines}/${id}/suspend`)).status, 200)
      yield* wait(id, "suspended")
      yield* eventually(
        "is stopped by the kernel",
        Effect.map(Effect.orDie(fs.readFileString(`/proc/${pid}/stat`)), (stat) => / T /.test(stat))
      )
      yield* accepting(id)
      assert.strictEqual(yield* stateOf(id), "started")
      assert.strictEqual(yield* pidOf(id), pid)
    }).pipe(Effect.provide([layer(), NodeServices.layer]))
  )

  it.live("suspend themselves through their own socket, and reach nobody else through it", () =>
    Effect.gen(function* () {
      const { id } = yield* up()
      assert.strictEqual(yield* ask(id, "/other"), "401")
      assert.strictEqual(yield* ask(id, "/apps"), "401")
      const frozen = yield* Effect.forkChild(ask(id, "/suspend"))
      yield* wait(id, "suspended")
      yield* accepting(id)
      assert.strictEqual(yield* Fiber.join(frozen), "200")
    }).pipe(Effect.provide(layer()))
  )

  it.live("stop by their signal, and by force if they don't listen", () =>
    Effect.gen(function* () {
      const { id, pid } = yield* up()
      yield* ask(id, "/write")
      yield* api("POST", `${machines}/${id}/stop`)
      yield* wait(id, "stopped")
      assert.isFalse(isAlive(pid))
      yield* accepting(id)
      assert.strictEqual(json(yield* ask(id, "/data")), "written stopped")
      const stubborn = yield* pidOf(id)
      yield* ask(id, "/stubborn")
      const child = Number(yield* ask(id, "/child"))
      yield* api("POST", `${machines}/${id}/stop`, { body: { timeout: "200ms" } })
      yield* wait(id, "stopped")
      assert.isFalse(isAlive(stubborn))
      yield* eventually(
        "its children are gone too",
        Effect.sync(() => !isAlive(child))
      )
    }).pipe(Effect.provide(layer()))
  )

  it.live("that end by themselves are stopped, that crash are started again, and both stand in the events", () =>
    Effect.gen(function* () {
      const { id, pid } = yield* up()
      yield* ask(id, "/crash")
      yield* eventually(
        "runs again",
        Effect.map(portOf(id), (port) => port !== 0 && !isAlive(pid))
      )
      yield* accepting(id)
      assert.notStrictEqual(yield* pidOf(id), pid)
      yield* ask(id, "/exit")
      yield* wait(id, "stopped")
      const { body } = yield* api("GET", `${machines}/${id}/events?limit=1`)
      assert.strictEqual(at(body, 0, "type"), "exit")
      assert.strictEqual(at(body, 0, "request", "exit_event", "exit_code"), 0)
    }).pipe(Effect.provide(layer()))
  )

  it.live("that can't be started end as the restart policy says", () =>
    Effect.gen(function* () {
      const made = yield* api("POST", machines, { body: { config: config({ restart: { policy: "no" } }) } })
      const id = String(at(made.body, "id"))
      yield* wait(id, "stopped")
    }).pipe(Effect.provide(layer({ command: () => ({ cmd: "/no/such/program", args: [], env: {} }) })))
  )

  it.live("destroyed they are gone, and their volume may go", () =>
    Effect.gen(function* () {
      const { id, pid, volume } = yield* up()
      assert.strictEqual((yield* api("DELETE", `${machines}/${id}`)).status, 412)
      assert.strictEqual((yield* api("DELETE", `${volumes}/${volume}`)).status, 412)
      assert.strictEqual((yield* api("DELETE", `${machines}/${id}?force=true`)).status, 200)
      yield* wait(id, "destroyed")
      assert.isFalse(isAlive(pid))
      assert.strictEqual((yield* api("DELETE", `${volumes}/${volume}`)).status, 200)
    }).pipe(Effect.provide(layer()))
  )

  it.live("an update ends the old version before the new one starts, on the same volume", () =>
    Effect.gen(function* () {
      const { id, pid, volume } = yield* up()
      yield* ask(id, "/write")
      const mounts = [{ volume, path: "/data" }]
      const update = yield* api("POST", `${machines}/${id}`, {
        body: { config: config({ mounts, env: { NEW: "1" } }) }
      })
      assert.strictEqual(at(update.body, "state"), "replacing")
      yield* wait(id, "started")
      assert.isFalse(isAlive(pid))
      yield* accepting(id)
      assert.strictEqual(at(json(yield* ask(id, "/")), "env", "NEW"), "1")
      assert.strictEqual(json(yield* ask(id, "/data")), "written stopped")
    }).pipe(Effect.provide(layer()))
  )

  it.live("forks and snapshots hold what was on the volume then", () =>
    Effect.gen(function* () {
      const { id, volume } = yield* up()
      yield* ask(id, "/write")
      const snapshot = at((yield* api("POST", `${volumes}/${volume}/snapshots`)).body, "id")
      for (const source of [{ source_volume_id: volume }, { snapshot_id: snapshot }]) {
        const copy = yield* api("POST", volumes, { body: { name: "copy", region: "sjc", ...source } })
        const mounts = [{ volume: at(copy.body, "id"), path: "/data" }]
        const made = yield* api("POST", machines, { body: { config: config({ mounts }) } })
        const other = String(at(made.body, "id"))
        yield* wait(other, "started")
        yield* accepting(other)
        assert.strictEqual(json(yield* ask(other, "/data")), "written")
      }
      assert.strictEqual(json(yield* ask(id, "/data")), "written")
    }).pipe(Effect.provide(layer()))
  )

  it.live("exec runs beside them, ps shows them, and signals reach them", () =>
    Effect.gen(function* () {
      const { id, pid } = yield* up()
      const exec = (command: ReadonlyArray<string>, more: object = {}) =>
        api("POST", `${machines}/${id}/exec`, { body: { command, ...more } })
      const echoed = yield* exec(["sh", "-c", "cat; echo $FLY_MACHINE_ID >&2; exit 3"], { stdin: "hello" })
      assert.deepStrictEqual(echoed.body, { stdout: "hello", stderr: `${id}\n`, exit_code: 3, exit_signal: 0 })
      assert.strictEqual(at((yield* exec(["sh", "-c", "kill -9 $$"])).body, "exit_signal"), 9)
      assert.strictEqual((yield* exec(["sleep", "60"], { timeout: 1 })).status, 408)
      assert.strictEqual((yield* exec(["/no/such/program"])).status, 400)
      const ps = yield* api("GET", `${machines}/${id}/ps`)
      assert.strictEqual(at(ps.body, 0, "pid"), pid)
      yield* api("POST", `${machines}/${id}/signal`, { body: { signal: "SIGTERM" } })
      yield* wait(id, "stopped")
      assert.strictEqual((yield* exec(["true"])).status, 412)
    }).pipe(Effect.provide(layer()))
  )

  it.live("their output is kept, within a limit", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* temporary
      const sizes = yield* Effect.gen(function* () {
        const { id } = yield* up()
        for (let i = 0; i < 5; i++) yield* ask(id, "/noise")
        const log = `${dataDir}/machines/${id}/machine.log`
        yield* eventually("turned over", Effect.orDie(fs.exists(`${log}.1`)))
        // Between two of them there is a moment without the first.
        const stat = (path: string) =>
          fs.stat(path).pipe(
            Effect.map(({ size }) => Number(size)),
            Effect.orElseSucceed(() => 0)
          )
        return [yield* stat(log), yield* stat(`${log}.1`)]
      }).pipe(Effect.provide(layerAt(dataDir, { logLimitBytes: 150_000 })))
      for (const size of sizes) assert.isAtMost(size, 150_000)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("a socket's path that is too long is replaced by a short one, which goes with the machine", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = `${yield* temporary}/${"long".repeat(30)}`
      const socket = yield* Effect.gen(function* () {
        const { id } = yield* up()
        const path = String(at(json(yield* ask(id, "/")), "env", "VALET_FLY_MACHINE_API"))
        assert.isBelow(path.length, 104)
        const frozen = yield* Effect.forkChild(ask(id, "/suspend"))
        yield* wait(id, "suspended")
        yield* accepting(id)
        assert.strictEqual(yield* Fiber.join(frozen), "200")
        return path
      }).pipe(Effect.provide(layerAt(dataDir)))
      assert.isFalse(yield* fs.exists(socket))
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("closing leaves no process, and what ran runs again at the next start", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporary
      const first = yield* Effect.gen(function* () {
        const [running, asleep, stopped] = [yield* up(), yield* up(), yield* up()]
        yield* ask(running.id, "/write")
        yield* api("POST", `${machines}/${asleep.id}/suspend`)
        yield* wait(asleep.id, "suspended")
        yield* api("POST", `${machines}/${stopped.id}/stop`)
        yield* wait(stopped.id, "stopped")
        return { running, asleep, stopped }
      }).pipe(Effect.provide(layerAt(dataDir)))
      for (const { pid } of Object.values(first)) assert.isFalse(isAlive(pid))
      yield* Effect.gen(function* () {
        yield* wait(first.running.id, "started")
        yield* accepting(first.running.id)
        assert.strictEqual(json(yield* ask(first.running.id, "/data")), "written stopped")
        assert.strictEqual(yield* stateOf(first.asleep.id), "stopped")
        assert.strictEqual(yield* stateOf(first.stopped.id), "stopped")
      }).pipe(Effect.provide(layerAt(dataDir)))
    })
  )
})

describe("the proxy's autostart", () => {
  it.live("starts what sleeps, also for many at once, and refuses what is leased or has it off", () =>
    Effect.gen(function* () {
      const local = yield* LocalMachines
      const { id } = yield* up()
      yield* api("POST", `${machines}/${id}/stop`)
      const answers = yield* Effect.all([local.autostart(id), local.autostart(id), local.autostart(id)], {
        concurrency: 3
      })
      assert.deepStrictEqual(answers, [true, true, true])
      yield* api("POST", `${machines}/${id}/stop`)
      yield* wait(id, "stopped")
      const lease = yield* api("POST", `${machines}/${id}/lease`, { body: { ttl: 60 } })
      assert.strictEqual((yield* local.find(id))?.leased, true)
      assert.isFalse(yield* local.autostart(id))
      const nonce = String(at(lease.body, "data", "nonce"))
      yield* api("DELETE", `${machines}/${id}/lease`, { headers: { "fly-machine-lease-nonce": nonce } })
      assert.isTrue(yield* local.autostart(id))
      const off = yield* createMachine({ services: [{ internal_port: 3000, ports: [{ port: 443 }] }] })
      assert.isFalse(yield* local.autostart(off.id))
      assert.isFalse(yield* local.autostart("nobody"))
      assert.strictEqual((yield* local.ofApp(app)).length, 2)
    }).pipe(Effect.provide(layer()))
  )

  it.live("reaches nobody on a host out of reach, and everybody once it is back", () =>
    Effect.gen(function* () {
      const local = yield* LocalMachines
      const { id } = yield* up()
      yield* api("POST", `/_local/hosts/${id}/lose`, { body: { loss: "unreachable" } })
      const shown = yield* api("GET", `${machines}/${id}`)
      assert.strictEqual(at(shown.body, "host_status"), "unreachable")
      assert.isUndefined(at(shown.body, "config"))
      assert.isDefined(at(shown.body, "incomplete_config", "image"))
      assert.isNull((yield* local.find(id))?.port)
      assert.isFalse(yield* local.autostart(id))
      yield* api("POST", `/_local/hosts/${id}/restore`)
      assert.isTrue(yield* local.autostart(id))
    }).pipe(Effect.provide(layer()))
  )

  it.live("a lost machine is gone and its volume kept; a migrated one has another volume with the same data", () =>
    Effect.gen(function* () {
      const lost = yield* up()
      yield* ask(lost.id, "/write")
      yield* api("POST", `/_local/hosts/${lost.id}/lose`, { body: { loss: "machine" } })
      assert.strictEqual((yield* api("GET", `${machines}/${lost.id}`)).status, 404)
      yield* eventually(
        "its process is gone",
        Effect.sync(() => !isAlive(lost.pid))
      )
      const mounts = [{ volume: lost.volume, path: "/data" }]
      const made = yield* api("POST", machines, { body: { config: config({ mounts }) } })
      const id = String(at(made.body, "id"))
      yield* wait(id, "started")
      yield* accepting(id)
      assert.strictEqual(json(yield* ask(id, "/data")), "written")
      const moved = yield* api("POST", `/_local/machines/${id}/migrate`)
      assert.notStrictEqual(at(moved.body, "config", "mounts", 0, "volume"), lost.volume)
      yield* wait(id, "started")
      yield* accepting(id)
      assert.strictEqual(json(yield* ask(id, "/data")), "written")
      assert.strictEqual(at((yield* api("GET", `${volumes}/${lost.volume}`)).body, "state"), "pending_destroy")
    }).pipe(Effect.provide(layer()))
  )
})

it.live("a volume without a machine is a folder that goes after its day", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const dataDir = yield* temporary
    yield* Effect.gen(function* () {
      const id = yield* createVolume()
      yield* eventually("is there", Effect.orDie(fs.exists(`${dataDir}/volumes/${id}`)))
      yield* api("DELETE", `${volumes}/${id}`)
      assert.isTrue(yield* fs.exists(`${dataDir}/volumes/${id}`))
      yield* (yield* FlyWorld).advance(24 * 3_600_000)
      yield* eventually(
        "is gone",
        Effect.map(Effect.orDie(fs.exists(`${dataDir}/volumes/${id}`)), (there) => !there)
      )
    }).pipe(Effect.provide(layerAt(dataDir)))
  }).pipe(Effect.provide(NodeServices.layer))
)
