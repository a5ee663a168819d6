/** A `valet dev` as a stranger runs it, and what its users and its operator do. */
import { spawn } from "node:child_process"
import { request as httpRequest } from "node:http"
import { readdirSync, readFileSync } from "node:fs"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { startDev } from "../../src/demo/DevProcess.ts"
import { ensureBundle } from "../../src/local/Bundle.ts"
import type { DevRecord } from "../../src/local/dev/DevRecord.ts"

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly body: string
}

export interface Ask {
  readonly method?: string
  readonly path: string
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly withoutHost?: boolean
}

/** Node's own client: it sends paths and Host as they are given. */
export const ask = (base: string, { method = "GET", path, host, headers = {}, body, withoutHost = false }: Ask) =>
  Effect.callback<Answer, Error>((resume) => {
    const { hostname, port } = new URL(base)
    const sent = httpRequest(
      {
        hostname,
        port,
        method,
        path,
        setHost: !withoutHost,
        headers: { ...headers, ...(host === undefined ? {} : { host }) },
        agent: false
      },
      (response) => {
        const chunks: Array<Buffer> = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("end", () =>
          resume(
            Effect.succeed({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString()
            })
          )
        )
      }
    )
    sent.on("error", (error) => resume(Effect.fail(error)))
    sent.end(body)
    return Effect.sync(() => sent.destroy())
  }).pipe(Effect.timeout("60 seconds"))

const Created = Schema.fromJsonString(
  Schema.Struct({
    project_id: Schema.String,
    state: Schema.String,
    machine_id: Schema.NullOr(Schema.String),
    generation: Schema.Int,
    deploy_key: Schema.String,
    url: Schema.String
  })
)
export const decodeCreated = Schema.decodeUnknownEffect(Created)

export class Platform extends Context.Service<Platform, { readonly dev: DevRecord; readonly dataDir: string }>()(
  "valet/test/Platform"
) {
  static readonly layer = (flags: ReadonlyArray<string>, environment: Readonly<Record<string, string>> = {}) =>
    Layer.effect(
      Platform,
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { valet } = yield* ensureBundle
        const dataDir = yield* fs.makeTempDirectoryScoped({ prefix: "valet-e2e-" })
        const command = [process.execPath, valet, "dev", "--port", "0", "--data-dir", dataDir, ...flags]
        return { dev: yield* startDev(command, environment), dataDir }
      })
    ).pipe(Layer.provide([NodeServices.layer, NodeHttpClient.layerUndici]))
}

export const bearer = (dev: DevRecord) => ({ authorization: `Bearer ${dev.control_plane_secret}` })

/** Created by the operator, so that it counts against nobody's limit. */
export const create = Effect.gen(function* () {
  const { dev } = yield* Platform
  const answer = yield* ask(dev.edge, { method: "POST", path: "/api/projects", headers: bearer(dev) })
  return yield* decodeCreated(answer.body)
})

export const socketOf = (dev: DevRecord, id: string) => `${dev.edge.replace(/^http/, "ws")}/projects/${id}/ws`

/** Processes whose command line or environment names the text. */
export const processesNaming = (text: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.sync(() =>
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((pid) => {
        try {
          const told = readFileSync(`/proc/${pid}/cmdline`, "utf8") + readFileSync(`/proc/${pid}/environ`, "utf8")
          const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
          return told.includes(text) && stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z"
        } catch {
          // It ended meanwhile.
          return false
        }
      })
  )

/** Resident memory in MB. */
export const residentMb = (pid: number): Effect.Effect<number> =>
  Effect.sync(() => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024)

/** Ended with the scope however the test ends. */
export const started = (args: ReadonlyArray<string>, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const { valet } = yield* ensureBundle
    return yield* run([valet, ...args], environment)
  })

/** Arguments of Node that run an example of README. */
export const example = (name: string): ReadonlyArray<string> => ["--conditions=valet-source", `examples/${name}`]

/** Node with these arguments; its output is kept. */
export const run = (
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>> = {},
  program = process.execPath
) =>
  Effect.gen(function* () {
    const output: Array<string> = []
    const ended = yield* Deferred.make<number | string>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(program, args, {
          stdio: ["ignore", "pipe", "inherit"],
          env: { ...inherited(), ...environment }
        })
      ),
      (running) => Effect.sync(() => running.exitCode === null && running.kill("SIGKILL"))
    )
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk.toString()))
    child.once("exit", (code, signal) => Deferred.doneUnsafe(ended, Effect.succeed(code ?? signal ?? "")))
    return { child, output, ended: Deferred.await(ended).pipe(Effect.timeout("150 seconds")) }
  })

const inherited = () => ({ PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" })

/** What a further control plane on the platform's systems needs in its environment. */
export const instanceEnvironment = (record: DevRecord, dataDir: string) =>
  Effect.gen(function* () {
    const text = yield* (yield* FileSystem.FileSystem).readFileString(`${dataDir}/secrets.json`)
    const { internal } = yield* Schema.decodeEffect(Schema.fromJsonString(Schema.Struct({ internal: Schema.String })))(
      text
    )
    return {
      CONTROL_PLANE_HOST: "127.0.0.1",
      CONTROL_PLANE_SECRET: record.control_plane_secret,
      CONTROL_PLANE_INTERNAL_SECRET: internal,
      DATABASE_URL: record.database_url,
      VALET_FLY_API_URL: record.fly_api,
      VALET_FLY_TOKEN: record.fly_token,
      VALET_FLY_APP: record.fly_app,
      VALET_FLY_REGION: "sjc",
      VALET_FLY_IMAGE: "valet/project-server:local",
      R2_ENDPOINT: record.s3.endpoint,
      R2_ACCESS_KEY_ID: record.s3.access_key_id,
      R2_SECRET_ACCESS_KEY: record.s3.secret_access_key,
      R2_BUCKET: record.s3.bucket
    }
  })
