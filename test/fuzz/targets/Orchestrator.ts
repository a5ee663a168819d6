/** The orchestrator: who a request is for and from, `valet.json`, its own endpoints, and its front before real servers. */
import { createServer } from "node:http"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as ProjectId from "../../../src/domain/ProjectId.ts"
import * as Caller from "../../../src/orchestrator/Caller.ts"
import * as Allow from "../../../src/orchestrator/folders/Allow.ts"
import * as ProjectFile from "../../../src/orchestrator/folders/ProjectFile.ts"
import * as Routes from "../../../src/orchestrator/Routes.ts"
import * as Endpoints from "../../orchestrator/endpoints/support.ts"
import { front as frontBefore } from "../../orchestrator/front/support.ts"
import { pure, target } from "../FuzzTarget.ts"
import { bearers, hosts, nearIds, request, type Request } from "../generate/Http.ts"
import { anyJson, broken, literal, object } from "../generate/Json.ts"
import { edited, edits, hostile } from "../generate/Text.ts"
import { httpCheck } from "../HttpCheck.ts"
import { isInternalByWhatwg } from "../Internal.ts"
import { type Answer, ask, expectStatus } from "../Wire.ts"
import { targets } from "./Parsers.ts"

const ids = nearIds(["demo", "other"])

const addresses = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.constantFrom("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", ""),
  hostile
)
const ranges = fc.oneof(
  fc.constantFrom("10.0.0.0/8", "127.0.0.1", "::1", "0.0.0.0/0", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", "a/8"),
  fc.tuple(fc.ipV4(), edits(hostile)).map(([ip, changes]) => edited(`${ip}/24`, changes)),
  hostile
)

export const orchestratorRouting = pure({
  name: "orchestrator-routing",
  about: "routes, callers, trusted proxies and allowed ids of the orchestrator",
  share: 8,
  quick: 1_000,
  arbitrary: fc.record({
    method: fc.constantFrom("GET", "POST"),
    target: fc.oneof(
      targets,
      targets.map((path) => `/${path}`),
      targets.map((path) => `/projects/demo${path}`)
    ),
    host: fc.option(hosts("localhost", ids, "127.0.0.1:7000")),
    upgrade: fc.boolean(),
    peer: fc.option(addresses, { nil: undefined }),
    ranges: fc.array(ranges, { maxLength: 3 }),
    headers: fc.array(
      fc.tuple(
        fc.constantFrom(
          "host",
          "X-Forwarded-For",
          "x-forwarded-proto",
          "X-Forwarded-Host",
          "origin",
          "via",
          "x_forwarded_for"
        ),
        fc.oneof(addresses, fc.constantFrom("https", "1.2.3.4:5", "[::1]:5, 10.0.0.1", "http://localhost"))
      ),
      { maxLength: 5 }
    ),
    loopbackOnly: fc.boolean(),
    allow: fc.oneof(fc.constantFrom("*", "team-*", "a,b", ",", "**a**"), hostile)
  }),
  check: (input) => {
    // Node lets nothing else through.
    if (!/^[\x21-\x7e\x80-\xff]*$/.test(input.target)) return undefined
    const route = Routes.route(input, "localhost")
    const final =
      route._tag === "Lookup" ? Routes.lookedUp(ProjectId.parse("listed"), route.host, input, "localhost") : route
    if (final._tag === "Project") {
      if (ProjectId.parse(final.project) === undefined) return `a project that is none: ${final.project}`
      if (isInternalByWhatwg(final.target)) return `${final.target} would reach the server's internal paths`
      if (!final.target.startsWith("/")) return `a target ${final.target}`
    }
    if (final._tag === "Redirect" && /[\r\n]|^\/\/|^[^/]/.test(final.location)) return `a redirect to ${final.location}`
    const trusted = Caller.trusted(input.ranges)
    const flat = input.headers.flat()
    const caller = Caller.callerOf({
      peer: input.peer,
      headers: flat,
      loopbackOnly: input.loopbackOnly,
      trusted: Result.isSuccess(trusted) ? trusted.success : () => false
    })
    const forwarded = input.headers.some(([name]) => /^x[-_]forwarded|^via$/i.test(name))
    if (caller.local && (forwarded || !input.loopbackOnly)) return "a request through a proxy is local"
    const allowed = Effect.runSync(Effect.option(Allow.compile(input.allow)))
    if (allowed._tag === "Some" && allowed.value("zz-top") && !/^[z*,\s-]|\*/.test(input.allow))
      return "an id that is not allowed"
    return undefined
  }
})

const durations = literal(0, 300, "10m", "1e9d", -1, 0.5, "x", 1e300)

export const valetJson = pure({
  name: "valet-json",
  about: "a project's own file",
  share: 5,
  quick: 500,
  arbitrary: broken(
    object({
      optional: {
        command: fc.oneof(literal(["node", "server.js"], [], "node server.js", ["", "x"], ["a\0b"])),
        cwd: literal("app", "..", "/etc", "../../x", "a\0", "."),
        env: object({
          optional: {
            A: literal("b", "a\0b", 1),
            PORT: literal("1"),
            __proto__: literal("x"),
            "A=B": literal("x"),
            "": literal("")
          }
        }),
        idle_timeout: durations,
        health_path: literal("/health", "/a b", "x", "/\r\nx: y", "//h", "/é"),
        hosts: literal(["a.example"], ["A.example."], ["a b"], ["*"], [""], ["xn--a"], ["a".repeat(300)], ["1.2.3.4"]),
        max_memory_mb: literal(16, 15, 512, 1e9, 1.5)
      }
    })
  ),
  check: (text) => {
    const parsed = ProjectFile.parse(text)
    if (Result.isFailure(parsed)) {
      if (parsed.failure.length === 0) return "refused without a reason"
      const long = parsed.failure.find((problem) => problem.length > 20_000)
      return long === undefined ? undefined : `a problem of ${long.length} characters`
    }
    const { command, cwd, env, health_path, hosts, idle_timeout, max_memory_mb } = parsed.success
    if (command !== undefined && (command[0] ?? "") === "") return "no program"
    if ([...(command ?? []), cwd ?? "", ...Object.values(env ?? {})].some((word) => word.includes("\0"))) return "a NUL"
    if (Object.keys(env ?? {}).some((name) => !/^[A-Za-z_]\w*$/.test(name) || name === "PORT"))
      return "a variable of ours"
    // oxlint-disable-next-line no-control-regex -- what must not be in a request line
    if (health_path !== undefined && /[\0-\x20\x7f-\uffff]/.test(health_path)) return `a health path ${health_path}`
    if (hosts?.some((host) => !/^[a-z0-9.-]{1,253}$/i.test(host)) === true) return `hosts ${hosts.join()}`
    if (idle_timeout !== undefined && !Number.isSafeInteger(ProjectFile.idleMs(idle_timeout)))
      return `idle ${idle_timeout}`
    return max_memory_mb === undefined || Number.isSafeInteger(max_memory_mb) ? undefined : `${max_memory_mb} MB`
  }
})

export const ownEndpoints = target({
  name: "own-endpoints",
  about: "status, logs, projects, keep-awake and ask of the orchestrator",
  share: 3,
  quick: 40,
  arbitrary: request({
    paths: [
      "/",
      "/status",
      "/health",
      "/metrics",
      "/ask",
      "/internal/keep-awake",
      "/internal/:id",
      "/api/projects",
      "/api/projects/:id",
      "/api/projects/:id/logs",
      "/api/projects/:id/keep-alive",
      "/api/projects/:id/wake",
      "/api/projects/:id/sleep",
      "/api/projects/:id/restart",
      "/:id/logs"
    ],
    ids,
    hosts: hosts("apps.example", ids, "127.0.0.1:7000"),
    headers: [bearers([Endpoints.adminToken, Endpoints.adminToken, Endpoints.childToken])],
    bodies: broken(
      fc.oneof(
        object({
          required: { seconds: literal(1, 60, 3_600, 1e9, -1, 0.5) },
          optional: { reason: literal("busy", "x".repeat(500)) }
        }),
        object({ optional: { idle_timeout: durations, idle_timeout_seconds: durations } })
      )
    )
  }),
  open: Effect.gen(function* () {
    const { port, world } = yield* Endpoints.serve
    world.servers = [Endpoints.server("demo"), Endpoints.server("other", { state: "idle" })]
    world.folders = [Endpoints.id("demo"), Endpoints.id("other")]
    let count = 0
    const secrets = [Endpoints.adminToken, Endpoints.childToken]
    const check = httpCheck({
      port,
      secrets: () => secrets,
      statuses: [200, 202, 204, 302, 307, 308, 400, 401, 403, 404, 405, 413, 415, 429, 503],
      codes: { 503: ["overloaded", "no_capacity", "start_failed", "shutting_down"] }
    })
    return {
      check: (input: Request) =>
        Effect.suspend(() => {
          // As often from elsewhere as from this machine.
          world.local = count++ % 2 === 0
          world.calls.length = 0
          return check(input)
        }),
      probe: Effect.gen(function* () {
        world.local = false
        const headers = { authorization: `Bearer ${Endpoints.adminToken}` }
        yield* Effect.flatMap(ask(port, { path: "/status", headers }), expectStatus("status", 200))
        yield* Effect.flatMap(ask(port, { path: "/status" }), expectStatus("status without a token", 401))
      }),
      secrets: () => secrets
    }
  })
})

/** Answers everything, and says what it was asked. */
const child = Effect.acquireRelease(
  Effect.callback<{ readonly port: number; readonly seen: Array<string>; readonly close: () => void }>((resume) => {
    const seen: Array<string> = []
    const server = createServer((request, response) => {
      seen.push(request.url ?? "")
      request.resume()
      response.writeHead(200, { "content-type": "text/plain", "x-child": "1" })
      response.end("from the child")
    })
    server.on("upgrade", (_, socket) => {
      socket.on("error", () => socket.destroy())
      socket.end("HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      resume(Effect.succeed({ port, seen, close: () => void (server.close(), server.closeAllConnections()) }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

/** The child's own answer is any; everything else is the front's. */
const fronted = [200, 204, 304, 307, 308, 400, 401, 403, 404, 405, 411, 413, 415, 426, 429, 501, 502, 503, 504]

export const front = target({
  name: "orchestrator-front",
  about: "the orchestrator's proxy before a server",
  share: 6,
  quick: 60,
  keepsConnections: true,
  arbitrary: request({
    paths: ["/projects/:id/", "/projects/:id", "/", "/x", "/internal/configure", "/projects/:id/internal/configure"],
    ids,
    hosts: hosts("localhost", ids, "127.0.0.1:7000"),
    bodies: anyJson
  }),
  open: Effect.gen(function* () {
    const { port: childPort, seen } = yield* child
    const { port } = yield* frontBefore({ use: () => Effect.succeed(childPort), hosts: { "listed.example": "demo" } })
    const check = httpCheck({
      port,
      secrets: () => [],
      statuses: fronted,
      codes: { 502: ["bad_answer"], 503: ["unreachable"], 504: ["response_timeout"] },
      also: (_: Request, answer: Answer) => {
        const reached = seen.find((target) => isInternalByWhatwg(target))
        seen.length = 0
        if (reached !== undefined) return `the server was asked for ${reached}`
        return answer.status >= 500 ? `status ${answer.status}` : undefined
      }
    })
    return {
      check,
      probe: Effect.asVoid(
        Effect.flatMap(
          ask(port, { path: "/projects/demo/x", headers: { host: "127.0.0.1" } }),
          expectStatus("visit", 200)
        )
      )
    }
  })
})
