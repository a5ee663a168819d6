/**
 * A request came back: the machine said that it is sealed or not this project's (`stale`), or Fly could not reach it
 * (`replay_failed`). Looks at the machine, wakes and unseals it, or tells that it must be replaced.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { MachineRow } from "../../domain/Machine.ts"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { Projects } from "../../services/db/Projects.ts"
import { unavailable } from "./Failures.ts"
import { coldAnswerMs, machineCallMs, machineStartMs, startAttempts } from "./limits.ts"
import * as Reasons from "./Lifecycle.ts"
import { unsealNow } from "./Unseal.ts"

export type Hint = "stale" | "replay_failed"

export type Healed =
  | { readonly _tag: "Fine"; readonly view: ProjectView }
  | { readonly _tag: "Replace"; readonly reason: string }

const fine = (view: ProjectView): Healed => ({ _tag: "Fine", view })
const replace = (reason: string): Healed => ({ _tag: "Replace", reason })
const hostSilentMs = 10_000
const startRetryMs = 5_000

/** Null: it runs. */
const start = Effect.fnUntraced(function* (row: MachineRow) {
  const fly = yield* Fly
  if (row.machineId === null) return replace("it has no machine")
  const machine = yield* fly
    .getMachine(row.machineId)
    .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
  if (machine === null || machine.state === "destroyed" || machine.state === "destroying") {
    return replace("its machine is gone")
  }
  if (machine.hostStatus !== "ok") {
    // Not gone: Fly may bring the host back with the newest data, which a fork of an unreachable volume does not have.
    const detail = `the host of ${row.name} is ${machine.hostStatus}`
    return yield* new Reasons.WakeError({ reason: new Reasons.Unavailable({ retryAfterMs: hostSilentMs, detail }) })
  }
  if (machine.state === "failed" || machine.state === "launch_failed") return replace(`its machine is ${machine.state}`)
  if (machine.state === "started") return null
  const started = yield* Effect.andThen(
    fly.startMachine(row.machineId),
    fly.waitForMachine(row.machineId, machineStartMs)
  ).pipe(
    Effect.retry({
      while: (error) => error.reason._tag === "Transient" || error.reason._tag === "WaitTimeout",
      schedule: Schedule.max([Schedule.spaced(startRetryMs), Schedule.recurs(startAttempts - 1)])
    }),
    Effect.result
  )
  if (started._tag === "Success") return null
  switch (started.failure.reason._tag) {
    case "Capacity":
      return replace("its host is full")
    case "Transient":
    case "WaitTimeout":
      return replace(`it did not start ${startAttempts} times`)
    default:
      return yield* started.failure
  }
})

/** Answers over the private network, or null where nothing does within the time. */
const health = (row: MachineRow, limitMs: number) =>
  Effect.gen(function* () {
    return yield* (yield* MachineClient)
      .health(row, { limitMs })
      .pipe(Effect.catchReason("MachineError", "Unreachable", () => Effect.succeed(null)))
  })

export const heal = Effect.fn("heal")(function* (view: ProjectView, hint: Hint) {
  const row = view.machine
  if (row === null) return replace("it has no machine")
  let answer = hint === "stale" ? yield* health(row, machineCallMs) : null
  // Nobody, or a server that has got the address of a machine that is not started.
  if (answer?.project_id !== view.project.projectId) {
    const stuck = yield* start(row)
    if (stuck !== null) return stuck
    answer = yield* health(row, coldAnswerMs)
  }
  if (answer === null) return replace("its machine is started and does not answer")
  if (answer.project_id !== view.project.projectId) {
    const detail = `${row.name} serves ${answer.project_id === null ? "no project" : "another project"}`
    yield* (yield* Projects).record({
      projectId: view.project.projectId,
      kind: "rehost_failed",
      detail: { machine: row.name, error: detail }
    })
    return yield* new Reasons.WakeError({ reason: unavailable(detail) })
  }
  // One that sent a request back does not serve, sealed or not: an archive that nobody waits for may still run there.
  if (answer.sealed || hint === "stale") yield* unsealNow(view)
  return fine(view)
})
