/**
 * One simulated Fly that lives: the model's state, time from the Clock, request budgets, faults, and whoever runs the
 * machines. The in-memory `Fly`, the local Fly's HTTP server and the simulation are all views of one of these.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { Op } from "./model/Draft.ts"
import { runOp } from "./model/Draft.ts"
import type { Fault, FaultRule } from "./model/Faults.ts"
import { activate, faultAnswer, judge } from "./model/Faults.ts"
import type { FlyState, HostAction, Params } from "./model/FlyState.ts"
import { defaultParams, emptyState } from "./model/FlyState.ts"
import type { Call, Operation } from "./model/Operations.ts"
import { spend } from "./model/RateLimit.ts"
import type { Refusal } from "./model/Refusal.ts"
import { settle } from "./model/Settle.ts"
import { nextDue } from "./model/Transitions.ts"

/** The connection broke without an answer; what was asked may have happened. */
export interface Dropped {
  readonly _tag: "Dropped"
}

export interface WorldOptions {
  readonly params?: Partial<Params>
  /** Ids, hosts and the chances of faults follow from it. By default drawn from Random. */
  readonly seed?: number
  readonly initial?: FlyState
  /**
   * Runs what the model asks for, in order, before the call is answered. Must only take note of what takes long. It
   * may not call the world.
   */
  readonly host?: (action: HostAction, state: FlyState) => Effect.Effect<void>
  /** Called with each state that differs from the one before, before the answer. */
  readonly onChange?: (state: FlyState) => Effect.Effect<void>
  /** Told of each call that a fault hits. */
  readonly onFault?: (call: Call, fault: Fault["kind"]) => void
}

export interface CallOptions<A> {
  /** The answer of a listing under the fault `empty_list`. */
  readonly empty?: A
}

export class FlyWorld extends Context.Service<
  FlyWorld,
  {
    readonly params: Params
    /** One call of the API: counted, limited and faulted like one. */
    call<A>(call: Call, op: Op<A>, options?: CallOptions<A>): Effect.Effect<A, Refusal | Dropped>
    /** From inside Fly: by no budget, hit by no fault, counted nowhere. */
    apply<A>(op: Op<A>): Effect.Effect<A, Refusal>
    /** The state at this moment. */
    readonly state: Effect.Effect<FlyState>
    /**
     * Looks again after each change until the answer is not null; null if it still is after `timeoutMs`. Neither
     * limits nor faults apply to the looks.
     */
    awaitAnswer<A>(op: Op<A | null>, timeoutMs: number): Effect.Effect<A | null, Refusal>
    inject(...rules: ReadonlyArray<FaultRule>): Effect.Effect<void>
    readonly clearFaults: Effect.Effect<void>
    /** Calls since the start or the last reset, by operation. */
    readonly calls: Effect.Effect<ReadonlyMap<Operation, number>>
    /** All of them, or those of one operation. */
    callCount(operation?: Operation): Effect.Effect<number>
    readonly resetCalls: Effect.Effect<void>
    /** Fly's own clock jumps ahead of the rest of the world's. */
    advance(ms: number): Effect.Effect<void>
    readonly now: Effect.Effect<number>
  }
>()("valet/FlyWorld") {}

const dropped: Dropped = { _tag: "Dropped" }

export const make = Effect.fnUntraced(function* (options: WorldOptions) {
  const params: Params = { ...defaultParams, ...options.params }
  const host = options.host ?? (() => Effect.void)
  const onChange = options.onChange ?? (() => Effect.void)
  const seed = options.seed ?? (yield* Random.nextIntBetween(0, 0x7fffffff))
  let state = options.initial ?? emptyState(seed)
  let skewMs = 0
  let changed = Deferred.makeUnsafe<void>()
  /** The state is new, and not everything that follows from it has been done yet. */
  let committing = false
  const counts = new Map<Operation, number>()
  const turn = yield* Semaphore.make(1)
  const scope = yield* Effect.scope

  const now = Effect.map(Clock.currentTimeMillis, (ms) => ms + skewMs)

  const tell = Effect.suspend(() => {
    const waiting = changed
    changed = Deferred.makeUnsafe<void>()
    return Deferred.succeed(waiting, undefined)
  })

  /** The answer of an operation that changes nothing, at once; undefined where it changes something. */
  const answerOf = <A>(op: Op<A>, at: number) => {
    const due = nextDue(state, params.destroyedVisibleMs)
    if (committing || (due !== null && due <= at)) return undefined
    const done = runOp(state, params, at, op)
    return done.state === state && done.actions.length === 0 ? done.answer : undefined
  }

  const commit = Effect.fnUntraced(function* (next: FlyState, actions: ReadonlyArray<HostAction>) {
    const isNew = next !== state
    committing = true
    state = next
    if (isNew) yield* onChange(state)
    for (const action of actions) yield* host(action, state)
    committing = false
    if (isNew) yield* tell
  })

  /** Whatever became due is applied before the operation and after it, so that an answer is never about the past. */
  const change = <A>(op: Op<A>) =>
    now.pipe(
      Effect.flatMap((at) => {
        const before = settle(state, params, at)
        const done = runOp(before.state, params, at, op)
        const after = settle(done.state, params, at)
        return Effect.as(commit(after.state, [...before.actions, ...done.actions, ...after.actions]), done.answer)
      }),
      // A caller that gives up halfway must not leave actions undone.
      Effect.uninterruptible,
      turn.withPermits(1)
    )

  const step = <A>(op: Op<A>) =>
    Effect.flatMap(now, (at) => {
      const answer = answerOf(op, at)
      return answer === undefined ? change(op) : Effect.succeed(answer)
    })

  const apply = <A>(op: Op<A>) => Effect.flatMap(step(op), Effect.fromResult)

  const call = Effect.fnUntraced(function* <A>(
    it: Call,
    op: Op<A>,
    callOptions?: CallOptions<A>
  ): Effect.fn.Return<A, Refusal | Dropped> {
    counts.set(it.operation, (counts.get(it.operation) ?? 0) + 1)
    const { refused, verdict } = yield* apply((draft) =>
      Result.succeed({ refused: spend(draft, it), verdict: judge(draft, it) })
    )
    if (verdict.latencyMs > 0) {
      options.onFault?.(it, "latency")
      yield* Effect.sleep(verdict.latencyMs)
    }
    if (refused !== null) return yield* Effect.fail(refused)
    const { fault } = verdict
    if (fault === null) return yield* apply(op)
    options.onFault?.(it, fault.kind)
    if (fault.kind === "empty_list") return callOptions?.empty ?? (yield* apply(op))
    if (fault.kind === "late") {
      yield* Effect.sleep(fault.ms).pipe(
        Effect.andThen(step(op)),
        Effect.tapCause(Effect.logError),
        Effect.forkIn(scope)
      )
      return yield* Effect.fail(dropped)
    }
    // Done, but the caller doesn't hear of it: not even that it was refused.
    if ("effect" in fault && fault.effect === "after") yield* step(op)
    return yield* Effect.fail(faultAnswer(fault) ?? dropped)
  })

  const awaitAnswer = <A>(op: Op<A | null>, timeoutMs: number) =>
    Effect.gen(function* () {
      for (;;) {
        const next = changed
        const answer = yield* apply(op)
        if (answer !== null) return answer
        yield* Deferred.await(next)
      }
    }).pipe(Effect.timeoutOrElse({ duration: timeoutMs, orElse: () => Effect.succeed(null) }))

  const touch = apply(() => Result.succeed(undefined)).pipe(Effect.orDie)

  // Time's own hand: without it a machine would come up only when somebody asks.
  yield* Effect.gen(function* () {
    for (;;) {
      const next = changed
      const due = nextDue(state, params.destroyedVisibleMs)
      yield* due === null
        ? Deferred.await(next)
        : Effect.timeoutOption(Deferred.await(next), Math.max(0, due - (yield* now)))
      yield* touch
    }
  }).pipe(
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("Fly stands still", cause)
    ),
    Effect.forkScoped
  )

  return FlyWorld.of({
    params,
    call,
    apply,
    state: Effect.map(touch, () => state),
    awaitAnswer,
    inject: (...rules) =>
      apply((draft) => {
        draft.state = { ...draft.state, faults: [...draft.state.faults, ...rules.map(activate)] }
        return Result.succeed(undefined)
      }).pipe(Effect.orDie),
    clearFaults: apply((draft) => {
      draft.state = { ...draft.state, faults: [] }
      return Result.succeed(undefined)
    }).pipe(Effect.orDie),
    calls: Effect.sync(() => new Map(counts)),
    callCount: (operation) =>
      Effect.sync(() =>
        operation === undefined
          ? [...counts.values()].reduce((sum, count) => sum + count, 0)
          : (counts.get(operation) ?? 0)
      ),
    resetCalls: Effect.sync(() => counts.clear()),
    advance: (ms) =>
      Effect.sync(() => {
        skewMs += ms
      }).pipe(Effect.andThen(touch), Effect.andThen(tell), Effect.asVoid),
    now
  })
})

export const layer = (options: WorldOptions = {}): Layer.Layer<FlyWorld> => Layer.effect(FlyWorld, make(options))
