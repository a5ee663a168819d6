/** `valet dev`: the whole plane on this machine. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import type { DevRecord } from "../local/dev/DevRecord.ts"
import { duration, json } from "./Flags.ts"
import { ownCommands } from "./OwnCommands.ts"

const day = 24 * 60 * 60_000

const welcome = (record: DevRecord, dataDir: string) => `
Valet runs on this machine.

  edge             ${record.edge}            dashboard ${record.edge}/   API docs ${record.edge}/api/docs
  control planes   ${record.control_planes.map(({ url }) => url).join("  ")}
  local Fly        ${record.fly_api}   (app ${record.fly_app})
  object storage   ${record.s3.endpoint}   (bucket ${record.s3.bucket})
  secrets, logs    ${dataDir}

Try it:

  curl -X POST ${record.edge}/api/projects
  then open the url of the answer in a browser, or connect a WebSocket to <url>/ws

Ctrl-C stops everything; what is in ${dataDir} stays.
`

export const devCommand = Command.make(
  "dev",
  {
    port: Flag.Int("port").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))),
      Flag.withDescription("Of the edge; 0 takes a free one"),
      Flag.withDefault(8080)
    ),
    dataDir: Flag.String("data-dir").pipe(Flag.withDescription("Everything that it keeps"), Flag.withDefault(".valet")),
    instances: Flag.Int("instances").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 16 }))),
      Flag.withDescription("Control planes, each a process"),
      Flag.withDefault(1)
    ),
    idleTimeout: duration("idle-timeout").pipe(
      Flag.withDescription("A machine without traffic suspends itself after this (60s)"),
      Flag.withDefault(60_000)
    ),
    dormancyThreshold: duration("dormancy-threshold").pipe(
      Flag.withDescription("A project without traffic is archived after this (7d)"),
      Flag.withDefault(7 * day)
    ),
    sweepInterval: duration("sweep-interval").pipe(
      Flag.withDescription("How often the sweep looks for idle projects (1h)"),
      Flag.withDefault(60 * 60_000)
    ),
    poolSize: Flag.Int("pool-size").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 }))),
      Flag.withDescription("Warm machines"),
      Flag.withDefault(2)
    ),
    marginScale: Flag.Finite("margin-scale").pipe(
      Flag.withSchema(Schema.Finite.check(Schema.isBetween({ minimum: 0.001, maximum: 1 }))),
      Flag.withDescription("Shortens safety margins and reconcilers' periods, for demonstrations"),
      Flag.withDefault(1)
    ),
    json
  },
  Effect.fnUntraced(function* (flags) {
    const { LocalPlatform, layer } = yield* Effect.promise(() => import("../apps/LocalPlatform.ts"))
    const { DevRecordJson } = yield* Effect.promise(() => import("../local/dev/DevRecord.ts"))
    const commands = yield* ownCommands
    const platform = layer({
      dataDir: flags.dataDir,
      port: flags.port,
      instances: flags.instances,
      idleTimeoutSeconds: Math.max(1, Math.round(flags.idleTimeout / 1_000)),
      dormancyThresholdMs: flags.dormancyThreshold,
      sweepIntervalMs: flags.sweepInterval,
      poolSize: flags.poolSize,
      marginScale: flags.marginScale,
      ...commands
    })
    if (!flags.json) yield* Console.error("starting PostgreSQL, object storage, local Fly, control plane …")
    const announce = Effect.gen(function* () {
      const record = yield* (yield* LocalPlatform).record
      yield* flags.json
        ? Effect.flatMap(Schema.encodeEffect(DevRecordJson)(record), Console.log)
        : Console.log(welcome(record, flags.dataDir))
    })
    return yield* Layer.launch(Layer.effectDiscard(announce).pipe(Layer.provide(platform)))
  })
).pipe(Command.withDescription("Run the whole plane on this machine, with a local Fly whose machines are processes"))
