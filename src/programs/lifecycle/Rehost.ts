/**
 * The project's data is on its volume, but its machine can't serve it: another machine for the same volume, or for a
 * fork of it where the volume's host is full. The source of a fork is kept until the commit. Where machine and volume
 * are both confirmed gone the project's data is unavailable, and only an operator decides what is served next.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import type { MachineRow } from "../../domain/Machine.ts"
import { leaseOf } from "../../domain/Project.ts"
import type { Lease, Project } from "../../domain/Project.ts"
import { Machines } from "../../services/db/Machines.ts"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Fly, softDeleted } from "../../services/fly/Fly.ts"
import { FlyError, Transient } from "../../services/fly/FlyError.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { Signals } from "../background/Signals.ts"
import * as Ids from "../Ids.ts"
import { begunWithMachine, mineAfterAll } from "./Begin.ts"
import { committed } from "./Committed.ts"
import { configure } from "./Configure.ts"
import { destroyed, volumeGone } from "./Gone.ts"
import { withLease } from "./Lease.ts"
import { backoffMs, coldAnswerMs, leaseMs, machineCallMs, machineStartMs } from "./limits.ts"
import type { VolumeSource } from "./Provision.ts"
import { coldMachine, provision } from "./Provision.ts"
import type { Step } from "./Steps.ts"
import { brief, runSteps } from "./Steps.ts"

/** Neither the machine nor its volume exists any more, confirmed; or the volume is blank. */
export class DataGone extends Schema.TaggedError<DataGone>()("DataGone", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
  get retryable(): boolean {
    return false
  }
}

interface State {
  readonly holder: Ref.Ref<Lease>
  readonly project: Project
  /** The row that is being rehosted. */
  readonly old: MachineRow
  readonly source: VolumeSource
  /** Where the data is served from next: the same row with another machine, or a fork's row. */
  readonly next: MachineRow | null
  readonly view: ProjectView | null
}

/** Fly is of two minds, and nothing is decided on that. */
const undecided = (detail: string) =>
  Effect.fail(new FlyError({ operation: "rehost", reason: new Transient({ detail }) }))

/** A migration keeps the machine's id and changes its volume's: the ledger follows before anything is decided. */
const followedByMachine = Effect.fnUntraced(function* (row: MachineRow) {
  if (row.machineId === null) return row
  const machine = yield* (yield* Fly)
    .getMachine(row.machineId)
    .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
  if (machine === null || machine.volumeId === null || machine.volumeId === row.volumeId) return row
  const { volumeId, privateIp } = machine
  yield* (yield* Machines).observe([{ machineId: row.machineId, state: null, volumeId, privateIp }])
  return { ...row, volumeId, privateIp: privateIp ?? row.privateIp }
})

/** One that nobody saw before the machine went, too: then the data is on another volume of the same name. */
const followed = Effect.fnUntraced(function* (before: MachineRow) {
  const fly = yield* Fly
  const row = yield* followedByMachine(before)
  const { volumeId } = row
  if (volumeId === null) return row
  const volume = yield* fly
    .getVolume(volumeId)
    .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
  if (volume !== null && !softDeleted.has(volume.state)) return row
  const listed = yield* fly.listVolumes
  // Every machine has a volume.
  if (listed.length === 0 && (yield* fly.listMachines).length > 0) return yield* undecided("no volume is listed at all")
  const namesakes = listed.filter(({ id, name }) => name === row.name && id !== volumeId)
  const newest = namesakes.toSorted((a, b) => b.createdAt - a.createdAt)[0]
  if (newest === undefined) return row
  const { id, region } = newest
  const written = yield* (yield* Machines).recordVolume(row.name, { volumeId: id, region })
  if (row.project !== null) {
    const detail = { machine: row.name, from: volumeId, to: id }
    yield* (yield* Projects).record({ projectId: row.project, kind: "volume_moved", detail })
  }
  return written ?? row
})

/**
 * A create for this row that was given up without an answer may have come true late, once the volume was free: the row
 * knows another machine, or none, and this one holds the volume. It goes as the old one does. False: it is still there.
 */
const lateOneGone = Effect.fnUntraced(function* (old: MachineRow) {
  if (old.volumeId === null) return true
  const fly = yield* Fly
  const { attachedMachineId: machineId } = yield* fly.getVolume(old.volumeId)
  if (machineId === null || machineId === old.machineId) return true
  const machine = yield* fly
    .getMachine(machineId)
    .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
  if (machine === null || machine.name !== old.name) return true
  yield* Effect.logWarning("a machine that was given up came late and holds the volume: it is deleted", { machineId })
  return yield* destroyed({ ...old, machineId, privateIp: machine.privateIp })
})

/** A fork or a snapshot needs nothing of the old machine; a rehost in place first has it gone for certain. */
const clear = Effect.fnUntraced(function* (before: State) {
  if (before.source !== null) return before
  const old = yield* followed(before.old)
  const state = { ...before, old }
  if (old.volumeId === null || (yield* volumeGone(old.volumeId))) {
    // No single listing decides either.
    if ((yield* followed(old)).volumeId !== old.volumeId) return yield* undecided(`the volume of ${old.name} moved`)
    if (yield* destroyed(old)) {
      yield* (yield* Machines).clearMachine(yield* Ref.get(state.holder), old.name)
      return yield* new DataGone({ detail: `machine and volume of ${old.name} are gone` })
    }
    return yield* undecided(`volume ${old.volumeId} is missing while its machine is not confirmed gone`)
  }
  if (old.machineId === null) return { ...state, next: old }
  if (!(yield* lateOneGone(old)) || !(yield* destroyed(old))) {
    return yield* undecided(`machine ${old.machineId} is not confirmed gone: two machines must not serve one project`)
  }
  const lease = yield* Ref.get(state.holder)
  yield* (yield* Machines).clearMachine(lease, old.name)
  return { ...state, next: { ...old, machineId: null, privateIp: null } }
})

const hostIsFull = (error: unknown): boolean =>
  error instanceof FlyError &&
  error.reason._tag === "Capacity" &&
  (error.reason.scope === "volume_placement" || error.reason.scope === "host")

const make = Effect.fnUntraced(function* (state: State) {
  const lease = yield* Ref.get(state.holder)
  const elsewhere = (source: VolumeSource) =>
    coldMachine(lease, { region: state.old.region, volumeSizeGb: state.old.volumeSizeGb, source })
  if (state.source !== null) return { ...state, next: yield* elsewhere(state.source) }
  // As the ledger has it by now: done again, this finds the machine that it made.
  const next = (yield* (yield* Machines).find(state.old.name)) ?? state.old
  const made = yield* Effect.result(provision(next))
  if (made._tag === "Success") return { ...state, next: made.success }
  if (!hostIsFull(made.failure) || next.volumeId === null) return yield* made.failure
  yield* Effect.logWarning("the volume's host is full: rehosting on a fork", { machine: next.name })
  return { ...state, next: yield* elsewhere({ sourceVolumeId: next.volumeId }) }
})

/**
 * Without restore: the data is there, and the server says so before it is configured, because it would begin an empty
 * project on a blank volume. A fork of a sealed volume is sealed, so it is opened with this generation.
 */
const settle = Effect.fnUntraced(function* (state: State) {
  const next = state.next ?? state.old
  const { project_id } = yield* (yield* MachineClient).health(next, { limitMs: coldAnswerMs })
  if (project_id !== state.project.projectId) {
    const detail = `the volume of ${next.name} holds ${project_id === null ? "no project" : "another project"}`
    return next.name === state.old.name
      ? yield* new DataGone({ detail })
      : yield* new FlyError({ operation: "rehost", reason: new Transient({ detail }) })
  }
  yield* configure(state.holder, state.project, next, { archive: null, answerMs: coldAnswerMs })
  const lease = yield* Ref.get(state.holder)
  yield* (yield* MachineClient).unseal(
    next,
    { project_uid: state.project.uid, generation: lease.generation },
    { limitMs: machineCallMs }
  )
  return state
})

const commit = Effect.fnUntraced(function* (state: State) {
  const view = yield* committed(state.holder, (state.next ?? state.old).name)
  yield* (yield* Signals).poke("discard")
  return { ...state, view }
})

const giveUp = (state: State, cause: Cause.Cause<unknown>) =>
  Effect.gen(function* () {
    const error = Cause.squash(cause)
    yield* (yield* Projects).failRehost({
      lease: yield* Ref.get(state.holder),
      error: brief(cause),
      retryAfterMs: Cause.hasInterruptsOnly(cause) ? 0 : backoffMs(state.project.attempts),
      dataUnavailable: error instanceof DataGone
    })
    yield* (yield* Signals).poke("discard")
  }).pipe(Effect.catch((error) => Effect.logWarning("rehost not given back, its lease will expire", error)))

type Runs = ReturnType<typeof clear> | ReturnType<typeof make> | ReturnType<typeof settle> | ReturnType<typeof commit>
const steps: ReadonlyArray<Step<State, Effect.Error<Runs>, Effect.Services<Runs | ReturnType<typeof giveUp>>>> = [
  { name: "clear", limitMs: 10 * 60_000, run: clear, undo: giveUp },
  { name: "make", limitMs: 4 * machineStartMs, run: make },
  { name: "configure", limitMs: 3 * coldAnswerMs, run: settle },
  { name: "commit", limitMs: 30_000, run: commit }
]

/** `source`: an operator's recovery from a snapshot; null: the volume itself. */
export const rehost = Effect.fn("rehost")(function* (
  view: ProjectView,
  options: { readonly reason: string; readonly source?: VolumeSource; readonly force?: boolean }
) {
  const projects = yield* Projects
  if (view.machine === null) return { _tag: "Refused" as const, view }
  const { projectId } = view.project
  const operationId = yield* Ids.operationId
  const begun = yield* projects
    .beginRehost({
      projectId,
      operationId,
      leaseMs,
      machine: view.machine.name,
      reason: options.reason,
      ...(options.force === undefined ? {} : { force: options.force })
    })
    .pipe(mineAfterAll(projectId, operationId, begunWithMachine))
  if (begun._tag === "Refused") return begun
  const holder = yield* Ref.make(leaseOf(begun.project))
  const initial: State = {
    holder,
    project: begun.project,
    old: begun.machine,
    source: options.source ?? null,
    next: null,
    view: null
  }
  const { state, timings } = yield* runSteps("rehost", steps, initial).pipe(withLease(holder))
  if (state.view === null) return yield* Effect.die(new Error("a rehost without a commit"))
  return { _tag: "Rehosted" as const, view: state.view, timings }
})
