/**
 * A project server as the protocol's rules have it, without process, disk or network: what a volume keeps (`Volume`),
 * what a boot forgets (`Memory`), and the answers.
 */
import { createHash } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Protocol from "../../contract/MachineProtocol.ts"
import type { MemoryR2 } from "../MemoryR2.ts"

export interface Volume {
  project: { readonly id: string; readonly uid: string; readonly deployKey: string } | null
  newestGeneration: number
  /** Of the newest unseal, so that an archive at or below it is refused; 0: never. */
  unsealedBy: number
  /** Of the archive that sealed it; null: open. */
  sealedBy: number | null
  /** Once true, nothing is ever restored over it. */
  ready: boolean
  idleTimeoutSeconds: number | null
  routerApp: string | null
  documents: Map<string, string>
}

export const emptyVolume = (): Volume => ({
  project: null,
  newestGeneration: 0,
  unsealedBy: 0,
  sealedBy: null,
  ready: false,
  idleTimeoutSeconds: null,
  routerApp: null,
  documents: new Map()
})

export interface Response {
  readonly status: number
  readonly body: unknown
}

/** A restore or upload under way. */
interface Transfer {
  readonly key: string
  readonly done: Deferred.Deferred<Response>
}

export interface Memory {
  readonly bootId: string
  /** One entry each. */
  readonly connections: Set<object>
  lastServedAt: number | null
  /** Since when the idle timeout runs, where no client came since: boot, configuration, unseal, resume. */
  awakeSince: number
  internalCalls: number
  transfer: Transfer | null
}

export const freshMemory = (bootId: string, now: number): Memory => ({
  bootId,
  connections: new Set(),
  lastServedAt: null,
  awakeSince: now,
  internalCalls: 0,
  transfer: null
})

/** One running machine, as a call finds it. */
export interface Server {
  readonly volume: Volume
  readonly memory: Memory
  readonly r2: MemoryR2["Service"]
  /** False once this boot is over: what it was about to do does not happen. */
  readonly alive: Effect.Effect<boolean>
  /** The work goes on when the caller is gone, as a server's does. */
  readonly fork: (work: Effect.Effect<void>) => Effect.Effect<void>
  /** Faults of this one call. */
  readonly sealFails: boolean
  readonly restoreFails: boolean
}

/** A call that has not ended by then is answered with 202. */
const answerWithinMs = 1_000
const transferRetries = { times: 2, schedule: Schedule.spaced(1_000) }

const ok = (body: unknown): Response => ({ status: 200, body })
const stale = ({ volume }: Server): Response => ({
  status: 409,
  body: { error: "stale", newest_generation: volume.newestGeneration }
})
const failed = (error: "restore_failed" | "archive_failed", detail: string): Response => ({
  status: 422,
  body: { error, detail }
})

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

const File = Schema.fromJsonString(
  Schema.Struct({ uid: Schema.String, documents: Schema.Array(Schema.Tuple([Schema.String, Schema.String])) })
)
const encodeFile = Schema.encodeSync(File)
const decodeFile = Schema.decodeUnknownOption(File)

/** The database file: every byte of it follows from the documents. */
const fileOf = ({ project, documents }: Volume): Uint8Array =>
  new TextEncoder().encode(encodeFile({ uid: project?.uid ?? "", documents: [...documents].toSorted() }))

/** The documents of a database file; null where it is none. */
export const filed = (bytes: Uint8Array): ReadonlyMap<string, string> | null =>
  Option.match(decodeFile(new TextDecoder().decode(bytes)), {
    onNone: () => null,
    onSome: ({ documents }) => new Map(documents)
  })

/** 503 of the store is tried again, as a server does on its own. */
const patient = <A extends { readonly status: number }>(request: Effect.Effect<A>): Effect.Effect<A> =>
  request.pipe(
    Effect.filterOrFail(
      ({ status }) => status !== 503,
      (answer) => answer
    ),
    Effect.retry(transferRetries),
    Effect.catch((answer) => Effect.succeed(answer))
  )

/** Single flight: the same call joins what runs, another one replaces it. 202 where it takes longer. */
const long = Effect.fnUntraced(function* (
  { memory, alive, fork }: Server,
  key: string,
  work: Effect.Effect<Response>
): Effect.fn.Return<Response> {
  const running = memory.transfer
  const transfer = running?.key === key ? running : { key, done: yield* Deferred.make<Response>() }
  if (transfer !== running) {
    memory.transfer = transfer
    yield* fork(
      Effect.gen(function* () {
        const answer = yield* work
        if (yield* alive) yield* Deferred.succeed(transfer.done, answer)
      })
    )
  }
  const answer = yield* Effect.timeoutOption(Deferred.await(transfer.done), answerWithinMs)
  if (Option.isNone(answer)) return { status: 202, body: { progress: { phase: key, bytes: 0 } } }
  // A success is kept for those who ask again; a failure is told once, and then the same call begins anew.
  if (memory.transfer === transfer && answer.value.status !== 200) memory.transfer = null
  return answer.value
})

const restore = Effect.fnUntraced(function* (
  server: Server,
  generation: number,
  { size, r2_checksum, download_url }: NonNullable<Protocol.ConfigureRequest["restore"]>
): Effect.fn.Return<Response> {
  const { volume, r2, alive } = server
  const { status, body } = yield* patient(r2.get(download_url))
  if (!(yield* alive) || volume.newestGeneration !== generation || volume.ready) return stale(server)
  if (status !== 200) return failed("restore_failed", `the object store answered ${status}`)
  if (server.restoreFails) return failed("restore_failed", "no space left on device")
  if (body.length !== size || sha256(body) !== r2_checksum) {
    return failed("restore_failed", "the object is not what the ledger says")
  }
  const file = decodeFile(new TextDecoder().decode(body))
  if (Option.isNone(file)) return failed("restore_failed", "the database does not pass its integrity check")
  volume.documents = new Map(file.value.documents)
  volume.ready = true
  return ok({ ready: true, restored_bytes: size })
})

const configure = Effect.fnUntraced(function* (server: Server, request: Protocol.ConfigureRequest) {
  const { volume, memory } = server
  const { project_uid, generation } = request
  const foreign = volume.project !== null && volume.project.uid !== project_uid
  if (foreign || generation < volume.newestGeneration) return stale(server)
  volume.project = { id: request.project_id, uid: project_uid, deployKey: request.deploy_key }
  volume.newestGeneration = generation
  volume.idleTimeoutSeconds = request.idle_timeout_seconds ?? null
  volume.routerApp = request.router_app ?? null
  memory.awakeSince = yield* Clock.currentTimeMillis
  if (!volume.ready && request.restore !== undefined) {
    return yield* long(server, `restore ${generation}`, restore(server, generation, request.restore))
  }
  volume.ready = true
  return ok({ ready: true, restored_bytes: 0 })
})

const upload = Effect.fnUntraced(function* (
  server: Server,
  { generation, r2_key, upload_url, headers }: Protocol.ArchiveRequest,
  file: Uint8Array,
  alreadySealed: boolean
): Effect.fn.Return<Response> {
  const { volume, r2, alive } = server
  const { status } = yield* patient(r2.put(upload_url, { headers, body: file }))
  if (!(yield* alive) || volume.newestGeneration !== generation) return stale(server)
  // 412: an earlier attempt of this very upload has stored it, because no two uploads share a key.
  if (status === 200 || status === 412) return ok({ r2_key, r2_checksum: sha256(file), size: file.length })
  // The seal that it found may be of an archive that is committed by now: only an unseal ends that.
  if (!alreadySealed) volume.sealedBy = null
  return failed("archive_failed", `the object store answered ${status}`)
})

const archive = Effect.fnUntraced(function* (server: Server, request: Protocol.ArchiveRequest) {
  const { volume, memory } = server
  const { project_uid, generation, force = false } = request
  const known = volume.project?.uid === project_uid && volume.ready
  if (!known || generation < volume.newestGeneration || generation <= volume.unsealedBy) return stale(server)
  volume.newestGeneration = generation
  if (volume.sealedBy === null && !force) {
    const now = yield* Clock.currentTimeMillis
    const idleSeconds = memory.lastServedAt === null ? null : Math.floor((now - memory.lastServedAt) / 1_000)
    const connections = memory.connections.size
    if (connections > 0 || (idleSeconds !== null && idleSeconds < request.idle_window_seconds)) {
      return { status: 409, body: { error: "busy", connections, idle_seconds: connections > 0 ? 0 : idleSeconds } }
    }
  }
  const alreadySealed = volume.sealedBy !== null
  if (server.sealFails && !alreadySealed) return failed("archive_failed", "the checkpoint stayed busy")
  volume.sealedBy = generation
  memory.connections.clear()
  return yield* long(
    server,
    `upload ${generation} ${request.r2_key}`,
    upload(server, request, fileOf(volume), alreadySealed)
  )
})

const unseal = Effect.fnUntraced(function* (server: Server, { project_uid, generation }: Protocol.UnsealRequest) {
  const { volume, memory } = server
  const sealedByIt = volume.sealedBy !== null && generation <= volume.sealedBy
  if (volume.project?.uid !== project_uid || generation < volume.newestGeneration || sealedByIt) return stale(server)
  volume.newestGeneration = generation
  volume.unsealedBy = generation
  volume.sealedBy = null
  memory.awakeSince = yield* Clock.currentTimeMillis
  return ok({})
})

const settings = (server: Server, { project_uid, generation, idle_timeout_seconds }: Protocol.SettingsRequest) =>
  Effect.sync(() => {
    const { volume } = server
    if (volume.project?.uid !== project_uid || generation < volume.newestGeneration) return stale(server)
    volume.newestGeneration = generation
    volume.idleTimeoutSeconds = idle_timeout_seconds
    return ok({})
  })

const health = ({ volume, memory }: Server): Response =>
  ok({
    status: "ok",
    project_id: volume.project?.id ?? null,
    generation: volume.newestGeneration,
    connections: memory.connections.size,
    sealed: volume.sealedBy !== null
  } satisfies Protocol.Health)

type Handler = (server: Server, body: unknown) => Effect.Effect<Response>

const handler = <A>(
  schema: Schema.ConstraintDecoder<A>,
  handle: (server: Server, request: A) => Effect.Effect<Response>
): Handler => {
  const decode = Schema.decodeUnknownOption(schema)
  return (server, body) => {
    const request = decode(body)
    return Option.isNone(request)
      ? Effect.succeed({ status: 400, body: { error: "bad_request" } })
      : handle(server, request.value)
  }
}

const handlers: Readonly<Record<string, Handler>> = {
  "/internal/configure": handler(Protocol.ConfigureRequest, configure),
  "/internal/archive-to-r2": handler(Protocol.ArchiveRequest, archive),
  "/internal/unseal": handler(Protocol.UnsealRequest, unseal),
  "/internal/settings": handler(Protocol.SettingsRequest, settings),
  "/health": (server) => Effect.succeed(health(server))
}

/** The answer to a call whose bearer was right. */
export const respond = (server: Server, path: string, body: unknown): Effect.Effect<Response> => {
  const handle = handlers[path]
  if (handle === undefined) return Effect.succeed({ status: 404, body: {} })
  const { memory } = server
  return Effect.ensuring(
    Effect.suspend(() => {
      memory.internalCalls += 1
      return handle(server, body)
    }),
    Effect.sync(() => void (memory.internalCalls -= 1))
  )
}
