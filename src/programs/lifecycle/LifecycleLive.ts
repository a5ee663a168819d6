/**
 * `Lifecycle` over the programs. Within one instance all callers for one project share one running operation, which
 * lives in this layer's scope, not in its first caller's: each caller awaits it with its own deadline.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type { Settings } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { archive } from "./Archive.ts"
import { bringUp } from "./BringUp.ts"
import { insertProject } from "./Create.ts"
import { deleteNow } from "./Delete.ts"
import { ensureActive } from "./EnsureActive.ts"
import { unavailable, wakeFailure } from "./Failures.ts"
import type { Hint } from "./Heal.ts"
import * as Reasons from "./Lifecycle.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { maxConcurrentOperations } from "./limits.ts"
import { Mender } from "./Mender.ts"
import { recoverFromSnapshot } from "./Recover.ts"
import { RowChanges } from "./RowChanges.ts"
import { tellSettings } from "./Settings.ts"

/** Longer than any single operation may take; a shared fiber that is still at it then is stuck. */
const sharedLimitMs = 6 * 60 * 60_000

type Needs =
  | Effect.Services<ReturnType<typeof ensureActive>>
  | Effect.Services<ReturnType<typeof bringUp>>
  | Effect.Services<ReturnType<typeof insertProject>>
  | Effect.Services<ReturnType<typeof deleteNow>>
  | Effect.Services<ReturnType<typeof archive>>
  | Effect.Services<ReturnType<typeof recoverFromSnapshot>>

const make = Effect.gen(function* () {
  const projects = yield* Projects
  const fly = yield* Fly
  const client = yield* MachineClient
  const shared = yield* FiberMap.make<string, Reasons.WakeResult, Reasons.WakeError>()
  /** Looking for a running operation and starting one is one step. */
  const turn = yield* Semaphore.make(1)
  const context = yield* Effect.context<Needs>()

  /** The running operation of that key, or a new one in the layer's scope; its failure is logged once, there. */
  const share = (
    key: string,
    operation: Effect.Effect<Reasons.WakeResult, Reasons.WakeError, Needs>
  ): Effect.Effect<Fiber.Fiber<Reasons.WakeResult, Reasons.WakeError>, Reasons.WakeError> =>
    Effect.gen(function* () {
      const running = FiberMap.getUnsafe(shared, key)
      if (Option.isSome(running)) return running.value
      if ((yield* FiberMap.size(shared)) >= maxConcurrentOperations) {
        return yield* new Reasons.WakeError({ reason: unavailable("too many projects are waking at once") })
      }
      return yield* FiberMap.run(
        shared,
        key,
        operation.pipe(
          Effect.timeoutOrElse({
            duration: sharedLimitMs,
            orElse: () => Effect.fail(new Reasons.WakeError({ reason: unavailable("the operation is stuck") }))
          }),
          Effect.tapCause((cause) =>
            Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logInfo("operation failed", { key, cause })
          ),
          Effect.provide(context)
        )
      )
    }).pipe(turn.withPermits(1))

  const within = <A>(
    deadlineMs: number,
    fiber: Fiber.Fiber<A, Reasons.WakeError>
  ): Effect.Effect<A, Reasons.WakeError> =>
    Fiber.join(fiber).pipe(
      // The layer is closing: this instance drains, another one goes on.
      Effect.catchCauseIf(Cause.hasInterruptsOnly, () =>
        Effect.fail(new Reasons.WakeError({ reason: unavailable("this instance is stopping") }))
      ),
      Effect.timeoutOrElse({
        duration: deadlineMs,
        orElse: () => Effect.fail(new Reasons.WakeError({ reason: new Reasons.Deadline({ detail: "still waking" }) }))
      })
    )

  const ensure = (projectId: ProjectId, deadlineMs: number, force: boolean, hint: Hint | null) =>
    Effect.flatMap(
      share(hint === null ? projectId : `${hint} ${projectId}`, ensureActive(projectId, { force, hint })),
      (fiber) => within(deadlineMs, fiber)
    )

  const found = (projectId: ProjectId) =>
    Effect.map(projects.find(projectId), (view) =>
      Option.getOrNull(view.pipe(Option.filter(({ project }) => project.state !== "deleted")))
    )

  const create = Effect.fn("Lifecycle.create")(function* (input: Reasons.CreateInput) {
    const outcome = yield* insertProject(input).pipe(Effect.provide(context))
    if (outcome._tag === "Repeated") return { view: outcome.view, deployKey: outcome.deployKey, repeated: true }
    const { projectId } = outcome.begun.project
    const up = bringUp("create", outcome.begun).pipe(
      Effect.map((done): Reasons.WakeResult => ({
        view: done.view,
        woken: true,
        source: done.source,
        timings: done.timings
      })),
      Effect.mapError(wakeFailure)
    )
    // The row is committed: whatever becomes of its machine, the project exists and its first request wakes it.
    // Under a key of its own: a request that came before the create's answer did waits for the row.
    const view = yield* share(`create ${projectId}`, up).pipe(
      Effect.flatMap((fiber) => within(input.deadlineMs, fiber)),
      Effect.map((result): ProjectView => result.view),
      Effect.catch(() =>
        projects.find(projectId).pipe(
          Effect.map(Option.getOrElse((): ProjectView => ({ project: outcome.begun.project, machine: null }))),
          Effect.orElseSucceed((): ProjectView => ({ project: outcome.begun.project, machine: null }))
        )
      )
    )
    return { view, deployKey: outcome.deployKey, repeated: false }
  })

  const remove = Effect.fn("Lifecycle.delete")(function* (projectId: ProjectId) {
    const done = yield* deleteNow(projectId).pipe(
      Effect.provide(context),
      Effect.mapError((error) => new Reasons.DeleteError({ reason: unavailable(error) }))
    )
    if (!done)
      return yield* new Reasons.DeleteError({ reason: new Reasons.NotFound({ detail: `no project ${projectId}` }) })
  })

  const sleep = Effect.fn("Lifecycle.sleep")(
    function* (projectId: ProjectId, to: "suspended" | "dormant") {
      const view = yield* found(projectId)
      if (view === null) return yield* noProject(projectId)
      if (view.project.state === "dormant") return view
      const busy = (detail: string) => new Reasons.Busy({ retryAfterMs: 5_000, detail })
      if (to === "suspended") {
        const id = view.machine?.machineId
        if (view.project.operation !== "none" || id == null) {
          return yield* new Reasons.SleepError({ reason: busy(`${view.project.operation} is running`) })
        }
        yield* fly.suspendMachine(id)
        yield* fly.waitForState(id, "suspended", 60_000)
      } else {
        const outcome = yield* archive(projectId, { force: true }).pipe(Effect.provide(context))
        if (outcome._tag === "Busy") {
          return yield* new Reasons.SleepError({ reason: busy(`in use by ${outcome.connections} connections`) })
        }
        if (outcome._tag === "Refused" && outcome.view?.project.state !== "dormant") {
          return yield* new Reasons.SleepError({ reason: busy("another operation is running") })
        }
      }
      const after = yield* found(projectId)
      return after === null ? yield* noProject(projectId) : after
    },
    Effect.mapError((error) =>
      error instanceof Reasons.SleepError ? error : new Reasons.SleepError({ reason: unavailable(error) })
    )
  )
  const noProject = (projectId: ProjectId) =>
    new Reasons.SleepError({ reason: new Reasons.NotFound({ detail: `no project ${projectId}` }) })

  /** A started machine hears of it at once, a sleeping one when it is seen awake. */
  const updateSettings = Effect.fn("Lifecycle.updateSettings")(
    function* (projectId: ProjectId, patch: Partial<Settings>) {
      const view = Option.getOrNull(yield* projects.updateSettings(projectId, patch))
      if (view === null) {
        return yield* new Reasons.SettingsError({ reason: new Reasons.NotFound({ detail: `no project ${projectId}` }) })
      }
      if (view.project.state === "active" && patch.idleTimeoutSeconds !== undefined) {
        yield* tellSettings(view).pipe(Effect.provideService(MachineClient, client))
      }
      return view
    },
    Effect.mapError((error) =>
      error instanceof Reasons.SettingsError ? error : new Reasons.SettingsError({ reason: unavailable(error) })
    )
  )

  const recover = Effect.fn("Lifecycle.recover")(
    function* (projectId: ProjectId, from: "archive" | "snapshot" | "empty") {
      const view = yield* found(projectId)
      if (view === null) {
        return yield* new Reasons.RecoverError({ reason: new Reasons.NotFound({ detail: `no project ${projectId}` }) })
      }
      const intact = new Reasons.RecoverError({
        reason: new Reasons.NotUnavailable({ detail: "the project's data is not unavailable: nothing to recover" })
      })
      if (!view.project.dataUnavailable) return yield* intact
      if (from === "snapshot") {
        const rehosted = yield* recoverFromSnapshot(view).pipe(Effect.provide(context))
        return rehosted ?? (yield* intact)
      }
      const project = yield* projects.recover({ projectId, from })
      return project === null ? yield* intact : { project, machine: null }
    },
    Effect.mapError((error) =>
      error instanceof Reasons.RecoverError ? error : new Reasons.RecoverError({ reason: unavailable(error) })
    )
  )

  const lifecycle = Lifecycle.of({
    create,
    wake: (projectId, options) => ensure(projectId, options.deadlineMs, options.force ?? false, null),
    heal: (projectId, hint, options) => ensure(projectId, options.deadlineMs, false, hint),
    delete: (projectId) => remove(projectId),
    sleep,
    updateSettings,
    recover
  })
  const mender = Mender.of({
    mend: (projectId) =>
      share(`replay_failed ${projectId}`, ensureActive(projectId, { force: false, hint: "replay_failed" })).pipe(
        Effect.asVoid,
        Effect.catch((error) => Effect.logWarning("not mended", { projectId, error }))
      )
  })
  return { lifecycle, mender }
})

/** `Lifecycle` and the `Mender` that the loops use; `Signals` and `Identity` are shared with the loops. */
export const layerLifecycle = Layer.effectContext(
  Effect.map(make, ({ lifecycle, mender }) => Context.make(Lifecycle, lifecycle).pipe(Context.add(Mender, mender)))
).pipe(Layer.provide(RowChanges.layer))
