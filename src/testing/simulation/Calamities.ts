/** What befalls the world beside single calls: instances die, hosts are lost, the database is away for a while. */
import * as Effect from "effect/Effect"
import { loseHost, migrate, report, restoreHost } from "../../local/fly/model/Hosts.ts"
import type { Op } from "../../local/fly/model/Draft.ts"
import type { Fleet } from "./Fleet.ts"
import type { World } from "./World.ts"

const hour = 60 * 60_000

export const make = (world: World, fleet: Fleet) => {
  const { database, dice, fly, journal, profile, time } = world
  const now = () => time.clock.currentTimeMillisUnsafe()

  const happens = (name: string, detail = "") =>
    Effect.sync(() => {
      journal.count(`fault ${name}`)
      journal.note(`fault ${name} ${detail}`)
    })

  /** Fly's own doing: no watch on what the plane deletes looks at it. */
  const byFault = <A>(op: Op<A>) =>
    Effect.suspend(() => {
      world.byFault = true
      return fly.apply(op)
    }).pipe(Effect.ignore, Effect.ensuring(Effect.sync(() => void (world.byFault = false))))

  /** Half of the time one with which something is done just now. */
  const someMachine = Effect.map(fly.state, (state) => {
    const all = Object.values(state.machines).filter((machine) => machine.state !== "destroyed")
    if (dice.chance(0.5)) return dice.pick(all)
    const { tables } = database
    const busy = new Set<string | null>()
    for (const row of tables.machines.values()) {
      if (row.status === "discarded" || tables.ownerOf(row)?.operation !== "none") busy.add(row.machineId)
    }
    return dice.pick(all.filter((machine) => busy.has(machine.id))) ?? dice.pick(all)
  })

  const pause = Effect.gen(function* () {
    const instance = dice.pick(fleet.live())
    if (instance === undefined) return
    const ms = Math.round(dice.magnitude(500, 120_000))
    yield* happens("instance pause", `${instance.name} ${ms} ms`)
    instance.gate.pausedUntil = now() + ms
    world.stoodStillMs += ms
    // The server frees the locks of a session that is silent for so long.
    if (ms < 9_000) return
    yield* Effect.sleep(9_000)
    yield* database.sessions.kill(instance.name)
  })

  const feedLost = Effect.gen(function* () {
    const instance = dice.pick(fleet.live())
    if (instance === undefined) return
    const ms = Math.round(dice.magnitude(100, 60_000))
    yield* happens("database feed_lost", `${instance.name} ${ms} ms`)
    instance.gate.deafUntil = now() + ms
    yield* Effect.sleep(ms)
    yield* database.dropListeners
  })

  const lockLost = Effect.gen(function* () {
    const instance = dice.pick(fleet.live())
    if (instance === undefined) return
    yield* happens("database lock_lost", instance.name)
    yield* database.sessions.kill(instance.name)
  })

  const outage = (of: "database" | "r2") =>
    Effect.gen(function* () {
      const ms = Math.round(dice.magnitude(1_000, 20 * 60_000))
      yield* happens(`${of} outage`, `${ms} ms`)
      world.down[of] = now() + ms
    })

  const hostUnreachable = Effect.gen(function* () {
    const machine = yield* someMachine
    if (machine === undefined) return
    const ms = Math.round(dice.magnitude(10_000, 4 * hour))
    yield* happens("host unreachable", `${machine.host} ${ms} ms`)
    yield* byFault(loseHost(machine.host, "unreachable"))
    yield* Effect.sleep(ms)
    yield* byFault(restoreHost(machine.host))
  })

  const machineLost = Effect.gen(function* () {
    const machine = yield* someMachine
    if (machine === undefined) return
    yield* happens("host machine_lost", machine.host)
    yield* byFault(loseHost(machine.host, "machine"))
  })

  const hostLost = Effect.gen(function* () {
    const machine = yield* someMachine
    if (machine === undefined) return
    yield* happens("host lost", machine.host)
    yield* byFault(loseHost(machine.host, "both"))
  })

  const migration = Effect.gen(function* () {
    const machine = yield* someMachine
    if (machine === undefined) return
    yield* happens("host migration", machine.id)
    yield* byFault(migrate(machine.id))
  })

  const machineCrash = Effect.gen(function* () {
    const machine = yield* someMachine
    if (machine === undefined) return
    yield* happens("machine crash", machine.id)
    yield* byFault(report(machine.id, machine.run, { _tag: "Exited", code: 1, signal: 0, oom: false }))
  })

  const every = (hours: number, calamity: Effect.Effect<unknown>) =>
    hours === 0
      ? Effect.void
      : Effect.forever(
          Effect.andThen(
            Effect.suspend(() => Effect.sleep(Math.round(dice.exponential(hours * hour)))),
            calamity
          )
        )

  const { calamities } = profile
  const all = Effect.all(
    [
      every(calamities.crash, fleet.crash),
      every(calamities.replacement, fleet.replaceAll),
      every(calamities.pause, pause),
      every(calamities.feedLost, feedLost),
      every(calamities.lockLost, lockLost),
      every(calamities.databaseOutage, outage("database")),
      every(calamities.r2Outage, outage("r2")),
      every(calamities.hostUnreachable, hostUnreachable),
      every(calamities.machineLost, machineLost),
      every(calamities.hostLost, hostLost),
      every(calamities.migration, migration),
      every(calamities.machineCrash, machineCrash)
    ],
    { concurrency: "unbounded", discard: true }
  )

  /** Everything that was taken away is given back. */
  const end = Effect.gen(function* () {
    world.down.database = 0
    world.down.r2 = 0
    for (const host of (yield* fly.state).unreachableHosts) yield* byFault(restoreHost(host))
    yield* database.dropListeners
    yield* fleet.settled
  })

  return { all, end }
}

export type Calamities = ReturnType<typeof make>
