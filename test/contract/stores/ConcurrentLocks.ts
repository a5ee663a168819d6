/** Random attempts at task locks at the same time: what a serial order of holders allows, and nothing else. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Locks, type TaskLock, taskLocks } from "../../../src/services/locks/Locks.ts"
import { seededDice } from "./histories.ts"

interface Attempt {
  readonly key: TaskLock
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
    return { key, invoked, returned: moment++, held } satisfies Attempt
  })

  for (let round = 1; round <= rounds; round++) {
    const wanted = Array.from({ length: 4 }, () => ({
      key: d.pick(taskLocks.pool, taskLocks.pool, taskLocks.sweep),
      locks: d.pick(...instances)
    }))
    const attempts = yield* Effect.forEach(wanted, ({ key, locks }) => attempt(key, locks), {
      concurrency: "unbounded"
    })
    const where = `seed ${seed}, round ${round}: ${JSON.stringify(attempts)}`
    for (const one of attempts) {
      const others = attempts.filter((other) => other !== one && other.key === one.key && other.held !== null)
      const meets = (other: Attempt) => other.invoked < one.returned && one.invoked < other.returned
      if (one.held === null) assert.isTrue(others.some(meets), `refused while nobody held it: ${where}`)
      for (const { held } of others) {
        const apart = one.held === null || held === null || held.to < one.held.from || one.held.to < held.from
        assert.isTrue(apart, `held twice at once: ${where}`)
      }
    }
  }
})
