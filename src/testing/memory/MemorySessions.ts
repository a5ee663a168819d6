/** Advisory locks of the in-memory database: who holds which key, by session; a session that dies loses all of them. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { LockLost, type TaskLock } from "../../services/locks/Locks.ts"

interface Held {
  readonly instance: string
  readonly lost: Deferred.Deferred<never, LockLost>
}

export class MemorySessions {
  readonly #held = new Map<TaskLock, Held>()
  readonly #ended = new Set<string>()
  readonly #losses = new Map<string, number>()

  /** Null: the key is held, be it by this instance. */
  tryAcquire(key: TaskLock, instance: string): Held | null {
    if (this.#held.has(key) || this.#ended.has(instance)) return null
    const held: Held = { instance, lost: Deferred.makeUnsafe() }
    this.#held.set(key, held)
    return held
  }

  release(key: TaskLock, held: Held): void {
    if (this.#held.get(key) === held) this.#held.delete(key)
  }

  /** How often an instance's session has died. */
  losses(instance: string): number {
    return this.#losses.get(instance) ?? 0
  }

  /** The keys that an instance holds now. */
  heldBy(instance: string): ReadonlyArray<TaskLock> {
    return [...this.#held].filter(([, held]) => held.instance === instance).map(([key]) => key)
  }

  /** The instance is gone for good: what it had asked for on its way out is not granted any more. */
  end(instance: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#ended.add(instance)
      return this.kill(instance)
    })
  }

  /** The instance's session dies: its locks are free at once, and its tasks are told. */
  kill(instance: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#losses.set(instance, this.losses(instance) + 1)
      const dying = [...this.#held].filter(([, held]) => held.instance === instance)
      for (const [key] of dying) this.#held.delete(key)
      return Effect.forEach(
        dying,
        ([key, held]) => Deferred.fail(held.lost, new LockLost({ key, detail: "session killed" })),
        { discard: true }
      )
    })
  }
}
