/** Looks into a Node process that was started with `--inspect`: its heap after a full collection, its descriptors. */
import { readdirSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { WebSocket } from "ws"

const Answer = Schema.fromJsonString(
  Schema.Struct({
    id: Schema.optionalKey(Schema.Int),
    result: Schema.optionalKey(
      Schema.Struct({
        result: Schema.optionalKey(Schema.Struct({ value: Schema.optionalKey(Schema.Unknown) }))
      })
    )
  })
)
const decodeAnswer = Schema.decodeUnknownSync(Answer)
const decodeMemory = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Struct({ heapUsed: Schema.Int, external: Schema.Int, rss: Schema.Int }))
)

export interface Memory {
  /** Bytes on the JavaScript heap and beside it (buffers), after a full collection. */
  readonly heap: number
  readonly rss: number
  /** Open file descriptors. */
  readonly descriptors: number
}

/** `url`: as Node prints it, `ws://127.0.0.1:…/…`. */
export const inspect = (url: string, pid: number) =>
  Effect.gen(function* () {
    const socket = yield* Effect.acquireRelease(
      Effect.callback<WebSocket, Error>((resume) => {
        const socket = new WebSocket(url)
        socket.once("open", () => resume(Effect.succeed(socket)))
        socket.once("error", (error) => resume(Effect.fail(error)))
      }),
      (socket) => Effect.sync(() => socket.terminate())
    )
    let next = 0
    const call = (method: string, params = {}) =>
      Effect.callback<unknown>((resume) => {
        const id = ++next
        const listener = (data: unknown) => {
          const answer = decodeAnswer(String(data))
          if (answer.id !== id) return
          socket.off("message", listener)
          resume(Effect.succeed(answer.result?.result?.value))
        }
        socket.on("message", listener)
        socket.send(JSON.stringify({ id, method, params }))
      }).pipe(Effect.timeout("20 seconds"))
    /** Twice: what finalizers of the first let go of goes with the second. */
    const collect = Effect.andThen(call("HeapProfiler.collectGarbage"), call("HeapProfiler.collectGarbage"))
    const look = Effect.gen(function* () {
      yield* collect
      const expression = "JSON.stringify(process.memoryUsage())"
      const text = yield* call("Runtime.evaluate", { expression, returnByValue: true })
      const { heapUsed, external, rss } = yield* decodeMemory(text)
      const memory: Memory = { heap: heapUsed + external, rss, descriptors: readdirSync(`/proc/${pid}/fd`).length }
      return memory
    })
    return { look }
  })
