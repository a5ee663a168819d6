/**
 * What is so at Fly: once a minute one listing gives each machine's display state, its volume's id (a migration changes
 * it) and its address. A machine that the listing misses is looked at on its own, because a listing may be wrong.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import type { Observation } from "../../services/db/Machines.ts"
import { Machines } from "../../services/db/Machines.ts"
import { Projects } from "../../services/db/Projects.ts"
import type { FlyMachine } from "../../services/fly/Fly.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { tellSettings } from "../lifecycle/Settings.ts"
import { Mender } from "../lifecycle/Mender.ts"

/** Looks at missing machines and mends per pass; a listing that lost more than that is wrong rather than the machines. */
const looksPerPass = 20
/** It was awake a moment ago; one that sleeps again already hears of them the next time. */
const settingsMs = 2_000

const observation = (machine: FlyMachine): Observation => ({
  machineId: machine.id,
  state:
    machine.state === "started" || machine.state === "starting"
      ? "active"
      : machine.state === "suspended" || machine.state === "stopped"
        ? "suspended"
        : null,
  volumeId: machine.volumeId,
  privateIp: machine.privateIp
})

/** Only a project's own machine is mended; the pool and the bin look after their rows themselves. */
const missing = (row: MachineRow) =>
  Effect.gen(function* () {
    if (row.machineId === null || row.project === null) return
    const found = yield* (yield* Fly)
      .getMachine(row.machineId)
      .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
    if (found !== null && found.state !== "destroyed") return
    yield* Effect.logWarning("a project's machine is gone", { projectId: row.project, machine: row.name })
    yield* (yield* Mender).mend(row.project)
  })

/** At rest, and its row names no machine: a rehost that failed halfway is gone on with, whether or not a request comes. */
const isMachineless = (row: MachineRow) =>
  Effect.gen(function* () {
    if (row.status !== "assigned" || row.machineId !== null || row.project === null) return false
    const view = Option.getOrNull(yield* (yield* Projects).find(row.project))
    return view?.project.machine === row.name && view.project.operation === "none" && !view.project.dataUnavailable
  })

/** Settings that were changed while it slept. */
const told = (projectId: ProjectId) =>
  Effect.gen(function* () {
    const view = Option.getOrNull(yield* (yield* Projects).find(projectId))
    if (view !== null) yield* tellSettings(view, settingsMs)
  })

export const observe = Effect.gen(function* () {
  const machines = yield* Machines
  const listed = yield* (yield* Fly).listMachines
  const rows = yield* machines.living
  const { changed, resumed } = yield* machines.observe(
    listed.filter((machine) => machine.hostStatus === "ok").map(observation)
  )
  yield* Effect.forEach(resumed, told, { concurrency: 5, discard: true })
  const ids = new Set(listed.filter((machine) => machine.state !== "destroyed").map((machine) => machine.id))
  const absent = rows.filter((row) => row.status === "assigned" && row.machineId !== null && !ids.has(row.machineId))
  yield* Effect.forEach(absent.slice(0, looksPerPass), missing, { discard: true })
  const machineless = yield* Effect.filter(rows, isMachineless)
  yield* Effect.forEach(
    machineless.slice(0, looksPerPass),
    ({ project }) => (project === null ? Effect.void : Effect.flatMap(Mender, (mender) => mender.mend(project))),
    { discard: true }
  )
  return { observed: listed.length, changed, missing: absent.length }
}).pipe(Effect.withSpan("observe"))
