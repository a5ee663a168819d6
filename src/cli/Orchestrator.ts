/** `valet orchestrator`: a server per project on this machine, started when somebody comes and stopped when nobody is there. */
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { trusted } from "../orchestrator/Caller.ts"
import { isHostName, isPath } from "../orchestrator/folders/ProjectFile.ts"
import { defaults } from "../orchestrator/OrchestratorConfig.ts"
import { duration, json } from "./Flags.ts"
import { ownCommands } from "./OwnCommands.ts"

const between = (minimum: number, maximum: number) =>
  Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** A variable of a shell that is not set makes an empty flag, which would mean the folder here, or every address. */
const notEmpty = Flag.filter<string>(
  (text) => text.trim() !== "",
  () => "expected something: it is empty"
)

/** A period of nothing would never let anybody rest. */
const shortestMs = 100
const period = (name: string) =>
  duration(name).pipe(
    Flag.filter(
      (ms) => ms >= shortestMs,
      () => `expected ${shortestMs}ms or more`
    )
  )

const list = (text: string): ReadonlyArray<string> => text.split(",").map((part) => part.trim())

const flags = {
  port: Flag.Int("port").pipe(
    between(0, 65_535),
    Flag.withDescription("0 takes a free one"),
    Flag.withDefault(defaults.port)
  ),
  host: Flag.String("host").pipe(
    notEmpty,
    Flag.withDescription("Address to listen on; off loopback, status, metrics and logs ask for the admin token"),
    Flag.withDefault(defaults.host)
  ),
  domain: Flag.String("domain").pipe(
    Flag.map((name) => name.toLowerCase().replace(/\.$/, "")),
    Flag.filter(isHostName, () => "expected a host name without scheme, port and path"),
    Flag.withDescription("Projects are also served at <id>.<domain>"),
    Flag.withDefault(defaults.domain)
  ),
  dataDir: Flag.String("data-dir").pipe(
    notEmpty,
    Flag.withDescription("A folder per project"),
    Flag.withDefault(defaults.dataDir)
  ),
  idleTimeout: duration("idle-timeout").pipe(
    Flag.withDescription("A server that nobody uses is stopped after this (300); 0 never"),
    Flag.withDefault(defaults.idleTimeoutMs)
  ),
  healthCheckInterval: period("health-check-interval").pipe(
    Flag.withDescription("Between health checks of a server (15)"),
    Flag.withDefault(defaults.healthCheckIntervalMs)
  ),
  healthPath: Flag.String("health-path").pipe(
    Flag.filter(isPath, () => "expected a path such as /health"),
    Flag.withDescription("A server without it is ready when its port accepts"),
    Flag.withDefault(defaults.healthPath)
  ),
  spawnTimeout: period("spawn-timeout").pipe(
    Flag.withDescription("A server has to be ready within this (30)"),
    Flag.withDefault(defaults.spawnTimeoutMs)
  ),
  stopGrace: duration("stop-grace").pipe(
    Flag.withDescription("Between SIGTERM and SIGKILL (10)"),
    Flag.withDefault(defaults.stopGraceMs)
  ),
  maxServers: Flag.Int("max-servers").pipe(
    between(1, 100_000),
    Flag.withDescription("At once; beyond it, the one idle for longest is stopped"),
    Flag.withDefault(defaults.maxServers)
  ),
  warmServers: Flag.Int("warm-servers").pipe(
    between(0, 1_000),
    Flag.withDescription("Started ahead, for servers that speak the machine protocol"),
    Flag.withDefault(defaults.warmServers)
  ),
  maxLifetime: period("max-lifetime").pipe(
    Flag.withDescription("A server is stopped at this age, whoever is connected"),
    Flag.optional
  ),
  responseTimeout: duration("response-timeout").pipe(
    Flag.withDescription("From a whole request to the head of its answer (60); 0 for ever"),
    Flag.withDefault(defaults.responseTimeoutMs)
  ),
  spawnRate: Flag.Int("spawn-rate").pipe(
    between(0, 1_000_000),
    Flag.withDescription("Servers that one client may start in a minute; 0: any number"),
    Flag.withDefault(defaults.spawnsPerMinute)
  ),
  allow: Flag.String("allow").pipe(
    Flag.withDescription("Project ids that are served, comma-separated, * for any characters"),
    Flag.optional
  ),
  existingOnly: Flag.Boolean("existing-only").pipe(
    Flag.withDescription("Serve only projects whose folder is there"),
    Flag.withDefault(defaults.existingOnly)
  ),
  adminToken: Flag.Redacted("admin-token").pipe(
    Flag.withDescription("Opens status, metrics, logs and API (VALET_ADMIN_TOKEN); else one is made and kept"),
    Flag.withFallbackConfig(Config.Redacted("VALET_ADMIN_TOKEN")),
    Flag.optional
  ),
  trustedProxies: Flag.String("trusted-proxies").pipe(
    Flag.map(list),
    Flag.filter(
      (ranges) => Result.isSuccess(trusted(ranges)),
      (ranges) => Result.match(trusted(ranges), { onFailure: (detail) => detail, onSuccess: () => "" })
    ),
    Flag.withDescription("Addresses or CIDR ranges, comma-separated, whose X-Forwarded-* are believed"),
    Flag.optional
  ),
  json,
  command: Argument.String("command").pipe(
    Argument.withDescription("Behind --: the server of every project without one of its own (the reference server)"),
    Argument.variadic()
  )
}

const welcome = (url: string, domain: string, dataDir: string) => `
Valet serves projects at ${url}

  a project   ${url}/projects/<id>/   or   http://<id>.${domain}:${new URL(url).port}/
  status      ${url}/status
  data        ${dataDir}, a folder per project

Ctrl-C stops every server; the data stays.
`

export const orchestratorCommand = Command.make(
  "orchestrator",
  flags,
  Effect.fnUntraced(function* (flags) {
    const { layer, Ready } = yield* Effect.promise(() => import("../apps/Orchestrator.ts"))
    const { layerJsonLogs } = yield* Effect.promise(() => import("../apps/Logs.ts"))
    const path = yield* Path.Path
    const command = flags.command.length > 0 ? flags.command : (yield* ownCommands).projectServer
    const orchestrator = layer({
      host: flags.host,
      port: flags.port,
      domain: flags.domain,
      dataDir: path.resolve(flags.dataDir),
      command,
      warmServers: flags.warmServers,
      idleTimeoutMs: flags.idleTimeout,
      healthCheckIntervalMs: flags.healthCheckInterval,
      healthPath: flags.healthPath,
      spawnTimeoutMs: flags.spawnTimeout,
      stopGraceMs: flags.stopGrace,
      maxServers: flags.maxServers,
      maxLifetimeMs: Option.getOrNull(flags.maxLifetime),
      responseTimeoutMs: flags.responseTimeout,
      spawnsPerMinute: flags.spawnRate,
      allow: Option.getOrNull(flags.allow),
      existingOnly: flags.existingOnly,
      adminToken: Option.getOrNull(flags.adminToken),
      trustedProxies: Option.getOrElse(flags.trustedProxies, () => [])
    })
    const announce = Effect.gen(function* () {
      const ready = yield* Ready
      yield* Console.log(
        flags.json ? JSON.stringify(ready) : welcome(ready.url, flags.domain, path.resolve(flags.dataDir))
      )
    })
    const running = Layer.effectDiscard(announce).pipe(Layer.provide(orchestrator), Layer.provide(layerJsonLogs))
    return yield* Layer.launch(running)
  })
).pipe(Command.withDescription("Run a server per project on this machine: spawn, proxy, watch, stop"))
