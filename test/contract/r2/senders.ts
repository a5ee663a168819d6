/** Machine servers' clients: over HTTP, and into memory. */
import { request } from "node:http"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { MemoryR2 } from "../../../src/testing/MemoryR2.ts"
import { Sender } from "./suite.ts"

export interface Answer {
  readonly status: number
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
}

/** Node's own client sends paths as they are; fetch would normalise them. */
export const send = (
  method: string,
  url: string,
  headers: Readonly<Record<string, string>> = {},
  body: Uint8Array | null = null
): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    const { hostname, port } = new URL(url)
    const path = url.slice(url.indexOf("/", "http://".length))
    const length = body === null ? {} : { "content-length": String(body.length) }
    const sent = request(
      { method, hostname, port, path, headers: { ...length, ...headers }, agent: false },
      (answer) => {
        const pieces: Array<Buffer> = []
        answer.on("data", (piece: Buffer) => pieces.push(piece))
        answer.on("error", (error) => resume(Effect.fail(error)))
        answer.on("end", () =>
          resume(
            Effect.succeed({ status: answer.statusCode ?? 0, body: Buffer.concat(pieces), headers: answer.headers })
          )
        )
      }
    )
    sent.on("error", (error) => resume(Effect.fail(error)))
    sent.end(body ?? undefined)
    return Effect.sync(() => sent.destroy())
  })

export const http: Layer.Layer<Sender> = Layer.succeed(
  Sender,
  Sender.of({
    put: (url, headers, body) => Effect.orDie(Effect.map(send("PUT", url, headers, body), ({ status }) => status)),
    get: (url) => Effect.orDie(send("GET", url))
  })
)

export const memory: Layer.Layer<Sender, never, MemoryR2> = Layer.effect(
  Sender,
  Effect.map(MemoryR2, (r2) =>
    Sender.of({
      put: (url, headers, body) => Effect.map(r2.put(url, { headers, body }), ({ status }) => status),
      get: (url) => r2.get(url)
    })
  )
)
