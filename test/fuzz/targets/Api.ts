/** The control plane's API on a whole plane in memory: real programs, real listener. */
import { readFileSync } from "node:fs"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as fc from "fast-check"
import { PlaneHttp } from "../../../src/http/PlaneHttp.ts"
import { Router } from "../../../src/http/router/Router.ts"
import { Server } from "../../../src/http/Server.ts"
import { unavailableCodes } from "../../../src/contract/Problems.ts"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import { LoopStatus } from "../../../src/programs/background/LoopStatus.ts"
import { ChangeFeed } from "../../../src/services/db/ChangeFeed.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import { Keys } from "../../../src/services/Keys.ts"
import { layerTestPlane, testConfig } from "../../../src/testing/TestPlane.ts"
import { type Definition, target } from "../FuzzTarget.ts"
import { bearers, hosts, nearIds, type Request, request } from "../generate/Http.ts"
import { broken, literal, object } from "../generate/Json.ts"
import { hostile } from "../generate/Text.ts"
import { httpCheck } from "../HttpCheck.ts"
import { ask, expectStatus, headerOf } from "../Wire.ts"

const secretText = {
  controlPlane: Redacted.value(testConfig.secret),
  previous: "previous-control-plane-secret-9876543210",
  internal: "internal-secret-of-the-fuzzed-plane-0123456789",
  database: "password-of-the-database",
  fly: "fly-token-of-the-fuzzed-plane",
  r2: "r2-secret-key-of-the-fuzzed-plane"
}

const layerServed = Server.layer().pipe(
  Layer.provide(PlaneHttp.layer),
  Layer.provide(Router.layer),
  Layer.provideMerge(
    Layer.mergeAll(
      layerTestPlane({
        config: (config) => ({
          ...config,
          port: 0,
          onFly: true,
          secretPrevious: Redacted.make(secretText.previous),
          internalSecret: Redacted.make(secretText.internal),
          database: {
            url: Redacted.make(`postgres://valet:${secretText.database}@127.0.0.1:1/valet`),
            directUrl: Redacted.make(`postgres://valet:${secretText.database}@127.0.0.1:1/valet`)
          },
          fly: { ...config.fly, token: Redacted.make(secretText.fly) },
          r2: {
            endpoint: "memory:",
            accessKeyId: "fuzz",
            secretAccessKey: Redacted.make(secretText.r2),
            bucket: "valet-dormant"
          },
          router: { ...config.router, wakeTimeoutMs: 3_000 }
        })
      }),
      ChangeFeed.layerAlways,
      Layer.succeed(LoopStatus, { statuses: Effect.succeed([]) })
    )
  )
)

/** Methods and statuses of each path, as the committed document has them. */
const documented: ReadonlyArray<{ readonly pattern: RegExp; readonly method: string; readonly statuses: Set<number> }> =
  (() => {
    const document: { readonly paths: Record<string, Record<string, { readonly responses: object }>> } = JSON.parse(
      readFileSync(new URL("../../../openapi.json", import.meta.url), "utf8")
    )
    return Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { responses }]) => ({
        pattern: new RegExp(`^${path.replace(/\{[a-z_]+\}/g, "[a-z0-9-]+")}$`),
        method: method.toUpperCase(),
        statuses: new Set(Object.keys(responses).map(Number))
      }))
    )
  })()

/** Of what stands around every handler. */
const around = [400, 401, 404, 405, 413, 415, 503]

const undocumented = ({ method, target }: Request, status: number): string | undefined => {
  const [path = ""] = target.split("?")
  const found = documented.find((one) => one.method === method && one.pattern.test(path))
  return found === undefined || found.statuses.has(status) || around.includes(status)
    ? undefined
    : `${status} is not documented for ${method} ${path}`
}

const paths = [
  "/api/projects",
  "/api/projects",
  "/api/projects/",
  "/api/projects/:id",
  "/api/route/:id",
  "/api/projects/:id/activity",
  "/api/projects/:id/sleep",
  "/api/projects/:id/events",
  "/api/projects/:id/wake",
  "/api/projects/:id/recover",
  "/api/status",
  "/health",
  "/health/ready",
  "/metrics",
  "/api/openapi.json",
  "/"
]

const names = ["demo", "other", "throwaway-1", "throwaway-2", "throwaway-3"]
const ids = nearIds(names)

const seconds = literal(5, 60, 300, 604_800, 4, null, 1e9)
const bodies = broken(
  fc.oneof(
    object({
      optional: {
        project_id: fc.oneof(
          literal(...names, "new-one", "admin", "A"),
          ids.map((id) => JSON.stringify(id))
        ),
        region: literal("sjc", "ams", "SJC", ""),
        idle_timeout_seconds: seconds
      }
    }),
    object({ required: { to: literal("suspended", "dormant", "active") } }),
    object({
      optional: { idle_timeout_seconds: seconds, dormancy_threshold_seconds: seconds, pinned: literal(true, false) }
    }),
    object({ required: { from: literal("archive", "snapshot", "empty", "nothing") } })
  )
)

const operator = { authorization: `Bearer ${secretText.controlPlane}` }

const arbitrary = request({
  paths,
  ids,
  hosts: hosts("fly.valet.host", ids, "plane.example"),
  headers: [
    bearers([secretText.controlPlane, secretText.controlPlane, secretText.previous, "dk_demo"]),
    fc.tuple(
      fc.constant("fly-client-ip"),
      fc.nat(65_535).map((n) => `198.51.${n >> 8}.${n & 255}`)
    ),
    fc.tuple(fc.constant("idempotency-key"), hostile)
  ],
  bodies
})

const open: Definition<Request>["open"] = Effect.gen(function* () {
  const context = yield* Layer.build(layerServed)
  const { port } = Context.get(context, Server)
  const keys = Context.get(context, Keys)
  const projects = Context.get(context, Projects)
  const create = (id: string) =>
    ask(port, { method: "POST", path: "/api/projects", headers: operator, body: JSON.stringify({ project_id: id }) })
  const keyOf = (text: string): string => /"deploy_key":"([^"]+)"/.exec(text)?.[1] ?? ""
  const created = yield* Effect.forEach(["probe", "demo", "other"], (id) =>
    Effect.flatMap(create(id), expectStatus(`creating ${id}`, 201))
  )
  const deployKeys = created.map(({ body }) => keyOf(body))
  const machineSecrets = yield* Effect.forEach(["probe", "demo", "other"], (id) =>
    Effect.gen(function* () {
      const { machine } = yield* Effect.flatMap(projects.find(ProjectId.make(id)), Effect.fromOption)
      if (machine === null) return `no machine of ${id}`
      return Redacted.value(yield* keys.machineSecret(machine.name, machine.keyId))
    })
  )
  const secrets = [...Object.values(secretText), ...deployKeys, ...machineSecrets]
  const check = httpCheck({
    port,
    secrets: () => secrets,
    statuses: [200, 201, 204, 307, 400, 401, 404, 405, 409, 413, 415, 429, 503],
    codes: { 503: [...unavailableCodes, "dormant", "not_ready"] },
    also: (request, answer) =>
      headerOf(answer, "fly-replay") === undefined ? undocumented(request, answer.status) : undefined
  })
  return {
    // The owner's bearer is known only now.
    check: (request) =>
      check({
        ...request,
        headers: request.headers.map(([name, value]) => [name, value.replace("dk_demo", deployKeys[1] ?? "")])
      }),
    probe: Effect.gen(function* () {
      const found = yield* Effect.flatMap(ask(port, { path: "/api/projects/probe" }), expectStatus("look", 200))
      const routed = yield* ask(port, { path: "/x", headers: { host: "probe.fly.valet.host" } })
      yield* expectStatus("visit", 307)(routed)
      yield* Effect.flatMap(ask(port, { path: "/api/status", headers: operator }), expectStatus("status", 200))
      return headerOf(found, "content-type")
    }),
    secrets: () => secrets
  }
})

export const api = target({
  name: "api",
  about: "HTTP API on a whole plane in memory",
  share: 10,
  quick: 100,
  arbitrary,
  open
})
