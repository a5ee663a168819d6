/**
 * Server processes that are only imagined, behind `ServerHost`: what they do, and when, is a script's, on the Clock.
 *
 * It writes down what was launched and stopped, and how many processes of one name lived at the same time at most: more
 * than one would be two servers on one database.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { LaunchError, ServerHost } from "../orchestrator/ServerHost.ts"
import type { Launch, Probe, ServerExit, ServerProcess } from "../orchestrator/ServerHost.ts"

/** What a probe of a port that accepts meets. `slow`: no answer within its timeout, however long that is. */
export type FakeHealth = "healthy" | "listening" | "unhealthy" | "closed" | "slow"

export interface FakeScript {
  /** From the launch until its port accepts; null: never. Default 50. */
  readonly acceptsAfterMs?: number | null
  /** Default healthy. */
  readonly health?: FakeHealth
  /** It ends on its own so long after its launch. */
  readonly exit?: { readonly afterMs: number; readonly code: number }
  /** From SIGTERM to its end, with code 0; null: it ignores SIGTERM. Default 10. */
  readonly stopsAfterMs?: number | null
  /** Of its whole group; null: the system does not tell. Default 50 MiB. */
  readonly memoryBytes?: number | null
  /** Default one line. */
  readonly output?: ReadonlyArray<string>
  /** From the launch until it writes something; undefined: nobody hears of it. */
  readonly writesAfterMs?: number
  /** The launch itself fails, with this detail. */
  readonly launchError?: string
}

export interface FakeProcess {
  readonly pid: number
  readonly port: number
  /** As it is now: a warm server gets its project's. */
  readonly name: string
  readonly launch: Launch
  /** Milliseconds on the Clock, as all times here. */
  readonly launchedAt: number
}

export interface FakeStop {
  readonly pid: number
  readonly name: string
  readonly at: number
  readonly graceMs: number
}

/** The script of the nth process (from 1) that is launched under a name. */
export type ScriptFor = (name: string, nth: number) => FakeScript

export class FakeServerHost extends Context.Service<
  FakeServerHost,
  {
    /** Of processes that are launched from here on; without it every one follows the defaults. */
    setScripts(scriptFor: ScriptFor): Effect.Effect<void>
    /** Of those that live under this name: all but when it exits. False where there are none. */
    change(name: string, script: Omit<FakeScript, "exit" | "launchError">): Effect.Effect<boolean>
    /** Those that live under this name end at once, on their own. False where there are none. */
    exit(name: string, code: number): Effect.Effect<boolean>
    /** All launches, failed ones left out, oldest first. */
    readonly launches: Effect.Effect<ReadonlyArray<FakeProcess>>
    /** Calls of `stop` on a living process, oldest first. */
    readonly stops: Effect.Effect<ReadonlyArray<FakeStop>>
    readonly live: Effect.Effect<ReadonlyArray<FakeProcess>>
    /** The most that ever lived at the same time under one name; 0 where nothing was launched. */
    readonly maxLivePerName: Effect.Effect<number>
    /** The most that ever lived at the same time, whatever their names. */
    readonly maxLive: Effect.Effect<number>
  }
>()("valet/FakeServerHost") {}

const defaults = {
  acceptsAfterMs: 50,
  health: "healthy",
  stopsAfterMs: 10,
  memoryBytes: 50 * 1024 * 1024,
  output: ["listening"]
} as const satisfies FakeScript

const firstPid = 1_000
const firstPort = 20_000
const killed: ServerExit = { code: 137, signal: "SIGKILL" }

interface Running {
  readonly pid: number
  readonly port: number
  readonly launch: Launch
  readonly launchedAt: number
  readonly exited: Deferred.Deferred<ServerExit>
  name: string
  script: FakeScript & Required<Pick<FakeScript, keyof typeof defaults>>
  terminated: boolean
}

const view = ({ pid, port, name, launch, launchedAt }: Running): FakeProcess => ({
  pid,
  port,
  name,
  launch,
  launchedAt
})

const make = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const living = new Map<number, Running>()
  const launches: Array<Running> = []
  const stops: Array<FakeStop> = []
  const launchesOf = new Map<string, number>()
  let scriptFor: ScriptFor = () => ({})
  let maxLive = 0
  let maxLivePerName = 0

  const named = (name: string) => [...living.values()].filter((it) => it.name === name)
  const count = (name: string) => {
    maxLive = Math.max(maxLive, living.size)
    maxLivePerName = Math.max(maxLivePerName, named(name).length)
  }

  const end = (running: Running, exit: ServerExit) =>
    Effect.suspend(() => {
      living.delete(running.pid)
      return Deferred.succeed(running.exited, exit)
    })

  /** Goes on whoever asked for it; reaches its sleep before anybody else may move the clock. */
  const later = (ms: number, work: Effect.Effect<unknown>) =>
    Effect.sleep(ms).pipe(
      Effect.andThen(work),
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("a fake process failed", cause)
      ),
      Effect.forkIn(scope, { startImmediately: true })
    )

  const stop = Effect.fnUntraced(function* (running: Running, graceMs: number) {
    if (!living.has(running.pid)) return
    stops.push({ pid: running.pid, name: running.name, at: yield* Clock.currentTimeMillis, graceMs })
    const { stopsAfterMs } = running.script
    if (!running.terminated && stopsAfterMs !== null) {
      running.terminated = true
      yield* later(stopsAfterMs, end(running, { code: 0, signal: null }))
    }
    yield* Effect.timeoutOrElse(Deferred.await(running.exited), {
      duration: graceMs,
      orElse: () => end(running, killed)
    })
  })

  const started = Effect.fnUntraced(function* (launch: Launch, script: FakeScript) {
    const running: Running = {
      pid: firstPid + launches.length,
      port: firstPort + launches.length,
      launch,
      launchedAt: yield* Clock.currentTimeMillis,
      exited: yield* Deferred.make<ServerExit>(),
      name: launch.name,
      script: { ...defaults, ...script },
      terminated: false
    }
    living.set(running.pid, running)
    launches.push(running)
    count(launch.name)
    if (script.exit !== undefined) {
      yield* later(script.exit.afterMs, end(running, { code: script.exit.code, signal: null }))
    }
    return running
  })

  const written = ({ launchedAt, script: { writesAfterMs } }: Running) =>
    Effect.map(Clock.currentTimeMillis, (since) => {
      const at = launchedAt + (writesAfterMs ?? Number.NEGATIVE_INFINITY)
      return at <= since
        ? Effect.never
        : Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(Math.max(0, at - now)))
    })

  const launch = Effect.fnUntraced(function* (launch: Launch) {
    const nth = (launchesOf.get(launch.name) ?? 0) + 1
    launchesOf.set(launch.name, nth)
    const script = scriptFor(launch.name, nth)
    if (script.launchError !== undefined) return yield* new LaunchError({ detail: script.launchError })
    const running = yield* Effect.acquireRelease(started(launch, script), (running) => end(running, killed))
    const process: ServerProcess = {
      pid: running.pid,
      port: running.port,
      exited: Deferred.await(running.exited),
      output: Effect.sync(() => running.script.output),
      written: Effect.suspend(() => written(running)),
      memory: Effect.sync(() => (living.has(running.pid) ? running.script.memoryBytes : null)),
      stop: (graceMs) => stop(running, graceMs),
      rename: (name) =>
        Effect.sync(() => {
          running.name = name
          count(name)
        })
    }
    return process
  })

  const probe = Effect.fnUntraced(function* (port: number, timeoutMs: number): Effect.fn.Return<Probe> {
    const running = [...living.values()].find((it) => it.port === port)
    if (running === undefined) return { _tag: "Closed" }
    const { acceptsAfterMs, health } = running.script
    const now = yield* Clock.currentTimeMillis
    if (acceptsAfterMs === null || now < running.launchedAt + acceptsAfterMs) return { _tag: "Closed" }
    if (health === "healthy") return { _tag: "Healthy" }
    if (health === "listening") return { _tag: "Listening" }
    if (health === "closed") return { _tag: "Closed" }
    if (health === "unhealthy") return { _tag: "Unhealthy", detail: "answered 503" }
    yield* Effect.sleep(timeoutMs)
    return { _tag: "Unhealthy", detail: `no answer within ${timeoutMs} ms` }
  })

  const fake = FakeServerHost.of({
    setScripts: (next) => Effect.sync(() => void (scriptFor = next)),
    change: (name, script) =>
      Effect.sync(() => {
        const found = named(name)
        for (const running of found) running.script = { ...running.script, ...script }
        return found.length > 0
      }),
    exit: (name, code) =>
      Effect.suspend(() => {
        const found = named(name)
        return Effect.as(
          Effect.forEach(found, (running) => end(running, { code, signal: null })),
          found.length > 0
        )
      }),
    launches: Effect.sync(() => launches.map(view)),
    stops: Effect.sync(() => [...stops]),
    live: Effect.sync(() => [...living.values()].map(view)),
    maxLivePerName: Effect.sync(() => maxLivePerName),
    maxLive: Effect.sync(() => maxLive)
  })
  const host = ServerHost.of({ launch, probe: (port, _path, timeoutMs) => probe(port, timeoutMs) })
  return Context.make(FakeServerHost, fake).pipe(Context.add(ServerHost, host))
})

export const layerFakeServerHost: Layer.Layer<FakeServerHost | ServerHost> = Layer.effectContext(make)
