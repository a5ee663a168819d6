/**
 * Fly on this computer: the Machines API over HTTP on loopback, whose machines are processes and whose volumes are
 * folders. Its state outlives it; after it was killed, what it left running is ended and started anew.
 *
 * Beside the official paths under `/v1` there are `POST` and `DELETE /_local/faults`, `GET /_local/state`,
 * `POST /_local/hosts/{host, machine or volume}/lose` and `/restore`, and `POST /_local/machines/{id}/migrate`.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"
import { FlyWorld, make as makeWorld } from "./FlyWorld.ts"
import type { MachineHost } from "./MachineHost.ts"
import * as LocalMachinesLive from "./LocalMachinesLive.ts"
import * as StateFile from "./StateFile.ts"
import { ownApi, publicApi } from "./http/Routes.ts"
import { createApp } from "./model/Apps.ts"
import type { Delays, Params } from "./model/FlyState.ts"
import { defaultParams } from "./model/FlyState.ts"
import { recovered, report } from "./model/Hosts.ts"
import * as ProcessMachineHost from "./process/ProcessMachineHost.ts"
import type { ProcessHostOptions } from "./process/ProcessHost.ts"
import { ProcessHost } from "./process/ProcessHost.ts"

export interface LocalFlyOptions extends ProcessHostOptions {
  /** Made at start where they are missing. The first is the one that projects run in. */
  readonly apps: readonly [string, ...ReadonlyArray<string>]
  readonly org?: string
  readonly token: Redacted.Redacted
  /** 0 or absent takes a free one. */
  readonly port?: number
  readonly regions?: ReadonlyArray<string>
  /** Fly's request budget: on unless said otherwise. */
  readonly rateLimits?: boolean
  /** What processes decide themselves (boot, resume, stop, suspend, destroy) is not for choosing. */
  readonly delays?: Partial<
    Pick<
      Delays,
      "prepareMs" | "replaceMs" | "volumeCreateMs" | "volumeCopyMs" | "detachMs" | "claimLingerMs" | "listLagMs"
    >
  >
  /** How long the proxy waits for a machine that it started. */
  readonly autostartWithinMs?: number
}

export class LocalFlyError extends Schema.TaggedError<LocalFlyError>()("LocalFlyError", {
  detail: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `The local Fly does not start: ${this.detail}`
  }
}

/** Long enough that a program which takes `created` for `started` is seen, short enough for a person. */
const prepareMs = 50

const paramsOf = (options: LocalFlyOptions): Params => ({
  ...defaultParams,
  regions: options.regions ?? defaultParams.regions,
  rateLimits: options.rateLimits ?? true,
  delays: {
    ...defaultParams.delays,
    prepareMs,
    replaceMs: prepareMs,
    ...options.delays,
    bootMs: null,
    resumeMs: null,
    stopMs: null,
    suspendMs: null,
    destroyMs: null
  }
})

const world = (options: LocalFlyOptions) =>
  Layer.effect(
    FlyWorld,
    Effect.gen(function* () {
      const host = yield* ProcessHost
      const file = yield* StateFile.make(host.folders.state)
      const stored = yield* file.read
      const params = paramsOf(options)
      const initial = stored === undefined ? undefined : recovered(stored, params, yield* Clock.currentTimeMillis)
      const made = yield* makeWorld({
        params,
        host: host.accept,
        onChange: (state) => Effect.orDie(file.write(state)),
        ...(initial === undefined ? {} : { initial })
      })
      const { apps } = yield* made.state
      for (const name of options.apps) {
        if (apps[name] === undefined) yield* made.apply(createApp({ name, org: options.org ?? "personal" }))
      }
      return made
    }).pipe(
      Effect.mapError((cause) => new LocalFlyError({ detail: `its state in ${options.dataDir} can't be read`, cause }))
    )
  )

/** Lets the machines speak: reports from outside, their own API from inside. */
const connected = Layer.effectDiscard(
  Effect.gen(function* () {
    const host = yield* ProcessHost
    const fly = yield* FlyWorld
    const own = yield* ownApi
    const services = yield* Effect.context<FlyWorld | MachineHost>()
    yield* host.connect({
      report: (id, run, what) => Effect.ignore(fly.apply(report(id, run, what))),
      own: (app, id) => Effect.provideContext(own(app, id), services)
    })
  })
)

export class LocalFly extends Context.Service<
  LocalFly,
  {
    /** Of the Machines API, without `/v1`. */
    readonly url: string
    readonly app: string
    readonly token: Redacted.Redacted
  }
>()("valet/LocalFly") {
  static readonly layerNoDeps = (options: LocalFlyOptions) => {
    const served = Layer.effect(
      LocalFly,
      Effect.gen(function* () {
        const server = yield* NodeHttpServer.make(() => createServer(), {
          host: "127.0.0.1",
          port: options.port ?? 0,
          gracefulShutdownTimeout: "1 second"
        })
        yield* server.serve(yield* publicApi(options.token))
        const port = "port" in server.address ? server.address.port : 0
        return LocalFly.of({ url: `http://127.0.0.1:${port}`, app: options.apps[0], token: options.token })
      }).pipe(Effect.mapError((cause) => new LocalFlyError({ detail: "it can't listen", cause })))
    )
    const machines = LocalMachinesLive.layer({ autostartWithinMs: options.autostartWithinMs ?? 30_000 })
    return Layer.mergeAll(served, machines).pipe(
      Layer.provideMerge(connected),
      Layer.provide(ProcessMachineHost.layer),
      Layer.provideMerge(world(options)),
      Layer.provide(ProcessHost.layer(options))
    )
  }

  static readonly layer = (options: LocalFlyOptions) =>
    LocalFly.layerNoDeps(options).pipe(Layer.provide(NodeServices.layer))
}
