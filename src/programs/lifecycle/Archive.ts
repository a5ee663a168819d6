/**
 * Putting a project to rest: its machine seals and uploads the database, the plane reads the object back and compares,
 * then commits, and only then do machine and volume go. Until the commit the project can be woken by taking the
 * operation over; a refused, cut or failed archive ends with the project active and unsealed.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import { Margins } from "../../config/Margins.ts"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { archiveKey } from "../../domain/Archive.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import { holds, leaseOf } from "../../domain/Project.ts"
import type { Lease, Project } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { FlyError } from "../../services/fly/FlyError.ts"
import { MachineClient, MachineError } from "../../services/machine/MachineClient.ts"
import { R2 } from "../../services/r2/R2.ts"
import { Signals } from "../background/Signals.ts"
import * as Ids from "../Ids.ts"
import { lookAgain } from "./Committed.ts"
import { whileMoving } from "./Configure.ts"
import { raising } from "./Generation.ts"
import { lost, withLease } from "./Lease.ts"
import { begunWithMachine, mineAfterAll } from "./Begin.ts"
import { archiveLimitMs, backoffMs, coldAnswerMs, leaseMs, machineCallMs, machineStartMs, urlLifeMs } from "./limits.ts"
import type { Step } from "./Steps.ts"
import { brief, runSteps } from "./Steps.ts"
import { unseal } from "./Unseal.ts"

/** What was read back is not what the machine says it uploaded: nothing is deleted, the archive is tried again. */
export class NotVerified extends Schema.TaggedError<NotVerified>()("NotVerified", { detail: Schema.String }) {
  override get message() {
    return `archive not verified: ${this.detail}`
  }
  get retryable(): boolean {
    return true
  }
}

interface State {
  readonly holder: Ref.Ref<Lease>
  readonly project: Project
  readonly machine: MachineRow
  readonly r2Key: string | null
  readonly uploaded: { readonly checksum: string; readonly size: number } | null
}

/** Over the private network only started machines answer; nothing but the API wakes them there. */
const start = Effect.fnUntraced(function* (state: State) {
  const fly = yield* Fly
  const id = state.machine.machineId
  if (id === null) return yield* new NotVerified({ detail: "the project has no machine at the moment" })
  const machine = yield* fly.getMachine(id)
  if (machine.state !== "started") {
    yield* fly.startMachine(id)
    yield* fly.waitForMachine(id, machineStartMs)
  }
  return state
})

/** The row stands before its URL is signed: an object that nobody names can't come into being. */
const record = Effect.fnUntraced(function* (state: State) {
  const lease = yield* Ref.get(state.holder)
  const r2Key = archiveKey(state.project.uid, lease.generation, yield* Ids.archiveSuffix)
  const recorded = yield* (yield* Projects).startUpload({
    lease,
    r2Key,
    urlExpiresInMs: urlLifeMs(archiveLimitMs(state.machine.volumeSizeGb))
  })
  return recorded ? { ...state, r2Key } : yield* lost(lease)
})

const upload = (idleMs: number, force: boolean) =>
  Effect.fnUntraced(function* (state: State) {
    const client = yield* MachineClient
    const r2 = yield* R2
    const r2Key = state.r2Key ?? ""
    const limitMs = archiveLimitMs(state.machine.volumeSizeGb)
    const url = yield* r2.presignPut(r2Key, Math.ceil(urlLifeMs(limitMs) / 1_000))
    const answer = yield* raising(state.holder, (lease) =>
      whileMoving(state.machine.name, "archive-to-r2", coldAnswerMs, state.machine.volumeSizeGb * 1024 ** 3, (watch) =>
        client.archiveToR2(
          state.machine,
          {
            project_uid: state.project.uid,
            generation: lease.generation,
            r2_key: r2Key,
            upload_url: url.url,
            headers: url.headers,
            idle_window_seconds: state.project.settings.dormancyThresholdSeconds ?? Math.floor(idleMs / 1_000),
            ...(force ? { force } : {})
          },
          { limitMs, onProgress: watch }
        )
      )
    )
    return { ...state, uploaded: { checksum: answer.r2_checksum, size: answer.size } }
  })

const verify = Effect.fnUntraced(function* (state: State) {
  const stored = yield* (yield* R2).checksum(state.r2Key ?? "")
  const told = state.uploaded
  if (told === null || stored.size !== told.size || stored.sha256 !== told.checksum) {
    return yield* new NotVerified({
      detail: `the machine sent ${told?.size ?? 0} bytes, the store has ${stored.size} bytes with another content`
    })
  }
  return state
})

/** After an unknown outcome the row tells; an abort is only sent with a generation that a late commit can't have. */
const commit = Effect.fnUntraced(function* (state: State) {
  const projects = yield* Projects
  const { router } = yield* PlaneConfig
  const { routeTtlMs } = yield* Margins
  const lease = yield* Ref.get(state.holder)
  const once = projects.commitArchive({
    lease,
    r2Key: state.r2Key ?? "",
    r2Checksum: state.uploaded?.checksum ?? "",
    size: state.uploaded?.size ?? 0,
    machineDeleteAfterMs: routeTtlMs + router.replayTimeoutMs
  })
  const look = Effect.gen(function* () {
    const view = Option.getOrNull(yield* projects.find(lease.projectId))
    if (view === null) return false
    if (view.project.state === "dormant" && view.project.generation === lease.generation) return true
    return holds(view.project, lease) ? yield* once : false
  })
  const done = yield* once.pipe(
    Effect.catch((error) => Effect.andThen(Effect.logWarning("archive commit: looking at the row", error), look)),
    Effect.retry(lookAgain),
    Effect.flatMap((committed) => (committed ? Effect.succeed(true) : look))
  )
  if (!done) return yield* lost(lease)
  yield* (yield* Signals).poke("discard")
  return state
})

/** What the machine's replacement cures: a backoff would only put off that replacement, which respects it. */
const isOfTheMachine = (error: unknown): boolean =>
  error instanceof FlyError || (error instanceof MachineError && error.reason._tag === "Unreachable")

/** First the row (generation + 1), then the unseal with that generation. */
const abort = (state: State, cause: Cause.Cause<unknown>) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const error = Cause.squash(cause)
    const busy = error instanceof MachineError && error.reason._tag === "Busy" ? error.reason : null
    const interrupted = Cause.hasInterruptsOnly(cause)
    const lease = yield* Ref.get(state.holder)
    const view = yield* projects.abortArchive({
      projectId: state.project.projectId,
      by: { _tag: "Holder", lease },
      idleSeconds: busy === null ? null : busy.idleSeconds,
      backoffMs: busy !== null || interrupted || isOfTheMachine(error) ? null : backoffMs(state.project.attempts + 4),
      // In use is no failure.
      error: busy === null ? brief(cause) : null
    })
    if (view !== null && state.r2Key !== null && busy === null) {
      // An instance that stops has little time; a server that stays sealed is unsealed by its next request.
      yield* unseal(view, interrupted ? 1_000 : machineCallMs)
    }
  }).pipe(Effect.catch((error) => Effect.logWarning("archive not given back, its lease will expire", error)))

type Failure = Effect.Error<
  | ReturnType<typeof start>
  | ReturnType<typeof record>
  | ReturnType<ReturnType<typeof upload>>
  | ReturnType<typeof verify>
  | ReturnType<typeof commit>
>
type Needs = Effect.Services<
  | ReturnType<typeof start>
  | ReturnType<typeof record>
  | ReturnType<ReturnType<typeof upload>>
  | ReturnType<typeof verify>
  | ReturnType<typeof commit>
  | ReturnType<typeof abort>
>

const transfer = (state: State) => archiveLimitMs(state.machine.volumeSizeGb) + coldAnswerMs

const steps = (idleMs: number, force: boolean): ReadonlyArray<Step<State, Failure, Needs>> => [
  { name: "start", limitMs: 2 * machineStartMs, run: start, undo: abort },
  { name: "record", limitMs: 30_000, run: record },
  { name: "upload", limitMs: transfer, run: upload(idleMs, force) },
  { name: "verify", limitMs: transfer, run: verify },
  { name: "commit", limitMs: 60_000, run: commit }
]

export type ArchiveOutcome =
  | { readonly _tag: "Archived"; readonly bytes: number; readonly timings: Readonly<Record<string, number>> }
  /** The server is in use; the row's last_active_at follows what it said. */
  | { readonly _tag: "Busy"; readonly connections: number; readonly idleSeconds: number }
  /** Not active, not idle, pinned, in another operation, or waiting after a failure. */
  | { readonly _tag: "Refused"; readonly view: ProjectView | null }

export const archive = Effect.fn("archive")(function* (projectId: ProjectId, options: { readonly force: boolean }) {
  const { dormancy } = yield* PlaneConfig
  const projects = yield* Projects
  const operationId = yield* Ids.operationId
  const begun = yield* projects
    .beginArchive({ projectId, operationId, leaseMs, idleMs: dormancy.thresholdMs, force: options.force })
    .pipe(mineAfterAll(projectId, operationId, begunWithMachine))
  if (begun._tag === "Refused") return { _tag: "Refused", view: begun.view } satisfies ArchiveOutcome
  const holder = yield* Ref.make(leaseOf(begun.project))
  const initial: State = { holder, project: begun.project, machine: begun.machine, r2Key: null, uploaded: null }
  return yield* runSteps("archive", steps(dormancy.thresholdMs, options.force), initial).pipe(
    withLease(holder),
    Effect.map(({ state, timings }): ArchiveOutcome => ({
      _tag: "Archived",
      bytes: state.uploaded?.size ?? 0,
      timings
    })),
    Effect.catchReason("MachineError", "Busy", (busy) =>
      Effect.succeed<ArchiveOutcome>({
        _tag: "Busy",
        connections: busy.connections,
        idleSeconds: busy.idleSeconds
      })
    )
  )
})
