/**
 * Random attempts at task locks at the same time: one holder of a key, and a refusal only beside a holder. Less than a
 * serial order holds within one instance: an attempt there is refused beside another that has not been answered yet,
 * even if that one is refused in its turn.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Locks, type TaskLock, taskLocks } from "../../../src/services/locks/Locks.ts"
import { seededDice } from "./histories.ts"

interface Attempt {
  readonly key: TaskLock
  readonly instance: Locks["Service"]
  readonly invoked: number
  readonly returned: number
  /** While the task ran; null where the lock was held. */
  readonly held: { readonly from: number; readonly to: number } | null
}

/** `work` is what a holder does: something that takes its time at the database. */
export const runLocks = Effect.fnUntraced(function* <E>(
  seed: number,
  rounds: number,
  instances: readonly [Locks["Service"], Locks["Service"]],
  work: Effect.Effect<unknown, E>
) {
  const d = seededDice(seed)
  let moment = 0
  const attempt = Effect.fnUntraced(function* (key: TaskLock, locks: Locks["Service"]) {
    const invoked = moment++
    const task = Effect.gen(function* () {
      const from = moment++
      yield* work
      return { from, to: moment++ }
    })
    const held = Option.getOrNull(yield* locks.withTaskLock(key)(task))
    return { key, instance: locks, invoked, returned: moment++, held } satisfies Attempt
  })

  for (let round = 1; round <= rounds; round++) {
    const wanted = Array.from({ length: 4 }, () => ({
      key: d.pick(taskLocks.pool, taskLocks.pool, taskLocks.sweep),
      locks: d.pick(...instances)
    }))
    const attempts = yield* Effect.forEach(wanted, ({ key, locks }) => attempt(key, locks), {
      concurrency: "unbounded"
    })
    const told = attempts.map(({ instance, ...attempt }) => ({ ...attempt, instance: instances.indexOf(instance) }))
    const where = `seed ${seed}, round ${round}: ${JSON.stringify(told)}`
    for (const one of attempts) {
      const others = attempts.filter((other) => other !== one && other.key === one.key)
      const refuses = (other: Attempt) =>
        other.invoked < one.returned &&
        one.invoked < other.returned &&
        (other.held !== null || other.instance === one.instance)
      if (one.held === null) {
        assert.isTrue(others.some(refuses), `refused beside nobody: ${where}`)
        assert.isTrue(
          others.some(({ held }) => held !== null),
          `refused, and nobody held it: ${where}`
        )
      }
      for (const { held } of others) {
        const apart = one.held === null || held === null || held.to < one.held.from || one.held.to < held.from
        assert.isTrue(apart, `held twice at once: ${where}`)
      }
    }
  }
})
