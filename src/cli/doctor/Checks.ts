/** What `valet doctor` looks at, each check on its own: one that fails hides none of the others. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { PlaneConfig, type PlaneConfigValue } from "../../config/PlaneConfig.ts"
import { metadataKeys } from "../../contract/MachineConfig.ts"
import { MachineName } from "../../domain/Machine.ts"
import { Database } from "../../services/db/Database.ts"
import { Migrations } from "../../services/db/Migrations.ts"
import { Fly } from "../../services/fly/Fly.ts"
import * as FlyBudget from "../../services/fly/FlyBudget.ts"
import * as FlyHttp from "../../services/fly/FlyHttp.ts"
import { Keys } from "../../services/Keys.ts"
import { layerKeys } from "../../services/KeysLive.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { layerMachineHttp, layerMachineHttpClient } from "../../services/machine/MachineHttp.ts"
import { R2 } from "../../services/r2/R2.ts"
import * as R2Live from "../../services/r2/R2Live.ts"
import { failed, type Finding, finding, ok, skipped, warning } from "./Check.ts"

class Unexpected extends Schema.TaggedError<Unexpected>()("Unexpected", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const Row = Schema.decodeUnknownEffect(
  Schema.Array(Schema.Struct({ now: Schema.Finite, version: Schema.String, pid: Schema.Int }))
)

const database = (check: string, url: PlaneConfigValue["database"]["url"], variable: string) =>
  finding(
    check,
    `is ${variable} right, and is the database running and reachable from here?`,
    Effect.gen(function* () {
      const { sql } = yield* Database
      // The first statement waits for its connection.
      yield* sql`SELECT 1`
      const before = yield* Clock.currentTimeMillis
      const rows = yield* sql`
        SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now,
               current_setting('server_version') AS version, pg_backend_pid() AS pid`
      const after = yield* Clock.currentTimeMillis
      const row = (yield* Row(rows))[0]
      if (row === undefined) return yield* new Unexpected({ detail: "the database answered nothing" })
      const skewMs = Math.round(row.now - (before + after) / 2)
      const detail = `PostgreSQL ${row.version}, ${after - before} ms, clock ${skewMs} ms apart`
      return Math.abs(skewMs) > 5_000 + (after - before)
        ? warning(check, detail, "set this machine's clock by NTP: presigned URLs and certificates depend on it")
        : ok(check, detail)
    })
  ).pipe(Effect.provide(Database.layerUrls({ url, directUrl: url })), Effect.catch(layerFailed(check)))

/** A layer that can't be built: a URL that the client doesn't take, a missing folder. */
const layerFailed =
  (check: string) =>
  ({ message }: { readonly message: string }) =>
    Effect.succeed(failed(check, message, "see the message"))

const migrations = ({ database }: PlaneConfigValue) =>
  finding(
    "migrations",
    "is the database reachable?",
    Effect.map(
      Effect.flatMap(Migrations, ({ pending }) => pending),
      (names) =>
        names.length === 0
          ? ok("migrations", "none pending")
          : failed("migrations", `pending: ${names.join(", ")}`, "run `valet migrate`")
    )
  ).pipe(
    Effect.provide(Migrations.layer.pipe(Layer.provide(Database.layerUrls(database)))),
    Effect.catch(layerFailed("migrations"))
  )

const layerFly = FlyHttp.layerNoDeps.pipe(Layer.provide([FlyBudget.layerLocal, NodeHttpClient.layerUndici]))

const fly = ({ fly }: PlaneConfigValue) =>
  finding(
    "Fly",
    "make a deploy token for the app of the project machines: `fly tokens create deploy -a $VALET_FLY_APP`, and see that VALET_FLY_APP names it",
    Effect.gen(function* () {
      // The client retries what can't be reached; whoever waits for a doctor wants to know at once.
      yield* Effect.mapError(
        HttpClient.head(fly.apiUrl),
        () => new Unexpected({ detail: `nothing answers at ${fly.apiUrl} (VALET_FLY_API_URL)` })
      )
      const machines = yield* (yield* Fly).listMachines
      const volumes = yield* (yield* Fly).listVolumes
      return ok("Fly", `app ${fly.app}: ${machines.length} machines, ${volumes.length} volumes`)
    })
  ).pipe(Effect.provide([layerFly, NodeHttpClient.layerUndici]))

/** Fly's answers carry a date; R2 refuses signatures that are 15 minutes off. */
const clock = ({ fly }: PlaneConfigValue) =>
  finding(
    "clock",
    "is VALET_FLY_API_URL reachable from here?",
    Effect.gen(function* () {
      const { headers } = yield* HttpClient.head(`${fly.apiUrl}/v1/apps/${fly.app}`)
      const now = yield* Clock.currentTimeMillis
      const date = Date.parse(headers.date ?? "")
      if (Number.isNaN(date)) return skipped("clock", "the Fly API tells no date")
      const apartSeconds = Math.abs(Math.round((now - date) / 1_000))
      return apartSeconds > 30
        ? failed("clock", `${apartSeconds} s from Fly's`, "set this machine's clock by NTP")
        : ok("clock", "agrees with Fly's")
    })
  ).pipe(Effect.provide(NodeHttpClient.layerUndici))

const bucket = (config: PlaneConfigValue) => {
  if (config.r2 === null) {
    const advice = "set R2_ENDPOINT, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY: without them no project becomes dormant"
    return Effect.succeed(warning("R2", "not configured: archival is off", advice))
  }
  const name = config.r2.bucket
  return finding(
    "R2",
    `does the bucket ${name} exist, and may the token read and write its objects?`,
    Effect.gen(function* () {
      const r2 = yield* R2
      const random = yield* SecureRandom.SecureRandom
      const key = `doctor/${yield* random.uuidV4()}`
      const body = new TextEncoder().encode(key)
      const put = yield* r2.presignPut(key, 60)
      const { status } = yield* HttpClient.execute(
        HttpClientRequest.put(put.url).pipe(
          HttpClientRequest.setHeaders(put.headers),
          HttpClientRequest.bodyUint8Array(body)
        )
      )
      if (status !== 200) return yield* new Unexpected({ detail: `a presigned PUT was answered with ${status}` })
      const stored = yield* Effect.ensuring(r2.checksum(key), Effect.ignore(r2.delete(key)))
      if (stored.size !== body.length)
        return yield* new Unexpected({ detail: "what was read back is not what was put" })
      return ok("R2", `bucket ${name}: put, read and deleted an object`)
    })
  ).pipe(Effect.provide([R2Live.layer, SecureRandom.layerWebCrypto, NodeHttpClient.layerUndici]))
}

const layerMachines = layerMachineHttp.pipe(Layer.provide(layerMachineHttpClient), Layer.provideMerge(layerKeys))

/** One started machine of any plane in the app is asked how it is. */
const machineUrl = (config: PlaneConfigValue) =>
  finding(
    "machines",
    "is this run inside Fly's private network, and is VALET_MACHINE_URL right?",
    Effect.gen(function* () {
      const { listMachines } = yield* Fly
      yield* Effect.mapError(HttpClient.head(config.fly.apiUrl), () => new Unexpected({ detail: "Fly can't be asked" }))
      const started = (yield* listMachines).find(
        ({ state, metadata }) => state === "started" && metadata[metadataKeys.name] !== undefined
      )
      if (started === undefined) return skipped("machines", "no started machine to ask")
      const name = MachineName.make(started.metadata[metadataKeys.name] ?? "")
      const { currentKeyId } = yield* Keys
      const { id: machineId, privateIp } = started
      const target = { name, machineId, privateIp, keyId: currentKeyId }
      const health = yield* (yield* MachineClient).health(target, { limitMs: 5_000 })
      return ok("machines", `${started.id} answers: ${health.status}`)
    })
  ).pipe(
    Effect.provide([
      layerFly,
      NodeHttpClient.layerUndici,
      layerMachines.pipe(Layer.provide(SecureRandom.layerWebCrypto))
    ]),
    Effect.map((found) =>
      found.outcome === "failed" && !config.onFly
        ? warning(found.check, found.detail, "machines are reached over Fly's private network only: run this there too")
        : found
    )
  )

export const checks = (config: PlaneConfigValue): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.all(
    [
      database("database", config.database.url, "DATABASE_URL"),
      database("database (direct)", config.database.directUrl, "DATABASE_DIRECT_URL"),
      migrations(config),
      fly(config),
      clock(config),
      machineUrl(config),
      bucket(config)
    ],
    { concurrency: "unbounded" }
  ).pipe(Effect.provideService(PlaneConfig, config))
