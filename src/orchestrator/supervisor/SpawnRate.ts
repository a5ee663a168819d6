/** How many servers one client may cause to be started in a minute. */
import { retryAfterMs } from "../../domain/RateLimit.ts"
import { clientOf } from "../../domain/ClientAddress.ts"

const windowMs = 60_000
/** Clients that are remembered; beyond, the one whose last start is the longest ago is forgotten. */
const maxClients = 10_000

export class SpawnRate {
  readonly #starts = new Map<string, ReadonlyArray<number>>()
  readonly #limit: number

  /** 0: no limit. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** 0: the start is counted; else milliseconds until there would be one. Null counts for nobody. */
  take(client: string | null, now: number): number {
    if (client === null || this.#limit === 0) return 0
    const key = clientOf(client)
    const recent = (this.#starts.get(key) ?? []).filter((at) => at > now - windowMs)
    const wait = retryAfterMs(recent, [{ limit: this.#limit, windowMs }], now)
    if (wait > 0) return wait
    // To the end: a Map keeps the order of insertion.
    this.#starts.delete(key)
    this.#starts.set(key, [...recent, now])
    for (const oldest of this.#starts.keys()) {
      if (this.#starts.size <= maxClients) break
      this.#starts.delete(oldest)
    }
    return 0
  }

  /** Nothing was started after all. */
  giveBack(client: string | null, takenAt: number): void {
    if (client === null) return
    const key = clientOf(client)
    const starts = this.#starts.get(key)
    const index = starts?.indexOf(takenAt) ?? -1
    if (starts === undefined || index < 0) return
    if (starts.length === 1) this.#starts.delete(key)
    else this.#starts.set(key, starts.toSpliced(index, 1))
  }

  get size(): number {
    return this.#starts.size
  }
}
