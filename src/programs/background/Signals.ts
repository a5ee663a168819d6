/** Explicit wake-ups of the background loops: many collapse into one, none is lost while a pass runs. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"

export const loopNames = ["pool", "sweep", "discard", "observe", "reap", "recovery"] as const
export type LoopName = (typeof loopNames)[number]

export class Signals extends Context.Service<
  Signals,
  {
    poke(loop: LoopName): Effect.Effect<void>
    /** Waits for a poke; one waiter per loop. */
    wait(loop: LoopName): Effect.Effect<void>
  }
>()("valet/Signals") {
  static readonly layer = Layer.effect(
    Signals,
    Effect.gen(function* () {
      const queues = new Map<LoopName, Queue.Queue<void>>()
      for (const name of loopNames) queues.set(name, yield* Queue.sliding<void>(1))
      const of = (name: LoopName) => Effect.fromNullishOr(queues.get(name)).pipe(Effect.orDie)
      return Signals.of({
        poke: (loop) => Effect.flatMap(of(loop), (queue) => Effect.asVoid(Queue.offer(queue, undefined))),
        wait: (loop) => Effect.flatMap(of(loop), Queue.take)
      })
    })
  )
}
