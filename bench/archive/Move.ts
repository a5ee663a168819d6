/** One database's way onto a volume and off it again, by the machine protocol, with what the two calls took. */
import { readFileSync } from "node:fs"
import { performance } from "node:perf_hooks"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Protocol from "../../src/contract/MachineProtocol.ts"
import { BenchFailed, failed } from "../harness/Bench.ts"

/** A database that lies in the store. */
export const Stored = Schema.Struct({ size: Schema.Int, sha256: Schema.String, crc32: Schema.Int })
export type Stored = typeof Stored.Type

export const secret = "bench-secret-0123456789-0123456789"
/** Between two polls of a call that answered 202, as the plane has it. */
const poll = "200 millis"
const limit = "2 minutes"

const send = (url: string, init: RequestInit) =>
  Effect.tryPromise({
    try: async (signal) => {
      const answer = await fetch(url, { ...init, signal })
      return { status: answer.status, text: await answer.text() }
    },
    catch: failed(url)
  })

/** Until it is done; milliseconds. */
const call = <S extends Schema.ConstraintDecoder<unknown>>(response: S, port: number, name: string, request: object) =>
  Effect.gen(function* () {
    const headers = { authorization: `Bearer ${secret}` }
    const ask = send(`http://127.0.0.1:${port}/internal/${name}`, {
      method: "POST",
      headers,
      body: JSON.stringify(request)
    })
    const begun = performance.now()
    let answer = yield* ask
    while (answer.status === 202) {
      yield* Effect.sleep(poll)
      answer = yield* ask
    }
    const ms = performance.now() - begun
    if (answer.status !== 200) return yield* new BenchFailed({ detail: `${name}: ${answer.status} ${answer.text}` })
    const value = yield* Effect.mapError(
      Schema.decodeEffect(Schema.fromJsonString(response))(answer.text),
      failed(name)
    )
    return { ms, value }
  }).pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => Effect.fail(new BenchFailed({ detail: `${name} took more than ${limit}` }))
    })
  )

const Status = Schema.fromJsonString(
  Schema.Struct({ received: Schema.Struct({ size: Schema.Int, crc32: Schema.Int }), cpuMs: Schema.Finite })
)
const decodeStatus = Schema.decodeUnknownEffect(Status)

const statusOf = (store: number) =>
  send(`http://127.0.0.1:${store}/status`, {}).pipe(
    Effect.flatMap(({ text }) => decodeStatus(text)),
    Effect.mapError(failed("the object store"))
  )

/** The most that it ever had resident, what it shares included. */
const peakBytes = (pid: number) =>
  Effect.try({
    try: () => Number(/^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024,
    catch: failed("its memory")
  })

export interface Moved {
  readonly restoreMs: number
  readonly archiveMs: number
  readonly peakBytes: number
  /** Of the store's core, 0 to 1, in the direction where it did more. */
  readonly storeCpu: number
}

/** Of a server that never held a project; fails unless what comes back is what went there. */
export const move = (server: { readonly port: number; readonly pid: number }, store: number, key: string, it: Stored) =>
  Effect.gen(function* () {
    const url = `http://127.0.0.1:${store}/${key}`
    const before = yield* statusOf(store)
    const configure: Protocol.ConfigureRequest = {
      project_id: "bench",
      project_uid: "uid",
      deploy_key: "deploy-key",
      generation: 1,
      restore: { r2_key: key, r2_checksum: it.sha256, size: it.size, download_url: url }
    }
    const restored = yield* call(Protocol.ConfigureResponse, server.port, "configure", configure)
    if (restored.value.restored_bytes !== it.size) {
      return yield* new BenchFailed({ detail: `${restored.value.restored_bytes} of ${it.size} bytes were restored` })
    }
    const between = yield* statusOf(store)
    const request: Protocol.ArchiveRequest = {
      project_uid: "uid",
      generation: 2,
      r2_key: key,
      upload_url: url,
      headers: {},
      idle_window_seconds: 0,
      force: true
    }
    const archived = yield* call(Protocol.ArchiveResponse, server.port, "archive-to-r2", request)
    const { received, ...after } = yield* statusOf(store)
    const same =
      archived.value.r2_checksum === it.sha256 &&
      archived.value.size === it.size &&
      received.size === it.size &&
      received.crc32 === it.crc32
    if (!same)
      return yield* new BenchFailed({ detail: `another database came back: ${JSON.stringify(archived.value)}` })
    const moved: Moved = {
      restoreMs: restored.ms,
      archiveMs: archived.ms,
      peakBytes: yield* peakBytes(server.pid),
      storeCpu: Math.max((between.cpuMs - before.cpuMs) / restored.ms, (after.cpuMs - between.cpuMs) / archived.ms)
    }
    return moved
  })
