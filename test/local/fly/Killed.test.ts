/** The local Fly as a process of its own that is killed without a goodbye. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { fileURLToPath } from "node:url"
import { LocalFly } from "../../../src/local/fly/LocalFly.ts"
import {
  api,
  app,
  at,
  createMachine,
  eventually,
  isAlive,
  layerAt,
  machines,
  stateOf,
  temporary,
  token,
  wait
} from "./support/fixture.ts"

const server = fileURLToPath(new URL("support/serve.ts", import.meta.url))

const serving = Effect.fnUntraced(function* (dataDir: string) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const handle = yield* spawner.spawn(
    ChildProcess.make(process.execPath, [server, dataDir], { extendEnv: true, killSignal: "SIGKILL" })
  )
  const found = yield* Deferred.make<string>()
  const output: Array<string> = []
  yield* handle.all.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => {
      output.push(line)
      return line.startsWith("url ") ? Deferred.succeed(found, line.slice(4)) : Effect.void
    }),
    Effect.ignore,
    Effect.andThen(Deferred.succeed(found, "")),
    Effect.forkScoped
  )
  const url = yield* Deferred.await(found)
  assert.isNotEmpty(url, output.join("\n"))
  const layer = Layer.succeed(LocalFly, { url, app, token: Redacted.make(token) })
  return { pid: Number(handle.pid), layer }
})

/** Of all processes, those that this data folder's machines run in. */
const programsIn = Effect.fnUntraced(function* (dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  const pids: Array<number> = []
  for (const entry of yield* fs.readDirectory("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue
    const read = (name: string) => Effect.orElseSucceed(fs.readFileString(`/proc/${entry}/${name}`), () => "")
    if ((yield* read("environ")).includes(`DATA_DIR=${dataDir}`) && !/\) Z /.test(yield* read("stat"))) {
      pids.push(Number(entry))
    }
  }
  return pids
})

it.live("killed, it leaves its machines; the next one ends them, starts them again, and nothing is there twice", () =>
  Effect.gen(function* () {
    const dataDir = yield* temporary
    const first = yield* serving(dataDir)
    const made = yield* Effect.gen(function* () {
      const [running, asleep] = [yield* createMachine(), yield* createMachine()]
      yield* api("POST", `${machines}/${asleep.id}/suspend`)
      yield* wait(asleep.id, "suspended")
      return { running, asleep }
    }).pipe(Effect.provide(first.layer))
    const before = yield* programsIn(dataDir)
    assert.strictEqual(before.length, 2)
    process.kill(first.pid, "SIGKILL")
    yield* eventually(
      "is dead",
      Effect.sync(() => !isAlive(first.pid))
    )

    yield* Effect.gen(function* () {
      yield* wait(made.running.id, "started")
      for (const pid of before) assert.isFalse(isAlive(pid))
      assert.strictEqual((yield* programsIn(dataDir)).length, 1)
      assert.strictEqual(yield* stateOf(made.asleep.id), "stopped")
      assert.strictEqual(
        at((yield* api("GET", `/v1/apps/${app}/volumes/${made.running.volume}`)).body, "attached_machine_id"),
        made.running.id
      )
    }).pipe(Effect.provide(layerAt(dataDir)))
    assert.deepStrictEqual(yield* programsIn(dataDir), [])
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

it.live("of a machine whose first process is dead too, the rest of its group is ended", () =>
  Effect.gen(function* () {
    const dataDir = yield* temporary
    const first = yield* serving(dataDir)
    yield* createMachine().pipe(Effect.provide(first.layer))
    const [leader = 0] = yield* programsIn(dataDir)
    // Its handler may not be there yet; a second signal is a second child.
    yield* eventually(
      "has a child",
      Effect.gen(function* () {
        process.kill(leader, "SIGWINCH")
        return (yield* programsIn(dataDir)).length > 1
      })
    )
    process.kill(first.pid, "SIGKILL")
    process.kill(leader, "SIGKILL")
    const rest = (yield* programsIn(dataDir)).filter((pid) => pid !== leader)
    assert.isNotEmpty(rest)
    yield* eventually(
      "both are dead",
      Effect.sync(() => !isAlive(first.pid) && !isAlive(leader))
    )
    yield* Effect.void.pipe(Effect.provide(layerAt(dataDir)))
    for (const pid of rest) assert.isFalse(isAlive(pid))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

it.live("a process that has got a leftover's number is not touched", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const dataDir = yield* temporary
    const stranger = yield* spawner.spawn(ChildProcess.make("sleep", ["1000"], { killSignal: "SIGKILL" }))
    yield* fs.makeDirectory(`${dataDir}/machines/0123456789abcd`, { recursive: true })
    const mark = { pid: Number(stranger.pid), startedAt: "12345" }
    yield* fs.writeFileString(
      `${dataDir}/machines/0123456789abcd/process.json`,
      JSON.stringify({ mark, machine: "0123456789abcd" })
    )
    yield* Effect.void.pipe(Effect.provide(layerAt(dataDir)))
    assert.isTrue(yield* stranger.isRunning)
    assert.isFalse(yield* fs.exists(`${dataDir}/machines/0123456789abcd/process.json`))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

it.live("a state that can't be read is an error, not an empty Fly", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const dataDir = yield* temporary
    yield* fs.writeFileString(`${dataDir}/fly.json`, "{")
    const error = yield* Effect.flip(Effect.void.pipe(Effect.provide(layerAt(dataDir))))
    assert.strictEqual(error._tag, "LocalFlyError")
    assert.strictEqual(yield* fs.readFileString(`${dataDir}/fly.json`), "{")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
