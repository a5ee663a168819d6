/** One request by Node's client on a connection of its own, looked at while it goes on. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import { eventually } from "../../support/eventually.ts"

export interface Exchange {
  readonly request: http.ClientRequest
  /** Its head; the body is the test's to read. */
  readonly response: Effect.Effect<http.IncomingMessage, unknown>
  /** The whole body, to its end; fails where the answer was cut. */
  readonly body: Effect.Effect<string, unknown>
  readonly continued: () => boolean
  /** Early hints and other interim answers. */
  readonly interim: ReadonlyArray<number>
  readonly error: () => Error | undefined
}

export const exchange = (port: number, options: http.RequestOptions): Effect.Effect<Exchange, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const request = http.request({ host: "127.0.0.1", port, agent: false, ...options })
      let answer: http.IncomingMessage | undefined
      let failed: Error | undefined
      let closed = false
      let continued = false
      const interim: Array<number> = []
      request.on("error", (error) => (failed ??= error))
      request.on("continue", () => (continued = true))
      request.on("information", ({ statusCode }) => interim.push(statusCode))
      request.on("response", (response) => {
        answer = response
        response.on("error", (error) => (failed ??= error))
        response.on("close", () => (closed = true))
      })
      const response = Effect.gen(function* () {
        yield* eventually(Effect.sync(() => answer !== undefined || failed !== undefined))
        if (answer === undefined) return yield* Effect.fail(failed)
        return answer
      })
      const body = Effect.gen(function* () {
        const from = yield* response
        const chunks: Array<Buffer> = []
        from.on("data", (chunk: Buffer) => chunks.push(chunk))
        yield* eventually(Effect.sync(() => closed))
        if (!from.complete) return yield* Effect.fail("cut")
        return Buffer.concat(chunks).toString()
      })
      return { request, response, body, continued: () => continued, interim, error: () => failed }
    }),
    ({ request }) => Effect.sync(() => request.destroy())
  )
