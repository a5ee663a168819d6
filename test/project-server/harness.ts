/** A project server in this process on a free port and a temporary folder, with clients and an object store. */
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { WebSocket } from "ws"
import * as ProjectServer from "../../src/apps/ProjectServer.ts"
import { CrashPoint, type Moment } from "../../src/project-server/CrashPoint.ts"
import { Gate } from "../../src/project-server/Gate.ts"
import { HttpServer } from "../../src/project-server/HttpServer.ts"
import type { ProjectServerConfigValue } from "../../src/project-server/ProjectServerConfig.ts"

export const secret = "machine-secret"
export const deployKey = "dk_of_the_project"

export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "valet-server-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

export const configOf = (
  dataDir: string,
  overrides: Partial<ProjectServerConfigValue> = {}
): ProjectServerConfigValue => ({
  host: "127.0.0.1",
  port: 0,
  dataDir,
  stateDir: dataDir,
  databasePath: `${dataDir}/project.db`,
  internalSecret: Redacted.make(secret),
  projectId: null,
  comparesAddress: true,
  deployKey: null,
  routerApp: null,
  suspend: null,
  idleTimeoutSeconds: 300,
  longCallMs: 10_000,
  stallMs: 5_000,
  ...overrides
})

export const unmanaged = (dataDir: string): ProjectServerConfigValue =>
  configOf(dataDir, {
    internalSecret: null,
    projectId: "demo",
    comparesAddress: false,
    deployKey: Redacted.make(deployKey)
  })

export interface Response {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
  readonly json: unknown
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const send = (
  port: number,
  method: string,
  path: string,
  options: { readonly headers?: Record<string, string>; readonly body?: string | Buffer } = {}
) =>
  Effect.callback<Response, Error>((resume) => {
    const request = Http.request(
      { host: "127.0.0.1", port, method, path, headers: options.headers ?? {}, agent: false },
      (response) => {
        const chunks: Array<Buffer> = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("error", (error) => resume(Effect.fail(error)))
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("latin1")
          const utf8 = Buffer.concat(chunks).toString()
          const isJson = String(response.headers["content-type"]).includes("json")
          resume(
            Effect.succeed({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text: isJson ? utf8 : text,
              json: parsed(utf8)
            })
          )
        })
      }
    )
    request.on("error", (error) => resume(Effect.fail(error)))
    request.end(options.body)
    return Effect.sync(() => request.destroy())
  })

export interface Client {
  readonly ask: (frame: unknown) => Effect.Effect<Record<string, unknown>>
  readonly post: (frame: unknown) => void
  readonly next: Effect.Effect<Record<string, unknown>>
  readonly closed: Effect.Effect<number>
  readonly socket: WebSocket
  readonly close: Effect.Effect<number>
}

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? { ...value } : {}

export const connect = (port: number, path = "/ws", headers: Record<string, string> = {}, autoPong = true) =>
  Effect.gen(function* () {
    const messages = yield* Queue.unbounded<Record<string, unknown>>()
    const closed = yield* Deferred.make<number>()
    const socket = yield* Effect.acquireRelease(
      Effect.callback<WebSocket, Error>((resume) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers, autoPong })
        socket.on("message", (data: Buffer) => {
          Queue.offerUnsafe(messages, asRecord(parsed(data.toString())))
        })
        socket.on("close", (code) => Deferred.doneUnsafe(closed, Effect.succeed(code)))
        socket.on("error", (error) => resume(Effect.fail(error)))
        socket.on("open", () => resume(Effect.succeed(socket)))
      }),
      (socket) => Effect.sync(() => socket.terminate())
    )
    const post = (frame: unknown) => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame))
    const client: Client = {
      post,
      next: Queue.take(messages),
      ask: (frame) =>
        Effect.andThen(
          Effect.sync(() => post(frame)),
          Queue.take(messages)
        ),
      closed: Deferred.await(closed),
      socket,
      close: Effect.andThen(
        Effect.sync(() => socket.close()),
        Deferred.await(closed)
      )
    }
    return client
  })

export interface Server {
  readonly port: number
  readonly gate: Gate["Service"]
  readonly config: ProjectServerConfigValue
  readonly send: (
    method: string,
    path: string,
    options?: { readonly headers?: Record<string, string>; readonly body?: string | Buffer }
  ) => Effect.Effect<Response, Error>
  /** A call of the machine protocol. */
  readonly call: (name: string, body: unknown) => Effect.Effect<Response, Error>
  readonly connect: Effect.Effect<Client, Error, Scope.Scope>
  readonly stop: Effect.Effect<void>
}

export const start = (
  config: ProjectServerConfigValue,
  crashPoint: (moment: Moment) => Effect.Effect<void> = () => Effect.void
) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(ProjectServer.layer(config), scope).pipe(
      Effect.provideService(CrashPoint, crashPoint)
    )
    const { port } = Context.get(context, HttpServer)
    const server: Server = {
      port,
      gate: Context.get(context, Gate),
      config,
      send: (method, path, options) => send(port, method, path, options),
      call: (name, body) =>
        send(port, "POST", `/internal/${name}`, {
          headers: { authorization: `Bearer ${secret}` },
          body: JSON.stringify(body)
        }),
      connect: connect(port),
      stop: Scope.close(scope, Exit.void)
    }
    return server
  })

export const configureBody = (generation: number, more: Record<string, unknown> = {}) => ({
  project_id: "demo",
  project_uid: "u1",
  deploy_key: deployKey,
  generation,
  router_app: "router",
  ...more
})

/** A managed server that serves `demo` since generation 1. */
export const startConfigured = (
  config: ProjectServerConfigValue,
  crashPoint?: (moment: Moment) => Effect.Effect<void>
) =>
  Effect.tap(start(config, crashPoint), (server) =>
    Effect.flatMap(server.call("configure", configureBody(1)), (answer) =>
      answer.status === 200 ? Effect.void : Effect.die(new Error(answer.text))
    )
  )

export const put = (server: Server, key: string, value: unknown) =>
  server.send("PUT", `/documents/${key}`, { body: JSON.stringify(value) })

export const archiveBody = (generation: number, store: Store, more: Record<string, unknown> = {}) => ({
  project_uid: "u1",
  generation,
  r2_key: `u1/${generation}`,
  upload_url: `${store.url}/u1/${generation}`,
  headers: { "if-none-match": "*", "x-amz-checksum": "as given" },
  idle_window_seconds: 0,
  ...more
})

type Handler = (request: Http.IncomingMessage, response: Http.ServerResponse, body: Buffer) => boolean

export interface Store {
  readonly url: string
  readonly objects: Map<string, Buffer>
  readonly requests: Array<Http.IncomingMessage>
  /** Sees each request first; true: it took care of it. */
  fault: Handler
}

/** An object store of nothing but GET and conditional PUT. */
export const objectStore = Effect.gen(function* () {
  const objects = new Map<string, Buffer>()
  const requests: Array<Http.IncomingMessage> = []
  const store: { -readonly [K in keyof Store]: Store[K] } = { url: "", objects, requests, fault: () => false }
  const server = Http.createServer((request, response) => {
    requests.push(request)
    const chunks: Array<Buffer> = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("error", () => {})
    request.on("end", () => {
      const body = Buffer.concat(chunks)
      const key = request.url ?? ""
      if (store.fault(request, response, body)) return
      if (request.method === "PUT") {
        if (objects.has(key)) return response.writeHead(412).end()
        objects.set(key, body)
        return response.writeHead(200).end()
      }
      const found = objects.get(key)
      return found === undefined
        ? response.writeHead(404).end()
        : response.writeHead(200, { "content-length": found.length }).end(found)
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  const address = server.address()
  store.url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
  return store
})

export const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex")

export const restoreOf = (store: Store, key: string, bytes: Buffer, more: Record<string, unknown> = {}) => ({
  r2_key: key,
  r2_checksum: sha256(bytes),
  size: bytes.length,
  download_url: `${store.url}/${key}`,
  ...more
})

/** What a file holds, read by SQLite alone; throws unless it is sound. */
export const readDatabase = (path: string): ReadonlyMap<string, unknown> => {
  const database = new DatabaseSync(path)
  try {
    const [check] = database.prepare("PRAGMA integrity_check").all()
    if (check?.["integrity_check"] !== "ok") throw new Error("integrity check failed")
    return new Map(
      database
        .prepare("SELECT key, value FROM documents")
        .all()
        .map((row) => [String(row["key"]), parsed(String(row["value"]))])
    )
  } finally {
    database.close()
  }
}

/** An archive as a server of this kind makes it. */
export const archiveBytes = (documents: Record<string, unknown>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* start(unmanaged(folder))
      for (const [key, value] of Object.entries(documents)) yield* put(server, key, value)
      yield* server.stop
      return Fs.readFileSync(`${folder}/project.db`)
    })
  )
