/** The router's listener over rows in every state and wakes that end in every way. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as fc from "fast-check"
import {
  Backoff,
  Capacity,
  DataUnavailable,
  Deadline,
  NotFound,
  Unavailable,
  WakeError
} from "../../../src/programs/lifecycle/Lifecycle.ts"
import { StoreError } from "../../../src/services/db/StoreError.ts"
import { testConfig } from "../../../src/testing/TestPlane.ts"
import { active, dormant, makeWorld, project, projectHost, serve, woken } from "../../http/support.ts"
import { target } from "../FuzzTarget.ts"
import { bearers, hosts, nearIds, request, type Request } from "../generate/Http.ts"
import { anyJson } from "../generate/Json.ts"
import { httpCheck } from "../HttpCheck.ts"
import { isInternalByWhatwg } from "../Internal.ts"
import { type Answer, ask, expectStatus, headerOf } from "../Wire.ts"
import { Violation } from "../Violation.ts"

const reasons = {
  "wake-notfound": new NotFound({ detail: "secret-detail-of-a-wake" }),
  "wake-deadline": new Deadline({ detail: "secret-detail-of-a-wake" }),
  "wake-capacity": new Capacity({ detail: "secret-detail-of-a-wake", retryAfterMs: 1_500 }),
  "wake-backoff": new Backoff({ detail: "secret-detail-of-a-wake", retryAfterMs: 10 }),
  "wake-data": new DataUnavailable({ detail: "secret-detail-of-a-wake" }),
  "wake-unavailable": new Unavailable({ detail: "secret-detail-of-a-wake", retryAfterMs: 0 })
}
const ids = nearIds(["demo", "sleepy", "gone", "moving", "lost", "broken", ...Object.keys(reasons)])

const secrets = [
  Redacted.value(testConfig.secret),
  Redacted.value(testConfig.internalSecret),
  Redacted.value(testConfig.fly.token),
  "dk_demo",
  "dk_sleepy",
  "password-of-the-database",
  "secret-detail-of-a-wake"
]

/** A replay names a machine, and that of the project that the request names. */
const wrongReplay = (_: Request, answer: Answer): string | undefined => {
  const replay = headerOf(answer, "fly-replay")
  if ((replay !== undefined) !== (answer.status === 307)) return `status ${answer.status} with fly-replay ${replay}`
  return replay === undefined || /^instance=m-[a-z-]+;app=[a-z-]+;timeout=10s;fallback=prefer_self$/.test(replay)
    ? undefined
    : `fly-replay ${replay}`
}

const internalReplayed = (request: Request, answer: Answer): string | undefined =>
  answer.status === 307 && isInternalByWhatwg(request.target) ? `${request.target} was replayed` : undefined

export const router = target({
  name: "router",
  about: "routing, waking, replays that came back",
  share: 10,
  quick: 100,
  arbitrary: request({
    paths: [
      "/",
      "/x",
      "/projects/:id",
      "/projects/:id/",
      "/projects/:id/ws",
      "/internal/configure",
      "/health",
      "/a/b?c"
    ],
    ids,
    hosts: hosts("fly.valet.host", ids, "plane.example"),
    headers: [
      bearers(["dk_demo", Redacted.value(testConfig.secret)]),
      fc.tuple(fc.constant("fly-replay-src"), fc.constantFrom("instance=m-demo;state=stale", "state=stale", "x")),
      fc.tuple(fc.constant("fly-replay-failed"), fc.constantFrom("1", "x"))
    ],
    bodies: anyJson
  }),
  open: Effect.gen(function* () {
    const world = yield* makeWorld
    world.rows.set("demo", active("demo"))
    world.rows.set("sleepy", dormant("sleepy"))
    world.rows.set("moving", { ...dormant("moving"), project: project("moving", { operation: "archiving" }) })
    world.rows.set("lost", dormant("lost", { dataUnavailable: true, dirty: true }))
    world.rows.set("gone", dormant("gone", { state: "deleted", deletedAt: 1 }))
    for (const name of Object.keys(reasons)) world.rows.set(name, dormant(name))
    const find = new StoreError({
      operation: "find",
      reason: "Unavailable",
      detail: "password-of-the-database was refused"
    })
    let finds = 0
    // Now and then the database does not answer.
    world.beforeFind = Effect.suspend(() => (++finds % 17 === 0 ? Effect.fail(find) : Effect.void))
    const wake = (id: string) => {
      const reason = Object.entries(reasons).find(([name]) => name === id)?.[1]
      return reason === undefined ? Effect.succeed(woken(active(id))) : Effect.fail(new WakeError({ reason }))
    }
    const { port } = yield* serve(world, { lifecycle: { wake, heal: wake } })
    const check = httpCheck({
      port,
      secrets: () => secrets,
      statuses: [200, 204, 307, 400, 401, 404, 405, 413, 503],
      codes: {
        503: ["waking", "wake_failed", "no_capacity", "data_unavailable", "unavailable", "overloaded", "dormant"]
      },
      also: (request, answer) => wrongReplay(request, answer) ?? internalReplayed(request, answer)
    })
    return {
      check,
      probe: Effect.gen(function* () {
        finds = 0
        yield* Effect.flatMap(ask(port, { path: "/health" }), expectStatus("health", 200))
        const visit = yield* ask(port, { path: "/x", headers: { host: projectHost("demo") } })
        yield* expectStatus("visit", 307)(visit)
        if (!String(headerOf(visit, "fly-replay")).startsWith("instance=m-demo;")) {
          return yield* new Violation({ detail: `a replay elsewhere: ${headerOf(visit, "fly-replay")}` })
        }
      }),
      // What the store says is for the log, and this double says a password.
      secrets: () => secrets.filter((secret) => !secret.startsWith("password-"))
    }
  })
})
