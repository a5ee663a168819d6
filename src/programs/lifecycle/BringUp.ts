/**
 * What create and wake share once their operation has begun: a machine from the pool or a cold one, one `configure`
 * call that also restores, and the commit. With a pool machine that is one machine call and one statement.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import { leaseOf } from "../../domain/Project.ts"
import type { Lease, Project } from "../../domain/Project.ts"
import { Machines } from "../../services/db/Machines.ts"
import type { Begun, ProjectView } from "../../services/db/Projects.ts"
import { Locks } from "../../services/locks/Locks.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { FlyError } from "../../services/fly/FlyError.ts"
import { MachineError } from "../../services/machine/MachineClient.ts"
import { R2Error } from "../../services/r2/R2.ts"
import { Signals } from "../background/Signals.ts"
import { configure } from "./Configure.ts"
import { committed } from "./Committed.ts"
import { withLease } from "./Lease.ts"
import { backoffMs, coldAnswerMs, machineStartMs, poolAnswerMs, transferLimitMs } from "./limits.ts"
import { coldMachine } from "./Provision.ts"
import type { Step } from "./Steps.ts"
import { brief, runSteps } from "./Steps.ts"

interface State {
  readonly holder: Ref.Ref<Lease>
  readonly project: Project
  readonly archive: ArchiveRow | null
  readonly machine: MachineRow | null
  readonly source: "pool" | "cold"
  readonly configured: boolean
  readonly restoredBytes: number
  readonly view: ProjectView | null
}

export interface BroughtUp {
  readonly view: ProjectView
  readonly source: "pool" | "cold"
  readonly restoredBytes: number
  /** Milliseconds by step. */
  readonly timings: Readonly<Record<string, number>>
}

const gib = 1024 ** 3
/** The download stands beside nothing else, but the database grows and its write-ahead log needs room. */
const volumeGbFor = (archive: ArchiveRow | null, least: number): number =>
  Math.max(least, Math.ceil(((archive?.size ?? 0) * 2 + 64 * 1024 ** 2) / gib))

/** A transfer of the whole archive and one retry of it after a generation was raised. */
const configureLimitMs = (answerMs: number) => (state: State) =>
  2 * (answerMs + transferLimitMs(state.archive?.size ?? 0))

/** A refusal that another machine would not change: what was to be restored is missing or wrong. */
const sameOnAnyMachine = (error: unknown): boolean =>
  error instanceof R2Error || (error instanceof MachineError && error.reason._tag === "RestoreFailed")

/** With autostop at Fly a pool machine may sleep. One that does not start is found out by the call that follows. */
const rouse = (machine: MachineRow) =>
  Effect.gen(function* () {
    const fly = yield* Fly
    if (machine.machineId === null) return
    yield* fly.startMachine(machine.machineId)
    yield* fly.waitForMachine(machine.machineId, machineStartMs)
  }).pipe(Effect.catch((error) => Effect.logInfo("pool machine not started", { machine: machine.name, error })))

/** Tries the claimed machine, then further ones of the pool; leaves `configured` false when the pool has no more. */
const claimAndConfigure = Effect.fnUntraced(function* (state: State) {
  const config = yield* PlaneConfig
  const machines = yield* Machines
  const signals = yield* Signals
  let machine = state.machine
  if (machine === null) return state
  yield* signals.poke("pool")
  const tooLarge = volumeGbFor(state.archive, 0) > machine.volumeSizeGb
  // Bounded by the pool: every turn takes one ready row out of it for good.
  while (machine !== null) {
    const claimed: MachineRow = machine
    if (config.fly.idleSuspend === "fly" && !tooLarge) yield* rouse(claimed)
    const result = tooLarge
      ? null
      : yield* Effect.result(
          configure(state.holder, state.project, claimed, {
            archive: state.archive,
            answerMs: poolAnswerMs,
            attempts: 1
          })
        )
    if (result !== null && result._tag === "Success") {
      return { ...state, machine: claimed, configured: true, restoredBytes: result.success.restored_bytes }
    }
    if (result !== null && (result.failure._tag !== "MachineError" || sameOnAnyMachine(result.failure))) {
      return yield* result.failure
    }
    const reason = result === null ? "its volume is too small for the archive" : result.failure.message
    yield* Effect.logWarning("pool machine discarded", { machine: claimed.name, reason })
    const lease = yield* Ref.get(state.holder)
    if (tooLarge) {
      yield* machines.discard({ name: claimed.name, from: ["assigned"], reason })
      machine = null
    } else {
      machine = yield* machines.claimNext({
        lease,
        discard: claimed.name,
        reason,
        claim: { image: config.fly.image, region: state.project.region }
      })
    }
  }
  yield* signals.poke("discard")
  return { ...state, machine: null }
})

const makeCold = Effect.fnUntraced(function* (state: State) {
  if (state.configured) return state
  const config = yield* PlaneConfig
  const machine = yield* coldMachine(yield* Ref.get(state.holder), {
    region: state.project.region,
    volumeSizeGb: volumeGbFor(state.archive, config.fly.volumeGb)
  })
  return { ...state, machine, source: "cold" as const }
})

const configureCold = Effect.fnUntraced(function* (state: State) {
  if (state.configured || state.machine === null) return state
  const answer = yield* configure(state.holder, state.project, state.machine, {
    archive: state.archive,
    answerMs: coldAnswerMs
  })
  return { ...state, configured: true, restoredBytes: answer.restored_bytes }
})

const commit = Effect.fnUntraced(function* (state: State) {
  const machine = state.machine
  if (machine === null) return yield* Effect.die(new Error("commit without a machine"))
  const view = yield* committed(state.holder, machine.name)
  return { ...state, view }
})

const isCapacity = (error: unknown): boolean => error instanceof FlyError && error.reason._tag === "Capacity"

/** Nothing before the commit is kept: back to dormant, machine rows to the bin. Recorded with when to try again. */
const giveUp = (state: State, cause: Cause.Cause<unknown>) =>
  Effect.gen(function* () {
    const locks = yield* Locks
    const signals = yield* Signals
    const error = Cause.squash(cause)
    const interrupted = Cause.hasInterruptsOnly(cause)
    const wait = isCapacity(error) ? 5_000 : backoffMs(state.project.attempts)
    yield* locks
      .releaseWakeLock(yield* Ref.get(state.holder), {
        error: brief(cause),
        retryAfterMs: interrupted ? null : wait
      })
      .pipe(Effect.catch((failure) => Effect.logWarning("wake not given back, its lease will expire", failure)))
    yield* signals.poke("discard")
  })

const coldLimitMs = 3 * machineStartMs

type Needs = Effect.Services<
  | ReturnType<typeof claimAndConfigure>
  | ReturnType<typeof makeCold>
  | ReturnType<typeof commit>
  | ReturnType<typeof giveUp>
>
type Failure = Effect.Error<
  ReturnType<typeof claimAndConfigure> | ReturnType<typeof makeCold> | ReturnType<typeof commit>
>

const steps: ReadonlyArray<Step<State, Failure, Needs>> = [
  { name: "configure", limitMs: configureLimitMs(10 * poolAnswerMs), run: claimAndConfigure, undo: giveUp },
  { name: "provision", limitMs: coldLimitMs, run: makeCold },
  { name: "configure_cold", limitMs: configureLimitMs(coldAnswerMs), run: configureCold },
  { name: "commit", limitMs: 30_000, run: commit }
]

export const bringUp = Effect.fn("bringUp")(function* (operation: "create" | "wake", begun: Begun) {
  const holder = yield* Ref.make(leaseOf(begun.project))
  const initial: State = {
    holder,
    project: begun.project,
    archive: begun.archive,
    machine: begun.machine,
    source: "pool",
    configured: false,
    restoredBytes: 0,
    view: null
  }
  const { state, timings } = yield* runSteps(operation, steps, initial).pipe(withLease(holder))
  if (state.view === null) return yield* Effect.die(new Error("a bring-up without a commit"))
  const result: BroughtUp = { view: state.view, source: state.source, restoredBytes: state.restoredBytes, timings }
  return result
})
