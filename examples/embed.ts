/**
 * A whole control plane inside a test of yours: no network, no process, no waiting. Run it: `node examples/embed.ts`
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { Lifecycle, sweep } from "valet"
import { layerTestPlane } from "valet/testing"

const program = Effect.gen(function* () {
  const lifecycle = yield* Lifecycle
  const create = yield* Effect.forkChild(
    lifecycle.create({
      projectId: null,
      region: null,
      idleTimeoutSeconds: null,
      client: null,
      idempotencyKey: null,
      deadlineMs: 60_000
    })
  )
  yield* TestClock.adjust("1 minute")
  const { view } = yield* Fiber.join(create)
  yield* Console.log(`created ${view.project.projectId}: ${view.project.state}`)

  yield* TestClock.adjust("8 days")
  const pass = yield* Effect.forkChild(sweep)
  yield* TestClock.adjust("5 minutes")
  yield* Console.log("a week later the sweep says", yield* Fiber.join(pass))

  const wake = yield* Effect.forkChild(lifecycle.wake(view.project.projectId, { deadlineMs: 60_000 }))
  yield* TestClock.adjust("1 minute")
  const woken = yield* Fiber.join(wake)
  yield* Console.log(`woken ${woken.source}: ${woken.view.project.state}, generation ${woken.view.project.generation}`)
})

await Effect.runPromise(program.pipe(Effect.provide(layerTestPlane().pipe(Layer.provideMerge(TestClock.layer())))))
