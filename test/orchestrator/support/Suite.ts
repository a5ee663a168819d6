/** A suite of tests for everything that a request can pass through on its way to a project's server. */
import { assert, layer, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { answersIn } from "./Answers.ts"
import { atRest, layerFront, Subject } from "./Subject.ts"
import { layerOrchestrator } from "./WholeOrchestrator.ts"
import { dial } from "./Wire.ts"

interface Way {
  readonly name: string
  readonly layer: Layer.Layer<Subject>
}

const ways: ReadonlyArray<Way> = [
  { name: "the front", layer: layerFront() },
  { name: "the orchestrator", layer: layerOrchestrator() }
]

/** Runs the tests through each, and looks behind them: nothing is held, nothing went wrong unseen, and it answers. */
export const suite = (
  name: string,
  tests: (it: Vitest.MethodsNonLive<Subject>) => void,
  through: ReadonlyArray<Way> = ways
): void => {
  for (const way of through) {
    layer(way.layer, { excludeTestServices: true, timeout: "60 seconds" })(`${name}, through ${way.name}`, (it) => {
      tests(it)
      it.effect("afterwards no connection is held, nothing failed unexpectedly, and it answers", () =>
        Effect.gen(function* () {
          const { log, port, running } = yield* Subject
          yield* atRest
          assert.isTrue(yield* running)
          assert.notMatch(yield* log, /request failed|unhandled|uncaught| ERROR |^\s+at /m)
          const client = yield* dial(port)
          client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
          const { text } = yield* client.over
          assert.strictEqual(answersIn(text)[0]?.status, 200)
        })
      )
    })
  }
}
