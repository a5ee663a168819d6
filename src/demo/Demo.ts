/**
 * One project's whole life against a `valet dev` of its own, each step checked: created, written, suspended, resumed,
 * archived, deleted from Fly, woken by a WebSocket with every document, deleted.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Client from "../client/Client.ts"
import * as Documents from "../client/Documents.ts"
import { R2 } from "../services/r2/R2.ts"
import * as R2Live from "../services/r2/R2Live.ts"
import { startDev } from "./DevProcess.ts"
import { isStopped, machineAt, volumesAt } from "./FlyView.ts"

export class DemoFailed extends Schema.TaggedError<DemoFailed>()("DemoFailed", {
  step: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.step}: ${this.detail}`
  }
}

export interface DemoResult {
  readonly ok: true
  readonly steps: ReadonlyArray<{ readonly name: string; readonly ms: number }>
  readonly wake: { readonly source: "pool" | "cold"; readonly timings_ms: Readonly<Record<string, number>> }
}

export interface DemoOptions {
  /** Runs `valet dev`, without flags. */
  readonly dev: ReadonlyArray<string>
  readonly instances: number
  /** Tells a person what happens; nothing where a script reads. */
  readonly say: (line: string) => Effect.Effect<void>
}

const count = 1_000
const key = (index: number) => `doc-${String(index).padStart(4, "0")}`
const content = (index: number) => ({ index, text: `document ${index}` })

/** Second-long timeouts and margins, so that a life fits into half a minute. */
const flags = (dataDir: string, instances: number) => [
  `--data-dir=${dataDir}`,
  `--instances=${instances}`,
  "--port=0",
  "--idle-timeout=2s",
  "--dormancy-threshold=5s",
  "--sweep-interval=1s",
  "--pool-size=2",
  "--margin-scale=0.02"
]

/** Looks twice a second (Fly allows five) until it is so; what it was instead, after a while. */
const until = <A, E, R>(within: Duration.Input, look: Effect.Effect<A, E, R>, is: (seen: A) => boolean) =>
  look.pipe(
    Effect.repeat({
      until: is,
      schedule: Schedule.max([
        Schedule.spaced("500 millis"),
        Schedule.recurs(Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(within)) / 500))
      ])
    })
  )

export const demo = (options: DemoOptions) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const steps: Array<{ readonly name: string; readonly ms: number }> = []
    const step = <A, E, R>(name: string, tell: (result: A) => string, effect: Effect.Effect<A, E, R>) =>
      Effect.gen(function* () {
        const begun = yield* Clock.currentTimeMillis
        const result = yield* effect.pipe(
          Effect.timeout("60 seconds"),
          Effect.mapError(
            (error) => new DemoFailed({ step: name, detail: error instanceof Error ? error.message : String(error) })
          )
        )
        const ms = (yield* Clock.currentTimeMillis) - begun
        steps.push({ name, ms })
        yield* options.say(`  ${name.padEnd(10)} ${String(ms).padStart(6)} ms   ${tell(result)}`)
        return result
      })
    const expect = (is: boolean, detail: string) =>
      is ? Effect.void : Effect.fail(new DemoFailed({ step: "check", detail }))

    const dataDir = yield* fs.makeTempDirectoryScoped({ prefix: "valet-demo-" })
    const dev = yield* step(
      "start",
      (record) => `the whole plane is up at ${record.edge}, ${record.control_planes.length} control plane(s)`,
      startDev([...options.dev, ...flags(dataDir, options.instances)], { ROUTER_REPLAY_TIMEOUT_SECS: "2" })
    )
    const client = yield* Client.make({ baseUrl: dev.edge, token: Redacted.make(dev.control_plane_secret) })
    const fly = { url: dev.fly_api, app: dev.fly_app, token: Redacted.make(dev.fly_token) }

    const created = yield* step(
      "create",
      (project) => `${project.project_id} is ${project.state} on machine ${project.machine_id}`,
      client.projects.create({ payload: {}, headers: {} }).pipe(
        Effect.map(({ body }) => body),
        Effect.tap((project) =>
          expect(project.state === "active" && project.machine_id !== null, `it is ${project.state}`)
        )
      )
    )
    const id = created.project_id
    const machineId = created.machine_id ?? ""
    const socketUrl = `${dev.edge.replace(/^http/, "ws")}/projects/${id}/ws`
    const stateOf = Effect.map(client.projects.get({ params: { id } }), (project) => project.state)
    const readAll = (documents: Documents.Documents) =>
      Effect.forEach(
        Array.from({ length: count }, (_, index) => index),
        (index) => documents.get(key(index)),
        {
          concurrency: "unbounded"
        }
      ).pipe(
        Effect.tap((all) =>
          expect(
            all.every(({ value }, index) => JSON.stringify(value) === JSON.stringify(content(index))),
            "a document is missing or differs"
          )
        )
      )

    yield* step(
      "write",
      () => `${count} documents acknowledged and read back over one WebSocket`,
      Effect.scoped(
        Effect.gen(function* () {
          const documents = yield* Documents.connect(socketUrl)
          yield* Effect.forEach(
            Array.from({ length: count }, (_, index) => index),
            (index) => documents.put(key(index), content(index)),
            { concurrency: "unbounded" }
          )
          yield* readAll(documents)
        })
      )
    )
    const volumeId = (yield* machineAt(fly, machineId)).volumeId

    yield* step(
      "suspend",
      () => "nobody is connected: the machine suspended itself, its process is stopped",
      Effect.gen(function* () {
        const machine = yield* until("20 seconds", machineAt(fly, machineId), ({ state }) => state === "suspended")
        yield* expect(machine.state === "suspended", `the machine is ${machine.state}`)
        yield* expect(yield* isStopped(machineId), "its process is not stopped")
      })
    )

    yield* step(
      "resume",
      () => "a request resumed it and was answered",
      Effect.scoped(
        Effect.gen(function* () {
          const documents = yield* Documents.connect(socketUrl)
          const first = yield* documents.get(key(0))
          yield* expect(first.version > 0, "the first document is gone")
        })
      )
    )

    const objects = R2Live.layerFrom({
      endpoint: dev.s3.endpoint,
      bucket: dev.s3.bucket,
      accessKeyId: dev.s3.access_key_id,
      secretAccessKey: Redacted.make(dev.s3.secret_access_key)
    })
    yield* step(
      "archive",
      (archived) => `idle: archived by the sweep, ${archived.size} bytes in S3 with the recorded SHA-256`,
      Effect.gen(function* () {
        const state = yield* until("40 seconds", stateOf, (seen) => seen === "dormant")
        yield* expect(state === "dormant", `the project is ${state}`)
        const { events } = yield* client.owner.events({ params: { id }, query: {} })
        const told = events.find(({ kind }) => kind === "archived")?.detail["r2_checksum"]
        const r2 = yield* R2
        const [object] = yield* r2.list("projects/")
        const stored = yield* r2.checksum(object?.key ?? "")
        yield* expect(
          stored.sha256 === told,
          `the object's SHA-256 is ${stored.sha256}, the event says ${String(told)}`
        )
        return stored
      }).pipe(Effect.provide(objects))
    )
    yield* step(
      "release",
      () => "machine and volume are gone at Fly: the project costs nothing",
      Effect.gen(function* () {
        const gone = Effect.gen(function* () {
          const machine = yield* machineAt(fly, machineId)
          const volumes = yield* volumesAt(fly)
          return machine.state === "destroyed" && !volumes.includes(volumeId ?? "")
        })
        yield* expect(yield* until("40 seconds", gone, (seen) => seen), "they are still there")
      })
    )

    const wake = yield* step(
      "wake",
      ({ source, timings_ms }) => `a WebSocket connect woke it from the ${source} in ${timings_ms["connect"]} ms`,
      Effect.scoped(
        Effect.gen(function* () {
          const begun = yield* Clock.currentTimeMillis
          const documents = yield* Documents.connect(socketUrl)
          const connect = (yield* Clock.currentTimeMillis) - begun
          yield* readAll(documents)
          const { events } = yield* client.owner.events({ params: { id }, query: {} })
          const started = events.find(({ kind }) => kind === "wake_begun")
          const woken = events.find(({ kind }) => kind === "woken")
          const claimed = started?.detail["machine"] ?? null
          const source =
            claimed !== null && claimed === woken?.detail["machine"] ? ("pool" as const) : ("cold" as const)
          const wakeMs = Date.parse(woken?.at ?? "") - Date.parse(started?.at ?? "")
          return { source, timings_ms: { connect, wake: wakeMs } }
        })
      )
    )
    yield* options.say(`                         every one of the ${count} documents is there`)

    yield* step(
      "delete",
      () => "deleted: it answers 404",
      Effect.gen(function* () {
        yield* client.owner.delete({ params: { id } })
        const after = yield* Effect.result(client.projects.get({ params: { id } }))
        yield* expect(after._tag === "Failure", "it still answers")
      })
    )
    const result: DemoResult = { ok: true, steps, wake }
    return result
  }).pipe(Effect.scoped)

export const sayAloud = (line: string) => Console.log(line)
