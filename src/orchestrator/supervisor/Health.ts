/** Is a running server well? Three misses in a row are a death, one slow answer is not. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Probe, ServerHost, ServerProcess } from "../ServerHost.ts"
import type { Running } from "./Entry.ts"
import * as Uptime from "./Uptime.ts"

export interface Health {
  /** In a row. */
  readonly misses: number
  readonly checkedAt: number | null
  readonly detail: string | null
  readonly memoryBytes: number | null
  /** Null: to be learned from the next answer, because the path changed. */
  readonly hasPath: boolean | null
}

export const initial = (hasPath: boolean): Health => ({
  misses: 0,
  checkedAt: null,
  detail: null,
  memoryBytes: null,
  hasPath
})

const missesAllowed = 2
const probeTimeoutMs = 5_000
/** A group of processes is read from /proc in a few milliseconds; on a machine that can't, the number is left out. */
const memoryTimeoutMs = 1_000

const describe = (probe: Probe): string => {
  switch (probe._tag) {
    case "Closed":
      return "nobody accepts on its port"
    case "Listening":
      return "its health path is not answered"
    case "Unhealthy":
      return probe.detail
    case "Healthy":
      return "healthy"
  }
}

/** Where there is no health path, a server that accepts is well. */
export const judge = (before: Health, probe: Probe, memoryBytes: number | null, now: number): Health => {
  const hasPath = before.hasPath ?? (probe._tag === "Closed" ? null : probe._tag !== "Listening")
  const missed = hasPath === true ? probe._tag !== "Healthy" : probe._tag === "Closed"
  return {
    misses: missed ? before.misses + 1 : 0,
    checkedAt: now,
    detail: missed ? describe(probe) : null,
    memoryBytes,
    hasPath
  }
}

/** Why the server is to be replaced; null where it is not. */
export const verdict = (health: Health, maxMemoryMb: number | null): string | null => {
  const megabytes = health.memoryBytes === null ? 0 : Math.ceil(health.memoryBytes / 1024 / 1024)
  if (maxMemoryMb !== null && megabytes > maxMemoryMb)
    return `used ${megabytes} MB of memory, ${maxMemoryMb} are allowed`
  return health.misses > missesAllowed ? `failed ${health.misses} health checks: ${health.detail}` : null
}

export const memoryOf = (process: ServerProcess): Effect.Effect<number | null> =>
  Effect.timeoutOrElse(process.memory, { duration: memoryTimeoutMs, orElse: () => Effect.succeed(null) })

/** Checks every interval, for the first time one interval from now; returns why the server is to be replaced. */
export const watch = (host: ServerHost["Service"], running: Running, intervalMs: number): Effect.Effect<string> => {
  const { process } = running.started
  const check = Effect.gen(function* () {
    const probe = yield* host.probe(process.port, running.plan.healthPath, Math.min(probeTimeoutMs, intervalMs))
    const memoryBytes = yield* memoryOf(process)
    running.health = judge(running.health, probe, memoryBytes, yield* Uptime.now)
    return verdict(running.health, running.plan.maxMemoryMb)
  })
  return check.pipe(
    Effect.repeat({ schedule: Schedule.spaced(intervalMs), until: (reason) => reason !== null }),
    Effect.delay(intervalMs),
    Effect.map((reason) => reason ?? "")
  )
}
