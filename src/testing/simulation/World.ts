/**
 * What all instances of one simulated plane share: Fly, the bucket, the database and the project servers on their
 * volumes, with the faults that they have. No instance is part of it.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { MarginsValue } from "../../config/Margins.ts"
import { defaultMargins } from "../../config/Margins.ts"
import type { PlaneConfigValue } from "../../config/PlaneConfig.ts"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { FlyWorld, layer as layerFlyWorld } from "../../local/fly/FlyWorld.ts"
import type { Fault } from "../../local/fly/model/Faults.ts"
import { report } from "../../local/fly/model/Hosts.ts"
import type { FlyState, HostAction } from "../../local/fly/model/FlyState.ts"
import { realisticDelays } from "../../local/fly/model/FlyState.ts"
import type { Call } from "../../local/fly/model/Operations.ts"
import { layerKeys } from "../../services/KeysLive.ts"
import type { Keys } from "../../services/Keys.ts"
import { FakeMachines, layerFakeMachines } from "../machine/FakeMachines.ts"
import { MemoryDatabase } from "../memory/MemoryDatabase.ts"
import type { StoreFault } from "../memory/StoreFaults.ts"
import * as MemoryR2 from "../MemoryR2.ts"
import { copyVolumes, layerHosts, layerSeededRandom, testConfig } from "../TestPlane.ts"
import type { Dice } from "./Dice.ts"
import type { Journal } from "./Journal.ts"
import type { Profile, Rates } from "./Profile.ts"
import { noRates } from "./Profile.ts"
import { TaskWatch } from "./TaskWatch.ts"
import type { VirtualTime } from "./VirtualTime.ts"

export interface Plan {
  readonly seed: number
  /** Periods of pool, discard, recovery and observe by this factor: the others are long as it is. */
  readonly intervals: number
  readonly instances: number
  readonly projects: number
  /** Simulated milliseconds of use. */
  readonly forMs: number
}

export interface World {
  readonly time: VirtualTime
  readonly journal: Journal
  readonly dice: Dice
  readonly plan: Plan
  readonly profile: Profile
  readonly config: PlaneConfigValue
  readonly margins: MarginsValue
  readonly fly: FlyWorld["Service"]
  readonly machines: FakeMachines["Service"]
  readonly r2: MemoryR2.MemoryR2["Service"]
  readonly database: MemoryDatabase["Service"]
  readonly tasks: TaskWatch
  readonly context: Context.Context<FlyWorld | FakeMachines | MemoryR2.MemoryR2 | MemoryDatabase | Keys | PlaneConfig>
  readonly scope: Scope.Scope
  /** Of this moment: all zero once the faults have ended. */
  rates: Rates
  /** Until when nothing of it answers. */
  readonly down: { database: number; r2: number }
  /** Milliseconds for which instances stood still so far, added up. */
  stoodStillMs: number
  /** True while a fault, not the plane, changes Fly. */
  byFault: boolean
  /** Told of every change at Fly. */
  onFly: (state: FlyState) => Effect.Effect<void>
  /** The instance of that name dies now. */
  crash: (name: string) => Effect.Effect<void>
  onAction: (action: HostAction) => Effect.Effect<void>
  /** Told of a call that Fly answers or carries out later; now it is sent. */
  onDelayed: (call: Call) => void
}

const minute = 60_000
const hour = 60 * minute

const configOf = (plan: Plan, dice: Dice): PlaneConfigValue => ({
  ...testConfig,
  onFly: true,
  pool: { size: dice.between(1, 3), intervalMs: 30_000 * plan.intervals },
  dormancy: { thresholdMs: dice.between(1, 6) * hour, sweepIntervalMs: hour }
})

const marginsOf = ({ intervals }: Plan): MarginsValue => ({
  ...defaultMargins,
  reconcileEveryMs: defaultMargins.reconcileEveryMs * intervals,
  observeEveryMs: defaultMargins.observeEveryMs * intervals
})

/** One of several outcomes by their chances; null for none of them. */
const drawn = <A>(dice: Dice, table: ReadonlyArray<readonly [chance: number, outcome: A]>): A | null => {
  let at = dice.next()
  for (const [chance, outcome] of table) {
    if (at < chance) return outcome
    at -= chance
  }
  return null
}

export const make = Effect.fnUntraced(function* (input: {
  readonly time: VirtualTime
  readonly journal: Journal
  readonly dice: Dice
  readonly plan: Plan
  readonly profile: Profile
}) {
  const { dice, journal, plan, profile, time } = input
  const config = configOf(plan, dice)
  const hooks: Pick<World, "onFly" | "onAction" | "onDelayed"> = {
    onFly: () => Effect.void,
    onAction: () => Effect.void,
    onDelayed: () => {}
  }
  const layerFly = Layer.unwrap(
    Effect.map(FakeMachines, (machines) => {
      const copy = copyVolumes(machines)
      return layerFlyWorld({
        seed: dice.between(0, 0x7fff_ffff),
        params: { delays: realisticDelays, snapshotEveryMs: 6 * hour, rateLimits: profile.rateLimits },
        host: (action) => Effect.andThen(copy(action), hooks.onAction(action)),
        onChange: (state) => hooks.onFly(state),
        onFault: (call, kind) => {
          journal.count(`fault fly ${kind}`)
          journal.note(`fault fly ${call.operation} ${kind}`)
          if (kind === "late" || kind === "latency") hooks.onDelayed(call)
        }
      })
    })
  )
  const scope = yield* Effect.scope
  const layer = layerHosts.pipe(
    Layer.provideMerge(layerFly),
    Layer.provideMerge(layerFakeMachines),
    Layer.provideMerge(Layer.mergeAll(layerKeys, MemoryDatabase.layer, MemoryR2.layer)),
    Layer.provideMerge(Layer.mergeAll(Layer.succeed(PlaneConfig, config), layerSeededRandom))
  )
  const context = yield* Layer.buildWithMemoMap(layer, yield* Layer.makeMemoMap, scope)
  const database = Context.get(context, MemoryDatabase)
  const world: World = Object.assign(hooks, {
    ...input,
    config,
    margins: marginsOf(plan),
    context,
    scope,
    fly: Context.get(context, FlyWorld),
    machines: Context.get(context, FakeMachines),
    r2: Context.get(context, MemoryR2.MemoryR2),
    database,
    tasks: new TaskWatch(journal, database.sessions),
    rates: noRates,
    crash: () => Effect.void,
    down: { database: 0, r2: 0 },
    stoodStillMs: 0,
    byFault: false
  })

  const fault = <A extends object>(name: string, it: A): A => {
    journal.count(`fault ${name}`)
    journal.note(`fault ${name}`)
    return it
  }
  const crashSoon = (machineId: string) =>
    Effect.gen(function* () {
      yield* time.pause(dice.between(0, 300))
      const machine = (yield* world.fly.state).machines[machineId]
      if (machine === undefined) return
      const exited = { _tag: "Exited", code: 1, signal: 0, oom: false } as const
      yield* world.fly.apply(report(machine.id, machine.run, exited))
    }).pipe(Effect.ignore, Effect.forkIn(scope))
  yield* world.machines.setFaults((call, machineId) =>
    Effect.suspend(() => {
      const { rates } = world
      const kind = drawn(dice, [
        [rates.machineUnreachable, "unreachable" as const],
        [rates.machineUnreachableAfter, "unreachable_after" as const],
        [rates.machineSlow, "slow" as const],
        [rates.machineDuplicate, "duplicate" as const],
        [rates.machineLate, "late" as const],
        [rates.machineCrashAtCall, "crash_at_call" as const],
        [call === "archive-to-r2" ? rates.machineSealFails : 0, "seal_fails" as const],
        [call === "configure" ? rates.machineRestoreFails : 0, "restore_fails" as const]
      ])
      if (kind === null) return Effect.succeed({})
      const name = `machine ${kind}`
      if (kind === "crash_at_call") return Effect.as(crashSoon(machineId), fault(name, {}))
      if (kind === "slow") return Effect.succeed(fault(name, { latencyMs: Math.round(dice.magnitude(200, 40_000)) }))
      if (kind === "duplicate") return Effect.succeed(fault(name, { duplicate: true }))
      if (kind === "late") return Effect.succeed(fault(name, { lateMs: Math.round(dice.magnitude(100, 10 * minute)) }))
      return Effect.succeed(fault(name, { outcome: kind }))
    })
  )
  yield* world.r2.setFaults((operation) =>
    Effect.sync(() => {
      const { rates } = world
      const transfer = operation === "put" || operation === "get" || operation === "checksum"
      if (time.clock.currentTimeMillisUnsafe() < world.down.r2) return { outcome: "unavailable" as const }
      const kind = drawn(dice, [
        [rates.r2Unavailable, "unavailable" as const],
        [rates.r2UnavailableAfter, "unavailable_after" as const],
        [rates.r2Denied, "denied" as const],
        [operation === "put" ? rates.r2NotStored : 0, "not_stored" as const],
        [transfer ? rates.r2Corrupt : 0, "corrupt" as const],
        [transfer ? rates.r2Short : 0, "short" as const],
        [rates.r2Slow, "slow" as const]
      ])
      if (kind === null) return {}
      const name = `r2 ${kind}`
      return kind === "slow"
        ? fault(name, { latencyMs: Math.round(dice.magnitude(200, 60_000)) })
        : fault(name, { outcome: kind })
    })
  )
  return world
})

/** What the database does to one statement of one instance. */
export const storeFault = (world: World) =>
  Effect.suspend((): Effect.Effect<StoreFault> => {
    const { dice, journal, rates, time } = world
    if (time.clock.currentTimeMillisUnsafe() < world.down.database) return Effect.as(time.pause(50), "before")
    const kind = drawn(dice, [
      [rates.databaseBefore / 4, "before" as const],
      [rates.databaseLost / 4, "lost" as const],
      [rates.databaseAfter / 4, "after" as const],
      [rates.databaseSlow / 4, "slow" as const]
    ])
    if (kind === null) return Effect.succeed("none")
    journal.count(`fault database ${kind}`)
    journal.note(`fault database ${kind}`)
    return kind === "slow"
      ? Effect.as(time.pause(Math.round(dice.magnitude(100, 12_000))), "none")
      : Effect.succeed(kind)
  })

/** The rules of Fly's own faults for these rates. */
export const flyFaults = (rates: Rates, dice: Dice) => {
  const rule = (probability: number, fault: Fault) => ({
    match: { probability },
    fault
  })
  const capacity = (probability: number, status: 409 | 412 | 422) => ({
    match: { probability, operation: "createMachine" as const },
    fault: { kind: "capacity", status } as const
  })
  return [
    rule(rates.flyDropBefore, { kind: "drop", effect: "before" }),
    rule(rates.flyDropAfter, { kind: "drop", effect: "after" }),
    rule(rates.flyLate, { kind: "late", ms: Math.round(dice.magnitude(500, 10 * minute)) }),
    rule(rates.flyErrorBefore, { kind: "error", status: 503, effect: "before" }),
    rule(rates.flyErrorAfter, { kind: "error", status: 500, effect: "after" }),
    rule(rates.flyTimeoutBefore, { kind: "timeout", effect: "before" }),
    rule(rates.flyTimeoutAfter, { kind: "timeout", effect: "after" }),
    rule(rates.flyRateLimit, { kind: "rate_limit", retry_after_seconds: 1 }),
    capacity(rates.flyHostFull, 409),
    capacity(rates.flyNoPlacement, 412),
    capacity(rates.flyRegionFull, 422),
    rule(rates.flySlow, { kind: "latency", ms: Math.round(dice.magnitude(500, 40_000)) }),
    rule(rates.flyEmptyList, { kind: "empty_list" })
  ].filter(({ match }) => match.probability > 0)
}

/** Whatever the clock of its caller says, the effect sees the world's. */
export const onWorldTime =
  ({ time }: World) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(effect, Clock.Clock, time.clock)
