/**
 * A whole plane for some simulated days, from one seed: instances of the real programs over one simulated world, clients
 * that remember what was acknowledged, and faults. Same seed, same run, to the byte; until the faults end, a seed's runs
 * of both modes are one and the same.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type { ProjectId } from "../../domain/ProjectId.ts"
import * as Clients from "./Clients.ts"
import * as Calamities from "./Calamities.ts"
import { dice as seededDice } from "./Dice.ts"
import * as Edge from "./Edge.ts"
import * as Fleet from "./Fleet.ts"
import type { Alterations } from "./Instance.ts"
import { Journal, type Violation } from "./Journal.ts"
import type { Focus, Mode, Profile } from "./Profile.ts"
import { drawProfile, focusOn, noRates, quietProfile } from "./Profile.ts"
import * as Rest from "./Rest.ts"
import * as SelfSuspend from "./SelfSuspend.ts"
import * as VirtualTime from "./VirtualTime.ts"
import * as Watch from "./Watch.ts"
import { Witness } from "./Witness.ts"
import * as Worlds from "./World.ts"

export interface SimulationOptions {
  readonly seed: number
  readonly mode: Mode
  readonly days?: number
  readonly instances?: number
  readonly projects?: number
  /** The periods of the background loops, by this factor. */
  readonly intervals?: number
  readonly alterations?: Alterations
  /** By default drawn from the seed; `quiet`: without any fault. */
  readonly profile?: Profile | "quiet"
  /** Set on top of the profile. */
  readonly focus?: Focus
  /** Hears every line of the run. */
  readonly tell?: (line: string) => void
}

export interface SimulationResult {
  readonly seed: number
  readonly mode: Mode
  readonly violation: Violation | null
  /** Of the project that was violated, oldest first; and the last lines of the run. */
  readonly history: ReadonlyArray<string>
  readonly lastSteps: ReadonlyArray<string>
  readonly hash: string
  readonly lines: number
  readonly turns: number
  readonly simulatedMs: number
  readonly counts: ReadonlyMap<string, number>
}

/** The first of January 2026. */
const startAt = 1_767_225_600_000
const day = 24 * 60 * 60_000
const minute = 60_000
/** More than any run needs from its last use to its end. */
const longestEnd = 3 * day

const run = (
  options: SimulationOptions,
  time: VirtualTime.VirtualTime,
  journal: Journal,
  made: (world: Worlds.World) => void
) =>
  Effect.gen(function* () {
    const dice = yield* seededDice
    const { mode } = options
    const plan: Worlds.Plan = {
      seed: options.seed,
      intervals: options.intervals ?? 10,
      instances: options.instances ?? 3,
      projects: options.projects ?? 12,
      forMs: (options.days ?? 2) * day
    }
    const drawn = drawProfile(dice)
    const whole = options.profile === "quiet" ? quietProfile : (options.profile ?? drawn)
    const profile = focusOn(whole, options.focus ?? {})
    const world = yield* Worlds.make({ time, journal, dice, plan, profile })
    made(world)
    const witness = new Witness(journal)
    const watch = Watch.make(world, witness)
    world.onAction = SelfSuspend.onAction(world)
    const fleet = yield* Fleet.make(world, options.alterations ?? {})
    const edge = Edge.make(world, fleet.live)
    yield* fleet.startAll(plan.instances)

    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(minute), watch.overdue)))
    const calamities = Calamities.make(world, fleet)
    world.rates = profile.rates
    yield* world.fly.inject(...Worlds.flyFaults(profile.rates, dice))
    const faults = yield* Effect.forkScoped(calamities.all)

    const usedUntil = startAt + plan.forMs
    const clients = Clients.make({ world, edge, witness, watch, untilMs: usedUntil })
    yield* Effect.forkScoped(clients.operator)
    const users = yield* Effect.forkScoped(
      Effect.all([...Array.from({ length: plan.projects }, (_, at) => clients.life(at)), clients.burst], {
        concurrency: "unbounded",
        discard: true
      })
    )
    if (mode === "safety") {
      return yield* Fiber.join(users)
    }
    yield* Effect.sleep(plan.forMs)
    yield* Fiber.interrupt(faults)
    yield* calamities.end
    world.rates = noRates
    yield* world.fly.clearFaults
    journal.note("faults have ended")
    yield* Fiber.join(users)
    yield* Rest.check({ world, witness, watch, clients })
  })

const historyOf = (world: Worlds.World | null, projectId: string | null): ReadonlyArray<string> => {
  if (world === null || projectId === null) return []
  const id = [...world.database.tables.projects.keys()].find((key: ProjectId) => key === projectId)
  return id === undefined
    ? []
    : world.database.tables
        .eventsOf(id)
        .map((event) =>
          [
            ((event.at - startAt) / 1_000).toFixed(3),
            event.kind,
            `g${event.generation}`,
            JSON.stringify(event.detail)
          ].join(" ")
        )
}

export const simulate = (options: SimulationOptions): SimulationResult => {
  const time = VirtualTime.make(startAt)
  const journal = new Journal(time, options.tell ?? null)
  let world: Worlds.World | null = null
  const all = run(options, time, journal, (made) => void (world = made)).pipe(
    Effect.scoped,
    Random.withSeed(`${options.seed}`)
  )
  const endsBefore = startAt + (options.days ?? 2) * day + longestEnd
  const endless = () => time.clock.currentTimeMillisUnsafe() > endsBefore
  const exit = time.run(all, () => journal.violation !== null || endless())
  if (exit === null && journal.violation === null) {
    throw new Error(`the simulation itself does not end: seed ${options.seed}`)
  }
  if (exit !== null && Exit.isFailure(exit)) {
    throw new Error(`the simulation itself failed: ${Cause.pretty(exit.cause)}`)
  }
  return {
    seed: options.seed,
    mode: options.mode,
    violation: journal.violation,
    history: historyOf(world, journal.violation?.projectId ?? null),
    lastSteps: journal.violation === null ? [] : journal.last,
    hash: journal.digest(),
    lines: journal.lines,
    turns: time.turns(),
    simulatedMs: journal.now,
    counts: journal.counts
  }
}
