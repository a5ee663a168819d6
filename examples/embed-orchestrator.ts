/**
 * The orchestrator's supervisor inside a test of yours: imagined processes, no waiting. Run it:
 * `node examples/embed-orchestrator.ts`
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { ProjectId, Supervisor } from "valet"
import { layerTestOrchestrator } from "valet/testing"

const program = Effect.gen(function* () {
  const supervisor = yield* Supervisor
  const project = ProjectId.ProjectId.make("my-notes")
  const visit = supervisor
    .use({ project, kind: "connection", client: null })
    .pipe(Effect.andThen(Effect.sleep("1 hour")), Effect.scoped)
  const visitor = yield* Effect.forkChild(visit)
  yield* TestClock.adjust("10 minutes")
  for (const server of yield* supervisor.status) yield* Console.log(server.state, server.awake_because.join())
  yield* TestClock.adjust("51 minutes")
  yield* Fiber.join(visitor)
  for (const server of yield* supervisor.status) yield* Console.log(server.state, "until", server.stops_at)
  yield* TestClock.adjust("6 minutes")
  yield* Console.log(`${(yield* supervisor.status).length} servers, ${(yield* supervisor.totals).stops} stopped`)
})

await Effect.runPromise(
  program.pipe(Effect.provide(layerTestOrchestrator().pipe(Layer.provideMerge(TestClock.layer()))))
)
