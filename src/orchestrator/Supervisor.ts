/** The map from project to running server: counted references, an idle time to live, restarts, capacity. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type { ServerStatus } from "../contract/OrchestratorStatus.ts"
import type { ProjectId } from "../domain/ProjectId.ts"
import { KeepAwakeUrl } from "./KeepAwakeUrl.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { ProjectFolders } from "./ProjectFolders.ts"
import { ServerHost } from "./ServerHost.ts"
import { Starter } from "./Starter.ts"
import { makeUse } from "./supervisor/Admission.ts"
import { Crashes } from "./supervisor/Backoff.ts"
import { Capacity } from "./supervisor/Capacity.ts"
import { makeCommands } from "./supervisor/Commands.ts"
import { describe } from "./supervisor/Describe.ts"
import { drive } from "./supervisor/Drive.ts"
import * as Entry from "./supervisor/Entry.ts"
import { SpawnRate } from "./supervisor/SpawnRate.ts"
import type { Supervision } from "./supervisor/Supervision.ts"
import type { Totals } from "./supervisor/Totals.ts"
import type { Unavailable } from "./supervisor/Unavailable.ts"
import * as Uptime from "./supervisor/Uptime.ts"
import type { Held, Target, Use } from "./supervisor/Use.ts"

export { Unavailable } from "./supervisor/Unavailable.ts"
export type { Totals } from "./supervisor/Totals.ts"
export type { Held, Target, Use } from "./supervisor/Use.ts"

export class NoServer extends Schema.TaggedError<NoServer>()("NoServer", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

export class Supervisor extends Context.Service<
  Supervisor,
  {
    /** The project's server, spawned if need be; in use, and so not stopped for idleness, until the scope closes. */
    use(use: Use): Effect.Effect<Target, Unavailable, Scope.Scope>
    /** As `use`, on the spot and without a scope, where the server runs; undefined: ask `use`. */
    readonly tryUse: (use: Use) => Held | undefined
    /** Restarts the idle time of a running server; true where there is one. */
    ping(project: ProjectId): Effect.Effect<boolean>
    /**
     * The server with this token is busy for so long from now, whoever is connected; 0 ends it. A later call replaces an
     * earlier one. The lease ends with its process.
     */
    keepAwake(token: string, seconds: number, reason: string): Effect.Effect<void, NoServer>
    /** Stops it, whoever is connected; the next request starts it again. False where nothing runs. */
    stop(project: ProjectId): Effect.Effect<boolean>
    /** Forgets failures and back-off, and starts it anew if it ran. */
    restart(project: ProjectId): Effect.Effect<boolean>
    /** Its plan is read again: a changed idle time counts at once. */
    reload(project: ProjectId): Effect.Effect<void>
    readonly status: Effect.Effect<ReadonlyArray<ServerStatus>>
    readonly totals: Effect.Effect<Totals>
    /** Refuses what is new and stops all servers; returns once they are gone. Also what the end of its scope does. */
    readonly drain: Effect.Effect<void>
  }
>()("valet/Supervisor") {
  static readonly layer = Layer.effect(
    Supervisor,
    Effect.suspend(() => make)
  )
}

/** Processes asked for their output and memory at the same time. */
const describedAtOnce = 16

const make = Effect.gen(function* () {
  const config = yield* OrchestratorConfig
  const entries = new Map<ProjectId, Entry.Entry>()
  const totals = {
    spawns: 0,
    warmClaims: 0,
    stops: 0,
    crashes: 0,
    evictions: 0,
    replaced: 0,
    refused: 0,
    requests: 0
  }
  const capacity = new Capacity({
    maxServers: config.maxServers,
    waitMs: config.spawnTimeoutMs,
    servers: () => entries.values(),
    evict: (entry, now) => {
      if (Entry.end(entry, { _tag: "Evicted" }, now)) totals.evictions += 1
    }
  })
  const supervision: Supervision = {
    config,
    folders: yield* ProjectFolders,
    starter: yield* Starter,
    host: yield* ServerHost,
    keepAwakeUrl: yield* KeepAwakeUrl,
    random: yield* SecureRandom.SecureRandom,
    entries,
    capacity,
    crashes: new Crashes(),
    spawnRate: new SpawnRate(config.spawnsPerMinute),
    totals,
    draining: false
  }
  const fork = yield* FiberSet.makeRuntime<never, void>()
  const clock = yield* Clock.Clock
  const { tryUse, use } = makeUse(supervision, (entry) => void fork(drive(supervision, entry)), clock)
  const commands = makeCommands(supervision)
  yield* Effect.addFinalizer(() => commands.drain)

  return Supervisor.of({
    use,
    tryUse,
    ping: commands.ping,
    keepAwake: (token, seconds, reason) =>
      Effect.flatMap(commands.keepAwake(token, seconds, reason), (known) =>
        known ? Effect.void : Effect.fail(new NoServer({ detail: "no running server has this token" }))
      ),
    stop: commands.stop,
    restart: commands.restart,
    reload: commands.reload,
    status: Effect.gen(function* () {
      const now = yield* Uptime.now
      const inOrder = [...entries.values()].toSorted((a, b) => (a.project < b.project ? -1 : 1))
      const described = yield* Effect.forEach(inOrder, (entry) => describe(entry, now), {
        concurrency: describedAtOnce
      })
      return described.filter((it) => it !== null)
    }),
    totals: Effect.sync(() => ({ ...totals })),
    drain: commands.drain
  })
})
