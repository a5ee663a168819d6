/**
 * The front in a process of its own, over stubs: project `p<port>` is the server on that port of this machine, and
 * `x-<reason>` can't be used for that reason. Argument: JSON that overrides its configuration. Tells its port and, for
 * each message, what it holds; ends with its parent.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as path from "node:path"
import { Front } from "../../../src/orchestrator/Front.ts"
import { defaults, OrchestratorConfig } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { OwnEndpoints } from "../../../src/orchestrator/OwnEndpoints.ts"
import { NoPlan, ProjectFolders } from "../../../src/orchestrator/ProjectFolders.ts"
import { type Held, NoServer, Supervisor, Unavailable, type Use } from "../../../src/orchestrator/Supervisor.ts"

const reasons = ["forbidden", "invalid", "rate_limited", "full", "failed", "draining"] as const
const inUse = { request: 0, connection: 0 }

const hold = ({ kind, project }: Pick<Use, "kind" | "project">): Held => {
  inUse[kind] += 1
  const port = Number(project.slice(1))
  return { target: { pid: port, port }, release: () => (inUse[kind] -= 1) }
}

const layerSupervisor = Layer.succeed(Supervisor, {
  use: ({ project, kind }) => {
    const reason = reasons.find((reason) => project === `x-${reason.replace("_", "-")}`)
    if (reason !== undefined) {
      return Effect.fail(new Unavailable({ reason, detail: `it is ${reason}`, retryAfterSeconds: 7, output: ["out"] }))
    }
    return Effect.acquireRelease(
      Effect.sync(() => hold({ project, kind })),
      ({ release }) => Effect.sync(release)
    ).pipe(Effect.map(({ target }) => target))
  },
  tryUse: (use) => (use.project.startsWith("x-") ? undefined : hold(use)),
  ping: () => Effect.succeed(false),
  keepAwake: () => Effect.fail(new NoServer({ detail: "none" })),
  stop: () => Effect.succeed(false),
  restart: () => Effect.succeed(false),
  reload: () => Effect.void,
  status: Effect.succeed([]),
  totals: Effect.succeed({
    spawns: 0,
    warmClaims: 0,
    stops: 0,
    crashes: 0,
    evictions: 0,
    replaced: 0,
    refused: 0,
    requests: 0
  }),
  drain: Effect.void
})

const layerFolders = Layer.succeed(ProjectFolders, {
  plan: () => Effect.fail(new NoPlan({ reason: "forbidden", detail: "none" })),
  serves: () => Effect.succeed(true),
  ofHost: () => Effect.undefined,
  setIdleTimeout: () => Effect.void,
  all: Effect.succeed([])
})

const layerOwn = Layer.succeed(OwnEndpoints, {
  handle: ({ request, response }) => Effect.sync(() => void response.end(`own ${request.method} ${request.url}`))
})

const overrides: object = JSON.parse(process.argv[2] ?? "{}")
const layerConfig = Layer.succeed(OrchestratorConfig, {
  ...defaults,
  port: 0,
  dataDir: path.resolve("none"),
  command: [],
  ...overrides
})

const held = () => {
  global.gc?.()
  return {
    sockets: process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length,
    inUse: inUse.request + inUse.connection,
    rss: process.memoryUsage.rss(),
    maxRss: process.resourceUsage().maxRSS * 1024
  }
}
const main = Effect.gen(function* () {
  const { port } = yield* Front
  process.on("disconnect", () => process.exit(1))
  process.on("message", () => process.send?.(held()))
  process.send?.({ port })
  return yield* Effect.never
})

main.pipe(
  Effect.provide(Front.layer),
  Effect.provide([layerSupervisor, layerFolders, layerOwn, layerConfig]),
  NodeRuntime.runMain
)
