/** The instances of the plane: started, killed, started again, replaced one after the other. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type { Alterations, Instance } from "./Instance.ts"
import * as Instances from "./Instance.ts"
import type { World } from "./World.ts"

const bootMs = 1_500

export const make = Effect.fnUntraced(function* (world: World, alterations: Alterations) {
  const { dice, journal, profile } = world
  const slots: Array<Instance | null> = []
  let incarnations = 0

  /** Until it serves: a start that fails is repeated, as a supervisor does. */
  const boot = (slot: number): Effect.Effect<Instance> =>
    Effect.gen(function* () {
      for (;;) {
        yield* Effect.sleep(bootMs)
        incarnations += 1
        const skewMs = profile.skewMs === 0 ? 0 : Math.round((dice.next() * 2 - 1) * profile.skewMs)
        const name = `cp${slot + 1}.${incarnations}`
        const started = yield* Effect.result(Instances.start(world, { name, skewMs, alterations }))
        if (started._tag === "Failure") {
          journal.note(`${name} does not start`)
          continue
        }
        slots[slot] = started.success
        return started.success
      }
    })

  const live = (): ReadonlyArray<Instance> => slots.filter((instance) => instance !== null)

  const working = new Set<Fiber.Fiber<void>>()
  /** Goes on when whoever asked for it is interrupted: half a replacement would leave an instance nobody knows. */
  const wholly = (work: Effect.Effect<void>) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkIn(work, world.scope)
      working.add(fiber)
      yield* Fiber.join(fiber)
      working.delete(fiber)
    })

  const kill = (instance: Instance) =>
    Effect.gen(function* () {
      const slot = slots.indexOf(instance)
      slots[slot] = null
      journal.note(`${instance.name} is killed`)
      journal.count("operation crashes")
      yield* instance.kill
      yield* Effect.sleep(dice.between(0, 60_000))
      yield* boot(slot)
    }).pipe(wholly)

  const crash = Effect.suspend(() => {
    const instance = dice.pick(live())
    return instance === undefined ? Effect.void : kill(instance)
  })
  const doomed = yield* Queue.unbounded<Instance>()
  world.crash = (name) =>
    Effect.sync(() => {
      const instance = live().find((it) => it.name === name)
      if (instance === undefined) return
      instance.gate.dead = true
      Queue.offerUnsafe(doomed, instance)
    })
  /** Whoever asks for a crash is the instance itself: nothing of its fiber may go into the next one. */
  const undertaker = Effect.forever(
    Effect.flatMap(Queue.take(doomed), (instance) => Effect.forkIn(kill(instance), world.scope))
  )

  /** New before old, one at a time. */
  const replaceAll = Effect.gen(function* () {
    journal.note("rolling replacement")
    for (let slot = 0; slot < slots.length; slot++) {
      const old = slots[slot]
      if (old == null) continue
      slots[slot] = null
      journal.count("operation replacements")
      yield* Effect.all([boot(slot), old.stop], { concurrency: "unbounded", discard: true })
    }
  }).pipe(wholly)

  const startAll = Effect.fnUntraced(function* (count: number) {
    yield* Effect.forkIn(undertaker, world.scope)
    for (let slot = 0; slot < count; slot++) yield* boot(slot)
  })

  /** What was begun is done: every slot has an instance again. */
  const settled = Effect.suspend(() => Effect.forEach([...working], Fiber.await, { discard: true }))

  return { live, crash, replaceAll, startAll, settled }
})

export type Fleet = Effect.Success<ReturnType<typeof make>>
