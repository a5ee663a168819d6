/**
 * The whole control plane on one machine, on real parts: embedded PostgreSQL, an S3 server, a local Fly whose machines
 * are processes, its private network and its edge, and control planes that do not know that they are not on Fly.
 *
 * What is built last ends first: the edge stops accepting, the control planes drain, machines stop, the database closes.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { planeVariables } from "../config/Variables.ts"
import { ControlPlanes } from "../local/dev/ControlPlanes.ts"
import { DataFolder } from "../local/dev/DataFolder.ts"
import type { DevRecord } from "../local/dev/DevRecord.ts"
import { DevRecordJson } from "../local/dev/DevRecord.ts"
import { FaultApi } from "../local/dev/FaultApi.ts"
import { inherited } from "../process/Inherited.ts"
import { Edge } from "../local/edge/Edge.ts"
import { PrivateNetwork } from "../local/edge/PrivateNetwork.ts"
import { LocalFly } from "../local/fly/LocalFly.ts"
import { freePort } from "../process/Ports.ts"
import { EmbeddedPostgres } from "../local/postgres/EmbeddedPostgres.ts"
import * as LocalS3 from "../local/s3/LocalS3.ts"
import { layerPostgres } from "../services/db/Postgres.ts"
import { Migrations } from "../services/db/Migrations.ts"

type Command = readonly [string, ...ReadonlyArray<string>]

export interface LocalPlatformOptions {
  readonly dataDir: string
  /** Of the edge; 0 takes a free one. */
  readonly port: number
  readonly instances: number
  readonly idleTimeoutSeconds: number
  readonly dormancyThresholdMs: number
  readonly sweepIntervalMs: number
  readonly poolSize: number
  /** 1: margins as on Fly; a demonstration or a chaos run makes them shorter. */
  readonly marginScale: number
  /** Runs `valet serve`. */
  readonly serve: Command
  /** Runs `valet project-server`. */
  readonly projectServer: Command
  /** Added to the environment of each control plane. */
  readonly environment?: Readonly<Record<string, string>>
}

const projectsApp = "valet-projects"
const routerApp = "valet-router"
const region = "sjc"
const bucket = "valet-dormant"
const image = "valet/project-server:local"

/** What a user sets of the control plane's variables reaches its instances, where the platform does not say otherwise. */
const chosen = Effect.gen(function* () {
  const environment: Record<string, string> = {}
  for (const { name } of planeVariables) {
    const value = yield* Effect.orDie(Config.option(Config.String(name)))
    if (Option.isSome(value)) environment[name] = value.value
  }
  return environment
})

/** Tells what runs here by now. */
export class LocalPlatform extends Context.Service<LocalPlatform, { readonly record: Effect.Effect<DevRecord> }>()(
  "valet/LocalPlatform"
) {}

const encodeRecord = Schema.encodeEffect(DevRecordJson)

const layerMigrated = (postgres: EmbeddedPostgres["Service"]) =>
  Layer.effectDiscard(Effect.flatMap(Migrations, ({ migrate }) => migrate)).pipe(
    Layer.provide(layerPostgres({ url: postgres.url, directUrl: postgres.url }))
  )

const layerBackends = (options: LocalPlatformOptions) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const folder = yield* DataFolder
      const { secrets } = folder
      const [command, ...args] = options.projectServer
      const database = EmbeddedPostgres.layer({ folder: folder.at("postgres") })
      const migrated = Layer.unwrap(Effect.map(EmbeddedPostgres, layerMigrated))
      const objects = LocalS3.layer({
        dataDir: folder.at("s3"),
        port: 0,
        bucket,
        accessKeyId: secrets.s3AccessKeyId,
        secretAccessKey: Redacted.make(secrets.s3SecretAccessKey)
      })
      const fly = LocalFly.layer({
        dataDir: folder.at("fly"),
        apps: [projectsApp],
        token: Redacted.make(secrets.fly),
        port: 0,
        regions: [region],
        command: () => ({
          cmd: command,
          args,
          env: {
            HOST: "127.0.0.1",
            VALET_ROUTER_APP: routerApp,
            VALET_IDLE_TIMEOUT_SECS: String(options.idleTimeoutSeconds)
          }
        })
      })
      return Layer.mergeAll(
        migrated.pipe(Layer.provideMerge(database)),
        objects,
        PrivateNetwork.layer().pipe(Layer.provideMerge(fly))
      )
    })
  )

const layerPlanes = (options: LocalPlatformOptions, port: number, environment: Readonly<Record<string, string>>) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { secrets } = yield* DataFolder
      const postgres = yield* EmbeddedPostgres
      const objects = yield* LocalS3.LocalS3
      const fly = yield* LocalFly
      const network = yield* PrivateNetwork
      return ControlPlanes.layer({
        instances: options.instances,
        command: options.serve,
        environment: {
          ...environment,
          CONTROL_PLANE_HOST: "127.0.0.1",
          CONTROL_PLANE_SECRET: secrets.controlPlane,
          CONTROL_PLANE_INTERNAL_SECRET: secrets.internal,
          DATABASE_URL: Redacted.value(postgres.url),
          VALET_FLY_API_URL: fly.url,
          VALET_FLY_TOKEN: Redacted.value(fly.token),
          VALET_FLY_APP: projectsApp,
          VALET_FLY_REGION: region,
          VALET_FLY_IMAGE: image,
          VALET_MACHINE_URL: network.urlTemplate,
          WARM_POOL_SIZE: String(options.poolSize),
          R2_ENDPOINT: objects.endpoint,
          R2_ACCESS_KEY_ID: objects.accessKeyId,
          R2_SECRET_ACCESS_KEY: Redacted.value(objects.secretAccessKey),
          R2_BUCKET: bucket,
          DORMANCY_THRESHOLD_DAYS: `${options.dormancyThresholdMs}ms`,
          DORMANCY_SWEEP_INTERVAL_SECS: `${options.sweepIntervalMs}ms`,
          ROUTER_DOMAIN: "localhost",
          PUBLIC_URL: `http://{project_id}.localhost:${port}/`,
          VALET_MARGIN_SCALE: String(options.marginScale),
          FLY_APP_NAME: routerApp,
          FLY_REGION: region,
          ...options.environment
        }
      })
    })
  )

const layerFront = (options: LocalPlatformOptions) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const port = options.port === 0 ? yield* freePort : options.port
      const environment = { ...(yield* inherited), ...(yield* chosen) }
      const edge = Layer.unwrap(
        Effect.map(ControlPlanes, (planes) =>
          Edge.layer({ port, routerApp, planes: planes.instances, apps: [projectsApp], region })
        )
      )
      return edge.pipe(Layer.provideMerge(layerPlanes(options, port, environment)))
    })
  )

const layerRecord = Layer.effect(
  LocalPlatform,
  Effect.gen(function* () {
    const folder = yield* DataFolder
    const postgres = yield* EmbeddedPostgres
    const objects = yield* LocalS3.LocalS3
    const fly = yield* LocalFly
    const planes = yield* ControlPlanes
    const edge = yield* Edge
    const faults = yield* FaultApi
    const record = Effect.map(planes.instances, (instances): DevRecord => ({
      ready: true,
      edge: edge.url,
      router_domain: "localhost",
      control_planes: instances.map(({ url, pid }) => ({ url, pid })),
      control_plane_secret: folder.secrets.controlPlane,
      fly_api: fly.url,
      fly_app: projectsApp,
      fly_token: Redacted.value(fly.token),
      fault_api: faults.url,
      s3: {
        endpoint: objects.endpoint,
        bucket,
        access_key_id: objects.accessKeyId,
        secret_access_key: Redacted.value(objects.secretAccessKey)
      },
      database_url: Redacted.value(postgres.url),
      pid: process.pid
    }))
    let written = ""
    const keep = Effect.gen(function* () {
      const text = yield* Effect.orDie(Effect.flatMap(record, encodeRecord))
      if (text === written) return
      yield* folder.write("dev.json", text)
      written = text
    })
    yield* keep
    // A restarted control plane has another pid; a look every quarter of a second is how current the file is.
    yield* keep.pipe(
      Effect.catch((error) => Effect.logWarning("dev.json not written", error)),
      Effect.andThen(Effect.sleep("250 millis")),
      Effect.forever,
      Effect.tapCause((cause) => Effect.logError("dev.json is no longer kept current", cause)),
      Effect.forkScoped
    )
    return LocalPlatform.of({ record })
  })
)

export const layer = (options: LocalPlatformOptions) =>
  layerRecord.pipe(
    Layer.provideMerge(Layer.unwrap(Effect.map(LocalFly, ({ token }) => FaultApi.layer(token)))),
    Layer.provideMerge(layerFront(options)),
    Layer.provideMerge(layerBackends(options)),
    Layer.provideMerge(DataFolder.layer(options.dataDir)),
    Layer.provide([NodeServices.layer, NodeHttpClient.layerUndici, SecureRandom.layerWebCrypto])
  )
