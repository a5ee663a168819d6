/** The orchestrator's own endpoints on a real listener, over a supervisor and folders that a test writes. */
import { mkdtempSync, rmSync, mkdirSync } from "node:fs"
import type { IncomingMessage } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { ServerStatus } from "../../../src/contract/OrchestratorStatus.ts"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import type { Caller } from "../../../src/orchestrator/Caller.ts"
import { defaults, OrchestratorConfig } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { OrchestratorFolder } from "../../../src/orchestrator/OrchestratorFolder.ts"
import { OwnEndpoints } from "../../../src/orchestrator/OwnEndpoints.ts"
import { type NoPlan, ProjectFolders } from "../../../src/orchestrator/ProjectFolders.ts"
import { NoServer, Supervisor, type Totals, type Unavailable } from "../../../src/orchestrator/Supervisor.ts"
import { WarmCount } from "../../../src/orchestrator/WarmCount.ts"
import { listen } from "../../../src/proxy/Listener.ts"
import { type Sent, send } from "../../http/support.ts"

export const adminToken = "admin-token-of-the-test"
export const bearer = { authorization: `Bearer ${adminToken}` }
export const childToken = "token-of-a-child"

export const id = (text: string): ProjectId => ProjectId.make(text)

export const server = (name: string, more: Partial<ServerStatus> = {}): ServerStatus => ({
  project_id: id(name),
  state: "running",
  pid: 4711,
  port: 40_000,
  connections: 2,
  requests: 17,
  started_at: "2026-01-02T03:04:05.000Z",
  idle_since: null,
  stops_at: null,
  retry_at: null,
  awake_because: ["2 connections"],
  health: { status: "healthy", misses: 0, checked_at: "2026-01-02T03:04:15.000Z", detail: null },
  restarts: 1,
  cold_start_ms: 120,
  warm: false,
  memory_bytes: 50_000_000,
  last_error: null,
  last_output: ["listening"],
  ...more
})

export const totals: Totals = {
  spawns: 21,
  warmClaims: 22,
  stops: 23,
  crashes: 24,
  evictions: 25,
  replaced: 26,
  refused: 27,
  requests: 28
}

export interface World {
  readonly root: string
  servers: Array<ServerStatus>
  folders: Array<ProjectId>
  readonly hosts: Map<string, ProjectId>
  /** Ids that `serves` answers with yes. */
  readonly served: Set<string>
  /** Of every call of supervisor and folders that changes something, and of `serves` and `ofHost`. */
  readonly calls: Array<string>
  local: boolean
  /** How the next `use` fails. */
  unavailable: Unavailable | undefined
  noPlan: NoPlan | undefined
  used: number
  /** Runs inside `use`, before it counts. */
  beforeUse: Effect.Effect<void>
  /** Runs inside `status`. */
  beforeStatus: Effect.Effect<void>
  /** Runs inside `serves`. */
  beforeServes: Effect.Effect<void>
}

const makeWorld = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "valet-endpoints-"))),
    (root) => Effect.sync(() => rmSync(root, { recursive: true, force: true }))
  ),
  (root): World => {
    mkdirSync(join(root, ".valet", "logs"), { recursive: true })
    return {
      root,
      servers: [],
      folders: [],
      hosts: new Map(),
      served: new Set(),
      calls: [],
      local: true,
      unavailable: undefined,
      noPlan: undefined,
      used: 0,
      beforeUse: Effect.void,
      beforeStatus: Effect.void,
      beforeServes: Effect.void
    }
  }
)

const layerSupervisor = (world: World) => {
  const act = (name: string) => (project: ProjectId) =>
    Effect.sync(() => {
      world.calls.push(`${name} ${project}`)
      return world.servers.some(({ project_id }) => project_id === project)
    })
  return Layer.mock(Supervisor)({
    tryUse: () => undefined,
    status: Effect.suspend(() => Effect.as(world.beforeStatus, world.servers)),
    totals: Effect.succeed(totals),
    ping: act("ping"),
    stop: act("stop"),
    restart: act("restart"),
    reload: (project) => Effect.asVoid(act("reload")(project)),
    use: ({ project, kind, client }) =>
      Effect.gen(function* () {
        world.calls.push(`use ${project} ${kind} ${client}`)
        yield* world.beforeUse
        if (world.unavailable !== undefined) return yield* world.unavailable
        if (!world.servers.some(({ project_id }) => project_id === project)) world.servers.push(server(project))
        yield* Effect.acquireRelease(
          Effect.sync(() => void (world.used += 1)),
          () => Effect.sync(() => void (world.used -= 1))
        )
        return { pid: 1, port: 1 }
      }),
    keepAwake: (token, seconds, reason) =>
      Effect.suspend(() => {
        if (token !== childToken) return Effect.fail(new NoServer({ detail: "unknown token" }))
        world.calls.push(`keepAwake ${seconds} ${reason}`)
        return Effect.void
      })
  })
}

const layerFolders = (world: World) =>
  Layer.mock(ProjectFolders)({
    all: Effect.sync(() => world.folders),
    serves: (project) =>
      Effect.suspend(() => {
        world.calls.push(`serves ${project}`)
        return Effect.as(world.beforeServes, world.served.has(project))
      }),
    ofHost: (host) =>
      Effect.sync(() => {
        world.calls.push(`ofHost ${host}`)
        return world.hosts.get(host)
      }),
    setIdleTimeout: (project, ms) =>
      Effect.suspend(() => {
        if (world.noPlan !== undefined) return Effect.fail(world.noPlan)
        world.calls.push(`setIdleTimeout ${project} ${ms}`)
        return Effect.void
      })
  })

const layerWorld = (world: World) =>
  Layer.mergeAll(
    layerSupervisor(world),
    layerFolders(world),
    Layer.mock(OrchestratorFolder)({
      root: world.root,
      own: (...parts) => join(world.root, ".valet", ...parts),
      adminToken: Redacted.make(adminToken),
      childEnvironment: {}
    }),
    Layer.succeed(OrchestratorConfig, {
      ...defaults,
      domain: "apps.example",
      dataDir: world.root,
      command: ["true"]
    }),
    Layer.succeed(WarmCount, Effect.succeed(3))
  )

/** As `Caller` says it of a request on loopback; `world.local` stands for all that makes one local. */
const callerOf = (world: World, request: IncomingMessage): Caller => ({
  address: "127.0.0.1",
  local: world.local,
  proto: "http",
  host: request.headers.host ?? null
})

export const logPath = (world: World, name: string): string => join(world.root, ".valet", "logs", name)

export const serve = Effect.gen(function* () {
  const world = yield* makeWorld
  const context = yield* Layer.build(OwnEndpoints.layer.pipe(Layer.provide(layerWorld(world))))
  const own = yield* Effect.provide(OwnEndpoints, context)
  const { port } = yield* listen({
    host: "127.0.0.1",
    port: 0,
    grace: "2 seconds",
    upgrades: false,
    handle: ({ request, response }) =>
      response === undefined
        ? Effect.die("no upgrades here")
        : own.handle({ request, response, caller: callerOf(world, request) })
  })
  const call = (path: string, more: Omit<Sent, "port" | "path"> = {}) => send({ port, path, ...more })
  const post = (path: string, body?: string, headers: Readonly<Record<string, string>> = {}, method = "POST") =>
    call(path, {
      method,
      headers: { ...bearer, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body })
    })
  return { world, port, call, post }
})

export const codeOf = (reply: { readonly text: string; readonly headers: NodeJS.Dict<string | Array<string>> }) => {
  const parsed: { readonly code?: unknown } = JSON.parse(reply.text)
  return `${reply.headers["content-type"]} ${String(parsed.code)}`
}

export const problemOf = (code: string) => `application/problem+json ${code}`
