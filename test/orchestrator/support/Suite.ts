/** A suite of tests for everything that a request can pass through on its way to a project's server. */
import { assert, layer, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { amount } from "../../support/amount.ts"
import { builtOnce } from "../../support/builtOnce.ts"
import { answersIn } from "./Answers.ts"
import { atRest, layerFront, Subject } from "./Subject.ts"
import { layerOrchestrator } from "./WholeOrchestrator.ts"
import { dial } from "./Wire.ts"

interface Way {
  readonly name: string
  readonly layer: Layer.Layer<Subject>
  /** How many rows of each table go this way. */
  readonly rows: number
}

/** The first rows of a table, by name. */
export type Rows = <A>(table: Readonly<Record<string, A>>) => ReadonlyArray<[string, A]>

type Tests = (it: Vitest.MethodsNonLive<Subject>, rows: Rows) => void

/** Through this one, and looks behind them: nothing is held, nothing went wrong unseen, and it answers. */
const through = (way: Way, name: string, tests: Tests): void => {
  layer(way.layer, { excludeTestServices: true, timeout: "60 seconds" })(`${name}, through ${way.name}`, (it) => {
    tests(it, (table) => Object.entries(table).slice(0, way.rows))
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

/**
 * Runs tests through the front alone, and through a whole orchestrator: its supervisor, its folders and a process for
 * each project are real there, its front is the same. So one row of a table goes that way in a usual run.
 */
const waysOf = (front: Layer.Layer<Subject>, orchestrator: Layer.Layer<Subject>): ReadonlyArray<Way> => {
  const rows = amount(1, Number.POSITIVE_INFINITY)
  const some = rows === 1 ? " (one row a table)" : ""
  return [
    { name: "the front", layer: front, rows: Number.POSITIVE_INFINITY },
    { name: `the orchestrator${some}`, layer: orchestrator, rows }
  ]
}

/** Called at the top of a test file: the suites made by the answer share one process of each kind. */
export const suites = () => {
  const ways = waysOf(builtOnce(layerFront()), builtOnce(layerOrchestrator()))
  return (name: string, tests: Tests): void => {
    for (const way of ways) through(way, name, tests)
  }
}

/** Has processes of its own, whose memory nothing else used. */
export const suiteAlone = (name: string, tests: Tests): void => {
  for (const way of waysOf(layerFront(), layerOrchestrator())) through(way, name, tests)
}

/** The same, through the front only. */
export const frontAlone = (name: string, tests: Tests): void => {
  for (const way of waysOf(layerFront(), layerOrchestrator()).slice(0, 1)) through(way, name, tests)
}
