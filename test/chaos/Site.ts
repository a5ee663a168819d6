/** The `valet dev` under chaos: its record, its processes, its database, its local Fly and its object storage. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import type { DevRecord } from "../../src/local/dev/DevRecord.ts"
import { DevRecordJson } from "../../src/local/dev/DevRecord.ts"
import { ProcessRecord } from "../../src/local/fly/process/MachineProcess.ts"
import { Loop } from "../../src/contract/Status.ts"
import { R2 } from "../../src/services/r2/R2.ts"
import * as R2Live from "../../src/services/r2/R2Live.ts"
import { ask } from "../e2e/Platform.ts"

export class SiteError extends Schema.TaggedError<SiteError>()("SiteError", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const Machine = Schema.Struct({ id: Schema.String, name: Schema.String, state: Schema.String })
const Volume = Schema.Struct({ id: Schema.String, name: Schema.String, state: Schema.String })
const FlyState = Schema.fromJsonString(
  Schema.Struct({
    state: Schema.Struct({
      machines: Schema.Record(Schema.String, Machine),
      volumes: Schema.Record(Schema.String, Volume)
    })
  })
)
const decodeStatus = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Struct({ loops: Schema.Array(Loop) })))
const decodeFly = Schema.decodeUnknownEffect(FlyState)
const decodeRecord = Schema.decodeUnknownEffect(DevRecordJson)
const decodeProcess = Schema.decodeUnknownEffect(ProcessRecord)

export const make = Effect.fnUntraced(function* (first: DevRecord, dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  const because = (what: string) => (cause: unknown) =>
    new SiteError({ detail: `${what}: ${cause instanceof Error ? cause.message : String(cause)}` })

  const tell = (base: string, method: string, path: string, body?: unknown) =>
    ask(base, {
      method,
      path,
      headers: { authorization: `Bearer ${first.fly_token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    }).pipe(
      Effect.timeout("10 seconds"),
      Effect.filterOrFail(
        ({ status }) => status < 300,
        ({ body, status }) => new SiteError({ detail: `${status} ${body}` })
      ),
      Effect.mapError(because(`${method} ${path}`))
    )

  const objects = R2Live.layerFrom({
    endpoint: first.s3.endpoint,
    bucket: first.s3.bucket,
    accessKeyId: first.s3.access_key_id,
    secretAccessKey: Redacted.make(first.s3.secret_access_key)
  })

  const record = fs
    .readFileString(`${dataDir}/dev.json`)
    .pipe(Effect.flatMap(decodeRecord), Effect.mapError(because("dev")))

  return {
    first,
    dataDir,
    /** As it is now: a restarted control plane has another pid. */
    record,
    /** How the background loops of each control plane fare, in words. */
    loops: Effect.gen(function* () {
      const { control_planes: planes } = yield* record
      const told = yield* Effect.forEach(planes, ({ url }) =>
        ask(url, { path: "/api/status", headers: { authorization: `Bearer ${first.control_plane_secret}` } }).pipe(
          Effect.flatMap(({ body }) => decodeStatus(body)),
          Effect.map(({ loops }) =>
            loops.map(
              ({ failures, last_error: error, last_run_at: at, name, running, runs }) =>
                `${url} ${name}: ${running ? "running" : "waiting"}, ${runs} runs (${failures} failed), last ${at}, ${error}`
            )
          ),
          Effect.catch((error) => Effect.succeed([`${url}: ${error.message}`]))
        )
      )
      return told.flat()
    }),
    /** On a session of its own, so that nothing that was cut before matters. */
    query: (sql: string, params: ReadonlyArray<unknown> = []) =>
      Effect.scoped(
        Effect.flatMap(
          PgConnection.make({
            url: Redacted.make(first.database_url),
            applicationName: "chaos",
            connectTimeout: "3 seconds"
          }),
          (session) => Effect.map(session.query(sql, params), ({ rows }) => rows)
        )
      ).pipe(Effect.timeout("10 seconds"), Effect.mapError(because(sql.slice(0, 40)))),
    fly: tell(first.fly_api, "GET", "/_local/state").pipe(
      Effect.flatMap(({ body }) => decodeFly(body)),
      Effect.map(({ state }) => ({
        machines: Object.values(state.machines).filter((machine) => machine.state !== "destroyed"),
        volumes: Object.values(state.volumes).filter((volume) => volume.state !== "pending_destroy")
      })),
      Effect.mapError(because("the local Fly"))
    ),
    tellFly: (method: string, path: string, body?: unknown) => tell(first.fly_api, method, path, body),
    tellFaults: (method: string, path: string, body?: unknown) => tell(first.fault_api, method, path, body),
    /** The process of a machine, null where it has none. */
    processOf: (machineId: string) =>
      fs.readFileString(`${dataDir}/fly/machines/${machineId}/process.json`).pipe(
        Effect.flatMap(decodeProcess),
        Effect.map(({ mark }) => mark),
        Effect.orElseSucceed(() => null)
      ),
    objects: Effect.flatMap(R2, (r2) => r2.list("")).pipe(
      Effect.provide(objects),
      Effect.mapError(because("object storage"))
    ),
    checksum: (key: string) =>
      Effect.flatMap(R2, (r2) => r2.checksum(key)).pipe(Effect.provide(objects), Effect.mapError(because(key)))
  }
})

export type Site = Effect.Success<ReturnType<typeof make>>
