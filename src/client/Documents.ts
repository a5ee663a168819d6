/**
 * A project's documents over its WebSocket: requests are pipelined, each answer finds its request by id. On the global
 * `WebSocket` of browsers and Node, so it needs nothing else.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/** `Closed`: the connection ended, and whether a pending write was carried out is unknown. */
export class DocumentsError extends Schema.TaggedError<DocumentsError>()("DocumentsError", {
  code: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.code}: ${this.detail}`
  }
  get retryable(): boolean {
    return this.code === "closed" || this.code === "sealed"
  }
}

const Answer = Schema.Struct({
  id: Schema.optionalKey(Schema.Union([Schema.Int, Schema.String, Schema.Null])),
  ok: Schema.optionalKey(Schema.Boolean),
  version: Schema.optionalKey(Schema.Int),
  value: Schema.optionalKey(Schema.Unknown),
  keys: Schema.optionalKey(Schema.Array(Schema.Struct({ key: Schema.String, version: Schema.Int }))),
  next: Schema.optionalKey(Schema.NullOr(Schema.String)),
  error: Schema.optionalKey(Schema.Struct({ code: Schema.String, message: Schema.String }))
})
const decodeAnswer = Schema.decodeUnknownExit(Schema.fromJsonString(Answer))

export interface Documents {
  /** The version once it is on disk. */
  put(key: string, value: unknown): Effect.Effect<number, DocumentsError>
  get(key: string): Effect.Effect<{ readonly value: unknown; readonly version: number }, DocumentsError>
  delete(key: string): Effect.Effect<number, DocumentsError>
  list(prefix: string): Effect.Effect<ReadonlyArray<{ readonly key: string; readonly version: number }>, DocumentsError>
  /** Completes when the server or the network ends the connection: its close code. */
  readonly closed: Effect.Effect<number>
}

const gone = (detail: string) => new DocumentsError({ code: "closed", detail })

/** `url`: `ws://…/ws`. Open until the scope closes. */
export const connect = (url: string): Effect.Effect<Documents, DocumentsError, Scope.Scope> =>
  Effect.gen(function* () {
    const pending = new Map<number, Deferred.Deferred<typeof Answer.Type, DocumentsError>>()
    const closed = yield* Deferred.make<number>()
    const opened = yield* Deferred.make<void, DocumentsError>()
    let next = 0
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => new WebSocket(url)),
      (open) => Effect.sync(() => open.close(1000))
    )
    const end = (code: number, detail: string) => {
      Deferred.doneUnsafe(opened, Effect.fail(gone(detail)))
      Deferred.doneUnsafe(closed, Effect.succeed(code))
      for (const waiting of pending.values()) Deferred.doneUnsafe(waiting, Effect.fail(gone(detail)))
      pending.clear()
    }
    socket.addEventListener("open", () => Deferred.doneUnsafe(opened, Effect.void))
    socket.addEventListener("close", (event) => end(event.code, `closed with ${event.code} ${event.reason}`))
    socket.addEventListener("error", () => end(1006, `no connection to ${url}`))
    socket.addEventListener("message", (event) => {
      const answer = decodeAnswer(event.data)
      if (answer._tag !== "Success" || typeof answer.value.id !== "number") return
      const waiting = pending.get(answer.value.id)
      pending.delete(answer.value.id)
      const { error } = answer.value
      if (waiting === undefined) return
      Deferred.doneUnsafe(
        waiting,
        error === undefined
          ? Effect.succeed(answer.value)
          : Effect.fail(new DocumentsError({ code: error.code, detail: error.message }))
      )
    })
    yield* Deferred.await(opened)

    const request = (body: Readonly<Record<string, unknown>>) =>
      Effect.suspend(() => {
        if (socket.readyState !== WebSocket.OPEN) return Effect.fail(gone("the connection has ended"))
        const id = ++next
        const waiting = Deferred.makeUnsafe<typeof Answer.Type, DocumentsError>()
        pending.set(id, waiting)
        socket.send(JSON.stringify({ id, ...body }))
        return Deferred.await(waiting)
      })
    return {
      put: (key, value) => Effect.map(request({ op: "put", key, value }), (answer) => answer.version ?? 0),
      get: (key) =>
        Effect.map(request({ op: "get", key }), (answer) => ({
          value: answer.value ?? null,
          version: answer.version ?? 0
        })),
      delete: (key) => Effect.map(request({ op: "delete", key }), (answer) => answer.version ?? 0),
      list: (prefix) => Effect.map(request({ op: "list", prefix, limit: 1000 }), (answer) => answer.keys ?? []),
      closed: Deferred.await(closed)
    }
  })
