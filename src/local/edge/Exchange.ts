/**
 * One request through the edge: first to the router app, then wherever its answers send it, until an answer is for the
 * client. Established facts of Fly's proxy that shape it: a request is replayed with its own method, path, headers and
 * body; a connection to the target is all that a replay needs to succeed, whatever is answered on it; a request that
 * came back by fallback is not replayed again.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Agent, IncomingMessage } from "node:http"
import type { ClientSide } from "./ClientSide.ts"
import { EdgeError } from "./EdgeError.ts"
import { values, type Flat } from "../../proxy/Headers.ts"
import * as Headers from "./Headers.ts"
import type { Origin, Reach, Reached, Unreached, Wanted } from "./Reach.ts"
import * as Replay from "./Replay.ts"
import type { RequestBody } from "./RequestBody.ts"
import * as Upstream from "../../proxy/Upstream.ts"

export interface ExchangeOptions {
  readonly routerApp: string
  readonly region: string
  readonly reach: Reach
  /** Keeps connections for requests that may be sent twice. */
  readonly agent: Agent
}

/** A request as it goes to a target. */
interface Delivery {
  readonly wanted: Wanted
  readonly path: string
  readonly headers: Flat
  /** `fly-replay-src` or `fly-replay-failed`. */
  readonly edgeHeaders: Flat
  readonly replayed?: { readonly replay: Replay.Replay; readonly issuer: Origin; readonly original: Delivery }
  /** It came back to the issuer of a replay that failed. */
  readonly returned: boolean
  /** A kept connection turned out to be closed: take a new one. */
  readonly fresh: boolean
}

/** Fly: PA02 "when fly-replay is returned more than 10 times". */
const maxReplays = 10
/** An answer that is a replay has a small body or none. */
const maxReplayBody = 64 * 1024
const replayBodyTimeout = "5 seconds"
/** RFC 9110 section 10.1.1: a client does not wait for ever for a 100, and neither does the edge. */
const continueTimeout = "1 second"
/** How soon a machine is woken that was suspended between taking the connection and answering. */
const watchEvery = "500 millis"

const repeatable = new Set(["GET", "HEAD", "OPTIONS"])
/** Of which Node expects no body. */
const bodyless = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"])

const fields = (entries: Readonly<Record<string, string | undefined>>) =>
  Object.entries(entries)
    .flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]))
    .join(";")

/** Runs until the answer is with the client or the connection is over; fails only before the answer began. */
export const run = (
  options: ExchangeOptions,
  client: ClientSide,
  body: RequestBody
): Effect.Effect<void, EdgeError | Unreached> => {
  const { method } = client
  const upgrade = client.upgrade !== undefined
  // Content-Length goes along with the other headers. A body whose end nothing tells is none: Node would have it chunked.
  const framing = values(client.headers, "transfer-encoding").flatMap((value) => ["Transfer-Encoding", value])
  const unframed = framing.length === 0 && values(client.headers, "content-length").length === 0
  if (unframed && !upgrade && !bodyless.has(method)) framing.push("Content-Length", "0")
  const repeats = repeatable.has(method) && body.empty && !upgrade

  const headersFor = (delivery: Delivery, missed: string | undefined, expects: boolean): Flat => [
    ...Headers.forwarded(delivery.headers, client.seen),
    ...delivery.edgeHeaders,
    ...(missed === undefined ? [] : ["fly-preferred-instance-unavailable", missed]),
    ...(expects ? ["Expect", "100-continue"] : []),
    ...framing,
    ...(upgrade ? ["Connection", "Upgrade", "Upgrade", client.upgrade?.protocol ?? ""] : [])
  ]

  const sendBody = (connection: Upstream.Connection, expects: boolean) =>
    Effect.gen(function* () {
      if (expects) {
        connection.request.flushHeaders()
        const asked = Effect.as(connection.continued, true)
        const answered = connection.answer.pipe(Effect.exit, Effect.as(false))
        const wanted = yield* Effect.raceFirst(asked, answered).pipe(
          Effect.timeoutOrElse({ duration: continueTimeout, orElse: () => Effect.succeed(true) })
        )
        if (!wanted) return
        client.sendContinue()
      }
      body.sendTo(connection.request)
    })

  /** The instruction in an answer, read to its end; none in one that is for the client. */
  const instruction = (response: IncomingMessage): Effect.Effect<Option.Option<Replay.Replay>, EdgeError> =>
    Effect.gen(function* () {
      const header = values(response.rawHeaders, "fly-replay")
      const json = (response.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase()
      if (header.length === 0 && json !== Replay.replayContentType) return Option.none()
      const text = yield* Upstream.readBody(response, maxReplayBody).pipe(
        Effect.timeoutOrElse({ duration: replayBodyTimeout, orElse: () => Effect.undefined })
      )
      const parsed =
        header.length > 1
          ? Result.fail("more than one fly-replay header")
          : header[0] !== undefined
            ? Replay.parseHeader(header[0])
            : text === undefined
              ? Result.fail("the JSON body is too large or never ended")
              : Replay.parseJson(text)
      if (Result.isFailure(parsed)) {
        return yield* new EdgeError({ code: "PA03", detail: `invalid fly-replay: ${parsed.failure}` })
      }
      return Option.some(parsed.success)
    })

  const replayTo = (delivery: Delivery, issuer: Origin, replay: Replay.Replay) =>
    Effect.gen(function* () {
      const app = replay.app ?? issuer.app
      if (delivery.returned) {
        return yield* new EdgeError({
          code: "PA03",
          detail: "a request that came back by fallback can't be replayed again"
        })
      }
      if (!(yield* options.reach.exists(app))) {
        return yield* new EdgeError({ code: "PA04", detail: `replay target app ${app} not found` })
      }
      body.detach()
      client.sendContinue()
      if (!(yield* body.kept)) {
        return yield* new EdgeError({ code: "PA01", detail: "requests larger than 1 MB can't be replayed" })
      }
      const now = yield* Clock.currentTimeMillis
      const source = fields({ instance: issuer.id, region: issuer.region, t: String(now * 1000), state: replay.state })
      const next: Delivery = {
        wanted: {
          app,
          instance: replay.instance,
          preferInstance: replay.preferInstance,
          exclude: replay.elsewhere ? issuer.id : undefined,
          timeoutMs: replay.timeoutMs
        },
        path: replay.transform?.path ?? delivery.path,
        headers:
          replay.transform === undefined ? delivery.headers : Headers.transformed(delivery.headers, replay.transform),
        edgeHeaders: ["fly-replay-src", source],
        replayed: { replay, issuer, original: delivery },
        returned: false,
        fresh: false
      }
      return next
    })

  /** The request goes back to who sent it on, as that saw it, with the reason; where the replay asked for it. */
  const fallback = (delivery: Delivery, startedAt: number, failure: Unreached) =>
    Effect.gen(function* () {
      const { replayed } = delivery
      if (replayed === undefined || replayed.replay.fallback === undefined) return yield* failure
      const { issuer, original, replay } = replayed
      const now = yield* Clock.currentTimeMillis
      const failed = fields({
        instance: replay.instance ?? replay.preferInstance,
        app: delivery.wanted.app,
        region: replay.region ?? options.region,
        replay_source: issuer.id,
        reason: failure.reason,
        elapsed_ms: String(now - startedAt)
      })
      const back: Delivery = {
        ...original,
        wanted:
          replay.fallback === "force_self"
            ? { app: issuer.app, instance: issuer.id }
            : { app: issuer.app, preferInstance: issuer.id },
        edgeHeaders: ["fly-replay-failed", failed],
        returned: true,
        fresh: false
      }
      return back
    })

  const awaitAnswer = ({ connection, origin }: Reached) =>
    Effect.gen(function* () {
      if (origin.app === options.routerApp) return yield* connection.answer
      const answer = Effect.asSome(connection.answer)
      const wake = Effect.as(options.reach.wakeIfAsleep(origin), Option.none<Upstream.Answer>())
      for (;;) {
        const inTime = yield* Effect.timeoutOption(connection.answer, watchEvery)
        if (Option.isSome(inTime)) return inTime.value
        const awake = yield* Effect.raceFirst(answer, wake)
        if (Option.isSome(awake)) return awake.value
      }
    })

  /** Delivers once: where to next, or undefined when the client has its answer. */
  const deliver = (delivery: Delivery): Effect.Effect<Delivery | undefined, EdgeError | Unreached, Scope.Scope> =>
    Effect.gen(function* () {
      const startedAt = yield* Clock.currentTimeMillis
      const expects = client.expectsContinue()
      const reached = yield* options.reach
        .connect(
          delivery.wanted,
          (origin, missed) => ({
            host: origin.host,
            port: origin.port,
            method,
            path: delivery.path,
            headers: headersFor(delivery, missed, expects),
            upgrade
          }),
          repeats && !delivery.fresh ? options.agent : false
        )
        .pipe(
          Effect.catchTag("Unsendable", ({ detail }) => Effect.fail(new EdgeError({ code: "PU04", detail }))),
          Effect.result
        )
      if (Result.isFailure(reached)) {
        return reached.failure._tag === "Unreached"
          ? yield* fallback(delivery, startedAt, reached.failure)
          : yield* reached.failure
      }
      const { connection, origin } = reached.success
      yield* Effect.addFinalizer(() => Effect.sync(body.detach))
      yield* sendBody(connection, expects)
      const answer = yield* Effect.result(awaitAnswer(reached.success))
      if (Result.isFailure(answer)) {
        if (answer.failure.stale) return { ...delivery, fresh: true }
        return yield* new EdgeError({ code: "PU02", detail: `${origin.app} ${origin.id}: ${answer.failure.detail}` })
      }
      if (answer.success._tag === "Upgraded") {
        yield* client.accept(answer.success)
        return undefined
      }
      const { response } = answer.success
      const replay = yield* instruction(response)
      if (Option.isSome(replay)) return yield* replayTo(delivery, origin, replay.value)
      yield* client.respond(response)
      return undefined
    })

  return Effect.gen(function* () {
    let delivery: Delivery | undefined = {
      wanted: { app: options.routerApp },
      path: client.path,
      headers: Headers.fromClient(client.headers),
      edgeHeaders: [],
      returned: false,
      fresh: false
    }
    let replays = 0
    while (delivery !== undefined) {
      const next: Delivery | undefined = yield* Effect.scoped(deliver(delivery))
      if (next?.replayed !== undefined && next.replayed !== delivery.replayed && !next.returned) replays += 1
      if (replays > maxReplays) {
        return yield* new EdgeError({ code: "PA02", detail: `more than ${maxReplays} replays of one request` })
      }
      delivery = next
    }
  })
}
