/** Random clients, crashes, commands and clock jumps, the same ones for the same seed; checked after each step. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import type { FakeHealth, FakeScript } from "../../../src/testing/FakeServerHost.ts"
import { amount } from "../../support/amount.ts"
import { enter, id, layer } from "./support.ts"
import type { Client } from "./support.ts"

const maxServers = 6
const projects = Array.from({ length: 25 }, (_, i) => `p${i}`)
const stepsOfAStorm = 1_500
/** The stop of its predecessor, a back-off, a place, a start, and the margin. */
const longestWaitMs = 10_000 + 5_000 + 60_000 + 10_000

interface Guest extends Client {
  readonly project: string
  readonly since: number
}

const pick = <A>(all: ReadonlyArray<A>) => Effect.map(Random.nextIntBetween(0, all.length - 1), (i) => all[i])

const scripts: ReadonlyArray<FakeScript> = [
  {},
  {},
  {},
  { acceptsAfterMs: 3_000 },
  { acceptsAfterMs: null },
  { exit: { afterMs: 2_000, code: 1 } },
  { exit: { afterMs: 20, code: 0 } },
  { stopsAfterMs: null },
  { stopsAfterMs: 0 },
  { launchError: "ENOENT" }
]
const healths: ReadonlyArray<FakeHealth> = ["healthy", "unhealthy", "closed", "slow"]

/** `forced`: also what may stop a server in use. */
const storm = Effect.fnUntraced(function* (forced: boolean) {
  const supervisor = yield* Supervisor
  const host = yield* FakeServerHost
  let guests: ReadonlyArray<Guest> = []
  let seenStops = 0
  let served = 0

  const step = Effect.gen(function* () {
    const dice = yield* Random.nextIntBetween(0, forced ? 11 : 8)
    const project = (yield* pick(projects)) ?? ""
    const guest = yield* pick(guests)
    const script = (yield* pick(scripts)) ?? {}
    if (dice <= 2) {
      const kind = yield* pick(["request", "connection"] as const)
      const client = yield* enter(project, { kind: kind ?? "request" })
      guests = [...guests, { ...client, project, since: yield* Clock.currentTimeMillis }]
    } else if (dice <= 5 && guest !== undefined) {
      if (dice === 5) yield* Fiber.interrupt(guest.fiber)
      yield* guest.leave
      guests = guests.filter((it) => it !== guest)
    } else if (dice === 6) yield* TestClock.adjust(yield* Random.nextIntBetween(0, 30))
    else if (dice === 7) yield* TestClock.adjust(yield* Random.nextIntBetween(0, 20_000))
    else if (dice === 8) {
      yield* host.setScripts((_name, nth) => (nth % 2 === 0 ? script : {}))
      yield* supervisor.ping(id(project))
    } else if (dice === 9) yield* host.exit(project, (yield* Random.nextBoolean) ? 0 : 137)
    else if (dice === 10) yield* host.change(project, { health: (yield* pick(healths)) ?? "healthy" })
    else if (dice === 11) {
      yield* Effect.forkChild(
        (yield* Random.nextBoolean) ? supervisor.stop(id(project)) : supervisor.restart(id(project))
      )
    }
  })

  const check = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    assert.isAtMost(yield* host.maxLive, maxServers)
    assert.isAtMost(yield* host.maxLivePerName, 1)
    const stops = yield* host.stops
    const stopped = new Set(stops.slice(seenStops).map(({ pid }) => pid))
    seenStops = stops.length
    let holding = 0
    for (const { fiber, since, project } of guests) {
      const exit = fiber.pollUnsafe()
      if (exit === undefined) assert.isAtMost(now - since, longestWaitMs, `${project} waits too long`)
      if (exit === undefined || Exit.isFailure(exit)) continue
      holding += 1
      if (!forced) assert.isFalse(stopped.has(exit.value.pid), `${project} was stopped in use`)
    }
    served = Math.max(served, holding)
  })

  yield* Effect.repeat(Effect.andThen(step, check), { times: stepsOfAStorm })
  for (const { leave, fiber } of guests) {
    yield* Fiber.interrupt(fiber)
    yield* leave
  }
  yield* host.setScripts(() => ({}))
  // Enough for back-offs, idle times, and for failed projects to be forgotten.
  yield* TestClock.adjust(1_500_000)
  assert.deepStrictEqual(yield* host.live, [])
  assert.deepStrictEqual(yield* supervisor.status, [])
  // And all goes on as ever.
  for (const project of projects.slice(0, maxServers * 2)) {
    const client = yield* enter(project)
    yield* TestClock.adjust(200)
    yield* Fiber.join(client.fiber)
    yield* client.leave
  }
  return served
})

const seeds = Array.from({ length: amount(3, 24) }, (_, i) => `storm ${i}`)

describe(`${seeds.length} storms of ${stepsOfAStorm} steps`, () => {
  it.effect.each(seeds)("stops no server in use, and leaves nothing (%s)", (seed) =>
    storm(false).pipe(
      Effect.tap((served) => Effect.sync(() => assert.isAtLeast(served, 3))),
      Random.withSeed(seed),
      Effect.provide(layer({ maxServers }))
    )
  )

  it.effect.each(seeds)(
    "with crashes, sick servers and commands: one process a project, and nothing is left (%s)",
    (seed) => storm(true).pipe(Random.withSeed(seed), Effect.provide(layer({ maxServers })))
  )
})
