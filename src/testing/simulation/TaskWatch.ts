/** Who is inside which background task: two at once are two only if one of them has lost its session. */
import * as Effect from "effect/Effect"
import type { TaskLock } from "../../services/locks/Locks.ts"
import type { MemorySessions } from "../memory/MemorySessions.ts"
import type { Journal } from "./Journal.ts"

interface Inside {
  readonly instance: string
  /** How often its session had been lost when it went in. */
  readonly losses: number
}

export class TaskWatch {
  readonly #journal: Journal
  readonly #sessions: MemorySessions
  readonly #inside = new Map<TaskLock, Set<Inside>>()

  constructor(journal: Journal, sessions: MemorySessions) {
    this.#journal = journal
    this.#sessions = sessions
  }

  /** Runs an instance's task, which it holds the lock for. */
  readonly around =
    (key: TaskLock, instance: string) =>
    <A, E, R>(task: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.suspend(() => {
        const all = this.#inside.get(key) ?? new Set()
        this.#inside.set(key, all)
        const other = [...all].find((it) => this.#sessions.losses(it.instance) === it.losses)
        if (other !== undefined) {
          this.#journal.violate("I11", `${instance} and ${other.instance} run task ${key} at once`)
        }
        const mine: Inside = { instance, losses: this.#sessions.losses(instance) }
        all.add(mine)
        return Effect.ensuring(
          task,
          Effect.sync(() => void all.delete(mine))
        )
      })
}
