/**
 * Waiting for a server that was launched: until its health path answers, or its port accepts where it has none.
 *
 * A server that answers 404 to everything until it has loaded can't be told from one that has no health path, and counts
 * as ready when it listens. One that says 503 meanwhile is waited for.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Probe, ServerExit, ServerHost, ServerProcess } from "./ServerHost.ts"

export class NotReady extends Schema.TaggedError<NotReady>()("NotReady", {
  reason: Schema.Literals(["exited", "timeout"]),
  detail: Schema.String,
  /** Its last lines. */
  output: Schema.Array(Schema.String)
}) {
  override get message() {
    return this.detail
  }
}

export interface Ready {
  /** A check of its health path means something; else only that its port accepts. */
  readonly hasHealthPath: boolean
}

/**
 * A tenth longer each time, at most half a second: a server that writes nothing is found about as late as a tenth of its
 * start (some 24 probes in the first second, 45 in the first five). A hundred that started at once were ready a twentieth
 * later with ten a second for each, in a trial of `bench/`.
 */
const often = Schedule.min([Schedule.exponential("10 millis", 1.1), Schedule.spaced("500 millis")])

/**
 * Most servers write a line once they listen, so each thing that is written is a reason to ask at once: up to a tenth of
 * the start earlier. One that writes all the time is asked so often.
 */
const heardMs = 20

/** A health check may open the database; a probe that waits holds up nothing but the next one. */
const probeMs = 5_000

export const exitText = ({ code, signal }: ServerExit): string =>
  signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`

export const stateText = (probe: Probe | undefined): string =>
  probe?._tag === "Unhealthy" ? `its health path ${probe.detail}` : "nobody accepts on its port"

/** For longer than `withinMs` by what it takes to read its output. The process is left as it is, also where this fails. */
export const awaitReady = Effect.fnUntraced(function* (
  host: ServerHost["Service"],
  server: ServerProcess,
  healthPath: string,
  withinMs: number
): Effect.fn.Return<Ready, NotReady> {
  let last: Probe | undefined
  const failed = (reason: NotReady["reason"], detail: string) =>
    Effect.flatMap(server.output, (output) => Effect.fail(new NotReady({ reason, detail, output })))

  const exited = Effect.flatMap(server.exited, (exit) => failed("exited", `${exitText(exit)} before it was ready`))
  const ask = Effect.tap(host.probe(server.port, healthPath, Math.min(probeMs, withinMs)), (probe) =>
    Effect.sync(() => {
      last = probe
    })
  )
  const until = ({ _tag }: Probe) => _tag === "Healthy" || _tag === "Listening"
  const answering = Effect.repeat(ask, { schedule: often, until })
  // From before it is asked on: what it writes meanwhile may be that it listens.
  let more = yield* server.written
  const heard = Effect.suspend(() => more).pipe(
    Effect.andThen(server.written),
    Effect.tap((next) => Effect.sync(() => (more = next))),
    Effect.andThen(ask),
    Effect.repeat({ schedule: Schedule.spaced(heardMs), until })
  )
  const probe = yield* Effect.raceFirst(exited, Effect.raceFirst(answering, heard)).pipe(
    Effect.timeoutOrElse({
      duration: withinMs,
      orElse: () => failed("timeout", `it was not ready within ${withinMs} ms: ${stateText(last)}`)
    })
  )
  return { hasHealthPath: probe._tag === "Healthy" }
})
