/**
 * Places for live processes, handed out first come, first served. Where there is none, the server that is idle for the
 * longest time gives way; one that is in use never does.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Entry, Place } from "./Entry.ts"
import { idleSince, isHeld } from "./Entry.ts"
import { keepsPlace } from "./Next.ts"
import * as Uptime from "./Uptime.ts"

/** Projects that wait for a place at the same time. */
const maxWaiting = 1_000

export interface CapacityOptions {
  readonly maxServers: number
  /** How long a place is waited for. */
  readonly waitMs: number
  readonly servers: () => Iterable<Entry>
  /** Ends it; its place comes free once its process is gone. */
  readonly evict: (entry: Entry, now: number) => void
}

export class Capacity {
  #taken = 0
  /** A Set keeps the order of insertion. */
  readonly #queue = new Set<Place>()
  readonly #options: CapacityOptions

  constructor(options: CapacityOptions) {
    this.#options = options
  }

  /** True once the place is held; false where there is none and won't be one soon. Whoever gives up has to `release`. */
  acquire(place: Place): Effect.Effect<boolean> {
    return Effect.flatMap(Uptime.now, (now) => {
      if (place.state === "held") return Effect.succeed(true)
      if (this.#taken < this.#options.maxServers) {
        this.#taken += 1
        place.state = "held"
        return Effect.succeed(true)
      }
      if (this.#queue.size >= maxWaiting) return Effect.succeed(false)
      place.state = "waiting"
      place.granted = Deferred.makeUnsafe()
      this.#queue.add(place)
      this.reclaim(now)
      if (this.#isHopeless(now)) {
        this.release(place)
        return Effect.succeed(false)
      }
      return Effect.map(Effect.timeoutOption(Deferred.await(place.granted), this.#options.waitMs), () => {
        // It may have been granted at the very end of the wait.
        if (place.state === "held") return true
        this.release(place)
        return false
      })
    })
  }

  /** Safe to call again. The place goes to whoever has waited for the longest time. */
  release(place: Place): void {
    const { state } = place
    place.state = "none"
    if (state === "waiting") this.#queue.delete(place)
    if (state !== "held") return
    for (const next of this.#queue) {
      this.#queue.delete(next)
      next.state = "held"
      Deferred.doneUnsafe(next.granted, Effect.void)
      return
    }
    this.#taken -= 1
  }

  /** To be called when a server may have become idle. Evicts as many as there are waiters that no place is coming for. */
  reclaim(now: number): void {
    // Counted anew each time: the end of one may have moved others on.
    for (let next = this.#toEvict(now); next !== null; next = this.#toEvict(now)) this.#options.evict(next, now)
  }

  /** The server that is idle for the longest time, if its place is needed. */
  #toEvict(now: number): Entry | null {
    let needed = this.#queue.size
    if (needed === 0) return null
    let longest: { readonly entry: Entry; readonly since: number } | null = null
    for (const entry of this.#holders()) {
      const { _tag } = entry.state
      if (_tag === "Stopping" && !comesBack(entry)) needed -= 1
      const since = _tag === "Running" ? idleSince(entry, now) : null
      if (since !== null && (longest === null || since < longest.since)) longest = { entry, since }
    }
    return needed > 0 && longest !== null ? longest.entry : null
  }

  /** Every place is held by a connection or a lease: nobody knows when one comes free. */
  #isHopeless(now: number): boolean {
    for (const entry of this.#holders()) {
      if (entry.state._tag !== "Running" || !isHeld(entry, now)) return false
    }
    return true
  }

  *#holders(): Iterable<Entry> {
    for (const entry of this.#options.servers()) if (entry.place?.state === "held") yield entry
  }

  get taken(): number {
    return this.#taken
  }

  get waiting(): number {
    return this.#queue.size
  }
}

const comesBack = ({ state }: Entry): boolean =>
  state._tag === "Stopping" && state.life.ending !== null && keepsPlace(state.life.ending, state.life.wasInUse)
