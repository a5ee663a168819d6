/**
 * Time and turns of a simulation: one queue of runnable fibers and one of timers, run to the end in a single
 * synchronous call. The clock jumps to the next timer once every fiber is at rest. No promise, no real timer: what runs
 * next depends on nothing but what ran before.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scheduler from "effect/Scheduler"

interface Timer {
  readonly at: number
  /** Timers of one moment go off in the order in which they were set. */
  readonly order: number
  /** Null once it was cancelled. */
  ring: (() => void) | null
}

const before = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

/** A binary heap, soonest first. */
class Timers {
  readonly #heap: Array<Timer> = []
  #set = 0
  #cancelled = 0

  add(at: number, ring: () => void): Timer {
    const timer: Timer = { at, order: this.#set++, ring }
    this.#heap.push(timer)
    this.#rise(this.#heap.length - 1)
    return timer
  }

  cancel(timer: Timer): void {
    if (timer.ring === null) return
    timer.ring = null
    this.#cancelled += 1
    // Most timeouts are cancelled long before they are due: they must not pile up until then.
    if (this.#cancelled > 1_000 && this.#cancelled * 2 > this.#heap.length) this.#sweep()
  }

  /** The soonest that still rings. */
  next(): Timer | undefined {
    for (;;) {
      const timer = this.#pop()
      if (timer === undefined || timer.ring !== null) return timer
      this.#cancelled -= 1
    }
  }

  #sweep(): void {
    const living = this.#heap.filter((timer) => timer.ring !== null)
    this.#heap.length = 0
    this.#cancelled = 0
    for (const timer of living) {
      this.#heap.push(timer)
      this.#rise(this.#heap.length - 1)
    }
  }

  #pop(): Timer | undefined {
    const first = this.#heap[0]
    const last = this.#heap.pop()
    if (first === undefined || last === undefined || this.#heap.length === 0) return first
    this.#heap[0] = last
    let at = 0
    for (;;) {
      let least = at
      for (const child of [2 * at + 1, 2 * at + 2]) {
        const [a, b] = [this.#heap[child], this.#heap[least]]
        if (a !== undefined && b !== undefined && before(a, b)) least = child
      }
      if (least === at) return first
      this.#swap(at, least)
      at = least
    }
  }

  #rise(from: number): void {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      const [a, b] = [this.#heap[at], this.#heap[parent]]
      if (a === undefined || b === undefined || !before(a, b)) return
      this.#swap(at, parent)
      at = parent
    }
  }

  #swap(i: number, j: number): void {
    const [a, b] = [this.#heap[i], this.#heap[j]]
    if (a === undefined || b === undefined) return
    this.#heap[i] = b
    this.#heap[j] = a
  }
}

export class Deadlock extends Error {
  override readonly name = "Deadlock"
}

export interface VirtualTime {
  /** The world's clock. */
  readonly clock: Clock.Clock
  /**
   * A clock that is ahead of the world's by `aheadMs`. A sleep on it that is over while its process stands still ends
   * when that goes on, at `standsStillUntil()` of the world's time; of a process that never goes on, its fiber ends.
   */
  skewed(aheadMs: number, standsStillUntil: () => number): Clock.Clock
  /**
   * Runs the effect and everything it forks until it is done, or until `stop` is true after some turn; null then.
   * Throws `Deadlock` where nothing is left that could go on.
   */
  run<A, E>(effect: Effect.Effect<A, E>, stop?: () => boolean): Exit.Exit<A, E> | null
  /** A sleep of so many milliseconds of the world's time, whatever clock the fiber has. */
  pause(ms: number): Effect.Effect<void>
  /** Turns taken so far: fibers resumed and timers rung. */
  readonly turns: () => number
}

/** More than a moment of any simulated plane has. */
const turnsOfAMoment = 200_000

const nanos = (ms: number): bigint => BigInt(Math.floor(ms)) * 1_000_000n

/** `startAt`: milliseconds since the epoch. */
export const make = (startAt: number): VirtualTime => {
  let now = startAt
  let turns = 0
  let turnsBefore = 0
  let runnable: Array<() => void> = []
  const timers = new Timers()

  const dispatcher: Scheduler.SchedulerDispatcher = {
    scheduleTask: (task) => void runnable.push(task),
    flush: () => drain()
  }
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount >= 2_048,
    makeDispatcher: () => dispatcher
  }
  const drain = (): void => {
    while (runnable.length > 0) {
      const turn = runnable
      runnable = []
      turns += turn.length
      if (turns - turnsBefore > turnsOfAMoment) throw new Deadlock("fibers go on for ever without time passing")
      for (const task of turn) task()
    }
  }

  const clockOf = (aheadMs: number, standsStillUntil: () => number): Clock.Clock => {
    const millis = () => now + aheadMs
    const sleep = (duration: Duration.Duration): Effect.Effect<void> => {
      const ms = Duration.toMillis(duration)
      return Effect.callback<void>((resume) => {
        if (!Number.isFinite(ms)) return
        if (ms <= 0) return resume(Effect.void)
        const ring = () => {
          const until = standsStillUntil()
          if (until <= now) resume(Effect.void)
          else if (until < Infinity) timer = timers.add(until, ring)
          else resume(Effect.interrupt)
        }
        let timer = timers.add(now + ms, ring)
        return Effect.sync(() => timers.cancel(timer))
      })
    }
    return {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: () => nanos(millis()),
      currentTimeNanos: Effect.sync(() => nanos(millis())),
      monotonicTimeNanosUnsafe: () => nanos(now - startAt),
      monotonicTimeNanos: Effect.sync(() => nanos(now - startAt)),
      sleep
    }
  }
  const clock = clockOf(0, () => 0)

  const pause = (ms: number): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      const timer = timers.add(now + ms, () => resume(Effect.void))
      return Effect.sync(() => timers.cancel(timer))
    })

  return {
    clock,
    pause,
    skewed: clockOf,
    turns: () => turns,
    run: (effect, stop = () => false) => {
      const context = Context.make(Scheduler.Scheduler, scheduler).pipe(Context.add(Clock.Clock, clock))
      const fiber = Effect.runForkWith(context)(effect)
      for (;;) {
        drain()
        if (stop()) return null
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) return exit
        const timer = timers.next()
        if (timer === undefined) throw new Deadlock("nothing is left that could go on")
        if (timer.at > now) turnsBefore = turns
        now = Math.max(now, timer.at)
        turns += 1
        timer.ring?.()
      }
    }
  }
}
