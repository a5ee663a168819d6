/** What all endpoints share: reading requests as Fly does, and turning refusals and broken connections into answers. */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Base64Url from "effect/encoding/Base64Url"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Dropped } from "../FlyWorld.ts"
import { FlyWorld } from "../FlyWorld.ts"
import type { MachineHost } from "../MachineHost.ts"
import type { Op } from "../model/Draft.ts"
import type { Operation } from "../model/Operations.ts"
import type { Refusal } from "../model/Refusal.ts"
import { refusal, refusalBody } from "../model/Refusal.ts"

export type Reply = HttpServerResponse.HttpServerResponse
export type Failure = Refusal | Dropped

export interface Input {
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** Of the lease that the caller holds. */
  readonly nonce: string | undefined
  /** The JSON body, decoded; an absent body is `{}`. */
  body<A>(schema: Schema.ConstraintDecoder<A>): Effect.Effect<A, Refusal>
}

export const json = (body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Reply =>
  HttpServerResponse.jsonUnsafe(body, { status, headers })
export const nothing = (status: 202 | 204): Reply => HttpServerResponse.empty({ status })
export const okay = json({ ok: true })

const refusalReply = (it: Refusal): Reply =>
  json(
    refusalBody(it),
    it.status,
    it.retryAfterSeconds === undefined ? {} : { "retry-after": String(it.retryAfterSeconds) }
  )

/** As a client sees a connection that breaks: nothing at all comes back. */
const hangUp = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
  Effect.sync(() => {
    NodeHttpServerRequest.toIncomingMessage(request).socket.destroy()
    return HttpServerResponse.empty({ status: 500 })
  })
)

/** Ample: a configuration carries whole files at most. */
const longestBody = ByteSize.mebibytes(4)

const parseJson = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Unknown))

const readBody = <A>(request: HttpServerRequest.HttpServerRequest, schema: Schema.ConstraintDecoder<A>) =>
  request.text.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, longestBody),
    Effect.flatMap((text) => parseJson(text.trim() === "" ? "{}" : text)),
    Effect.flatMap(Schema.decodeUnknownEffect(schema)),
    Effect.mapError((error) => refusal(400, `invalid_argument: invalid request body: ${error.message}`))
  )

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE"

export const endpoint = (
  method: Method,
  path: `/${string}`,
  handler: (input: Input) => Effect.Effect<Reply, Failure, FlyWorld | MachineHost>
) =>
  HttpRouter.route(
    method,
    path,
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const given = yield* HttpRouter.params
      const params: Record<string, string> = {}
      for (const [key, value] of Object.entries(given)) if (value !== undefined) params[key] = value
      return yield* handler({
        params,
        query: new URL(request.url, "http://fly").searchParams,
        nonce: request.headers["fly-machine-lease-nonce"],
        body: (schema) => readBody(request, schema)
      })
    }).pipe(
      Effect.catchTags({
        Refusal: (it: Refusal) => Effect.succeed(refusalReply(it)),
        Dropped: () => hangUp
      })
    )
  )

export const param = (input: Input, name: string): string => input.params[name] ?? ""

/** The call that a path is about: on its machine or volume. */
export const onTarget = <A>(
  input: Input,
  operation: Operation,
  op: (app: string, id: string) => Op<A>
): Effect.Effect<A, Failure, FlyWorld> =>
  Effect.flatMap(FlyWorld, (world) => {
    const app = param(input, "app")
    const target = input.params["machine"] ?? param(input, "volume")
    return world.call({ operation, app, target }, op(app, target))
  })

export const flag = (query: URLSearchParams, name: string): boolean =>
  query.get(name) === "true" || query.get(name) === "1"

/** An integer of the query; undefined where it is absent, null where it is none. */
export const integer = (query: URLSearchParams, name: string): number | null | undefined => {
  const text = query.get(name)
  if (text === null || text === "") return undefined
  return /^-?[0-9]+$/.test(text) ? Number(text) : null
}

const Cursor = Schema.fromJsonString(Schema.Struct({ after: Schema.String, at: Schema.Finite }))
const decodeCursor = Schema.decodeUnknownOption(Cursor)
const cursorLifeMs = 30 * 60_000

export interface Page<A> {
  readonly items: ReadonlyArray<A>
  readonly next: string | undefined
}

/** With `limit` a page and an opaque cursor to the next, valid for half an hour; without it everything. */
export const paged = Effect.fnUntraced(function* <A extends { readonly id: string }>(
  query: URLSearchParams,
  items: ReadonlyArray<A>
): Effect.fn.Return<Page<A>, Refusal> {
  const limit = integer(query, "limit")
  if (limit === null || (limit !== undefined && (limit < 1 || limit > 1_000))) {
    return yield* Effect.fail(refusal(400, "invalid_argument: limit must be between 1 and 1000"))
  }
  const now = yield* Clock.currentTimeMillis
  const token = query.get("cursor")
  let rest = items
  if (token !== null && token !== "") {
    const cursor = Option.flatMap(Result.getSuccess(Base64Url.decodeString(token)), decodeCursor)
    if (Option.isNone(cursor) || cursor.value.at + cursorLifeMs < now) {
      return yield* Effect.fail(refusal(400, "invalid_argument: invalid or expired cursor"))
    }
    const { after } = cursor.value
    const index = items.findIndex((it) => it.id === after)
    rest = items.slice(index + 1)
  }
  if (limit === undefined || rest.length <= limit) return { items: rest, next: undefined }
  const page = rest.slice(0, limit)
  const next = Base64Url.encode(JSON.stringify({ after: page.at(-1)?.id ?? "", at: now }))
  return { items: page, next }
})

export const pageReply = <A>(page: Page<A>, map: (item: A) => unknown): Reply =>
  json(page.items.map(map), 200, page.next === undefined ? {} : { "fly-next-cursor": page.next })
