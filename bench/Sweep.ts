/**
 * `sweep`: finding and archiving 10,000 due projects of a million, as far as the plane and its database have to work for
 * it, and what requests feel of it meanwhile.
 */
import { performance } from "node:perf_hooks"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { ProjectId } from "../src/domain/ProjectId.ts"
import { layerPostgres } from "../src/services/db/Postgres.ts"
import { Projects } from "../src/services/db/Projects.ts"
import { StatementObserver } from "../src/services/db/StatementObserver.ts"
import { type Bench, BenchFailed, failed } from "./harness/Bench.ts"
import * as Load from "./harness/Load.ts"
import { alternate, figure } from "./harness/Rounds.ts"
import { crowdId, fillCrowd, planeDatabase, type PlaneDatabase } from "./plane/Database.ts"
import { start } from "./plane/Processes.ts"
import { requestFor } from "./route/Requests.ts"
import { placeholder, Task } from "./sweep/Task.ts"

const weekMs = 7 * 24 * 60 * 60_000
const pageSize = 100

/** What the index is for, and nothing else. */
const plainScan = `
  SELECT project_id, last_active_day::text AS day FROM valet.projects
  WHERE state IN ('active', 'suspended') AND operation = 'none' AND NOT pinned AND NOT data_unavailable
    AND dormancy_threshold_seconds IS NULL AND (last_active_day, project_id) > ($1::date, $2)
    AND last_active_day <= ((now() - interval '7 days') AT TIME ZONE 'UTC')::date
  ORDER BY last_active_day, project_id LIMIT ${pageSize}`

/** The stores of one instance, with the statements that they send. */
const stores = Effect.fnUntraced(function* ({ url }: PlaneDatabase) {
  const sent: Array<{ readonly sql: string; readonly params: ReadonlyArray<unknown> }> = []
  const urls = { url: Redacted.make(url), directUrl: Redacted.make(url) }
  const observer = Layer.succeed(StatementObserver, (sql, params) => void sent.push({ sql, params }))
  const context = yield* Effect.mapError(
    Layer.build(Layer.provide(layerPostgres(urls), observer)),
    failed("the stores of the plane")
  )
  return { sent, projects: yield* Effect.provide(Projects, context) }
})

type Stores = Effect.Success<ReturnType<typeof stores>>

/** The three statements of an archive, made for one project of the crowd. */
const archiveStatements = ({ projects, sent }: Stores, id: string) =>
  Effect.gen(function* () {
    const projectId = ProjectId.make(id)
    const operationId = `operation-${id}`
    const r2Key = `object-${id}`
    sent.length = 0
    const begun = yield* projects.beginArchive({
      projectId,
      operationId,
      leaseMs: 60_000,
      idleMs: weekMs,
      force: false
    })
    if (begun._tag === "Refused") return yield* new BenchFailed({ detail: `${id} is not due` })
    const lease = { projectId, operationId, generation: begun.project.generation }
    yield* projects.startUpload({ lease, r2Key, urlExpiresInMs: 60_000 })
    const committed = { lease, r2Key, r2Checksum: "ab".repeat(32), size: 65_536, machineDeleteAfterMs: 60_000 }
    if (!(yield* projects.commitArchive(committed))) return yield* new BenchFailed({ detail: `${id} is not archived` })
    const statements = sent.map(({ params, sql }) => ({
      sql,
      params: params.map((param) => (typeof param === "string" ? param.replace(id, placeholder) : param))
    }))
    return yield* Schema.decodeUnknownEffect(Task)({ page: plainScan, statements })
  }).pipe(Effect.mapError((error) => (error instanceof BenchFailed ? error : failed("an archive")(error))))

/** All pages that are due, by the plane's query and by a plain scan; nothing is archived. */
const scans = ({ projects }: Stores, bare: PgConnection.PgConnection) => {
  const plane = Effect.gen(function* () {
    let found = 0
    let after: { readonly lastActiveAt: number; readonly projectId: ProjectId } | null = null
    for (;;) {
      const page: Effect.Success<ReturnType<typeof projects.idleCandidates>> = yield* projects.idleCandidates({
        idleMs: weekMs,
        limit: pageSize,
        after
      })
      found += page.length
      after = page.at(-1) ?? null
      if (page.length < pageSize) return found
    }
  })
  const plain = Effect.gen(function* () {
    let found = 0
    let after: ReadonlyArray<unknown> = ["-infinity", ""]
    for (;;) {
      const { rows } = yield* bare.query(plainScan, after)
      found += rows.length
      const last = rows.at(-1)
      if (last === undefined || rows.length < pageSize) return found
      after = [last["day"], last["project_id"]]
    }
  })
  const timed = <E>(walk: Effect.Effect<number, E>, due: number) =>
    Effect.gen(function* () {
      const begun = performance.now()
      const found = yield* walk
      if (found !== due) return yield* new BenchFailed({ detail: `${found} of ${due} due projects were found` })
      return { values: { ms: performance.now() - begun }, generatorCpu: null }
    }).pipe(Effect.mapError((error) => (error instanceof BenchFailed ? error : failed("a scan")(error))))
  return { plane: (due: number) => timed(plane, due), plain: (due: number) => timed(plain, due) }
}

/** So many that are active now are due from now on. */
const makeDue = ({ query }: PlaneDatabase, due: number) =>
  Effect.andThen(
    query(
      `WITH due AS (
         SELECT project_id FROM valet.projects WHERE state = 'active' AND NOT pinned AND last_active_at > now() - interval '7 days'
         LIMIT $1::bigint
       )
       UPDATE valet.projects p SET last_active_at = now() - interval '10 days' FROM due
       WHERE p.project_id = due.project_id`,
      [due]
    ),
    query("VACUUM (ANALYZE) valet.projects")
  )

const Swept = Schema.fromJsonString(Schema.Struct({ tookMs: Schema.Finite, archived: Schema.Int }))
const decodeSwept = Schema.decodeUnknownEffect(Swept)

/** Asks a process for one pass. */
const pass = (port: number, body: string) =>
  Effect.tryPromise((signal) =>
    fetch(`http://127.0.0.1:${port}/`, { method: "POST", body, signal }).then((response) => response.text())
  ).pipe(Effect.flatMap(decodeSwept), Effect.mapError(failed("a sweep")))

const run = ({ quick }: { readonly quick: boolean }) =>
  Effect.gen(function* () {
    const projects = quick ? 100_000 : 1_000_000
    const due = quick ? 2_000 : 10_000
    const rounds = quick ? 1 : 5
    const database = yield* planeDatabase
    yield* fillCrowd(database, { projects, due })
    const store = yield* stores(database)
    const bare = yield* Effect.mapError(
      PgConnection.make({ url: Redacted.make(database.url) }),
      failed("the bench's database")
    )

    const scan = scans(store, bare)
    const walked = yield* alternate("candidates", quick ? 3 : 9, [
      { name: "plain index scan", round: scan.plain(due) },
      { name: "valet", round: scan.plane(due) }
    ])

    const env = { DATABASE_URL: database.url }
    const first = yield* database.query(
      "SELECT project_id FROM valet.projects WHERE last_active_at < now() - interval '7 days' LIMIT 1"
    )
    const task = JSON.stringify(yield* archiveStatements(store, String(first[0]?.["project_id"])))
    const servers = { plain: yield* start("sweep/Bare.ts", env), valet: yield* start("plane/PlaneServer.ts", env) }
    let ready = due - 1
    const sweeping = (port: number, body: string) =>
      Effect.gen(function* () {
        if (ready < due - 1) yield* makeDue(database, due)
        const { archived, tookMs } = yield* pass(port, body)
        if (archived < due - 1) return yield* new BenchFailed({ detail: `${archived} of ${due} were archived` })
        ready = 0
        return { values: { perSecond: archived / (tookMs / 1_000) }, generatorCpu: null }
      })
    const swept = yield* alternate("bookkeeping", rounds, [
      { name: "the same statements", round: sweeping(servers.plain.port, task) },
      { name: "valet", round: sweeping(servers.valet.control, "") }
    ])

    const generator = yield* Load.make
    const latent = yield* start("plane/PlaneServer.ts", { ...env, OUTSIDE_LATENCY: "real" })
    // Pinned, so that none of them is archived.
    const asked = Array.from({ length: 5_000 }, (_, at) => projects - 1 - at * 2)
    yield* database.query("UPDATE valet.projects SET pinned = true WHERE project_id = ANY($1::text[])", [
      asked.map(crowdId)
    ])
    const load = {
      mode: "http",
      port: latent.port,
      connections: 64,
      requests: asked.map((project) => requestFor(project, false))
    } as const
    const times = quick ? { warmupMs: 200, measureMs: 1_500 } : { warmupMs: 500, measureMs: 5_000 }
    const reached = yield* generator.run({ ...load, warmupMs: 1_000, measureMs: 2_000 })
    const open = generator
      .run({ ...load, ...times, connections: 512, perSecond: Math.max(1, Math.floor(reached.perSecond / 2)) })
      .pipe(Effect.map(({ generatorCpu, p50Ms, p99Ms }) => ({ values: { p50Ms, p99Ms }, generatorCpu })))
    const during = (port: number) =>
      Effect.gen(function* () {
        yield* makeDue(database, due)
        const running = yield* Effect.forkChild(pass(port, ""))
        const found = yield* open
        yield* Fiber.interrupt(running)
        return found
      })
    const felt = yield* alternate("requests meanwhile", rounds, [
      { name: "without a sweep", round: open },
      { name: "during a sweep", round: during(latent.control) }
    ])
    return [
      figure({
        name: `candidates: all ${due} due of ${projects}`,
        unit: "ms",
        series: walked.of("valet", "ms"),
        base: { name: "plain index scan", series: walked.of("plain index scan", "ms") },
        goal: { atMost: 1.5 }
      }),
      figure({
        name: "bookkeeping, all else answering at once",
        unit: "projects/s",
        series: swept.of("valet", "perSecond"),
        base: { name: "the same statements", series: swept.of("the same statements", "perSecond") },
        // The time of one is to be at most 1.5 times the base's.
        goal: { atLeast: 1 / 1.5 }
      }),
      figure({
        name: "p99 of requests during a sweep, at half of what the router does",
        unit: "ms",
        series: felt.of("during a sweep", "p99Ms"),
        base: { name: "without a sweep", series: felt.of("without a sweep", "p99Ms") },
        goal: { atMost: 1.5 },
        note: "Fly 150 ms, machines 5 ms, object store 50 ms"
      })
    ]
  })

export const sweep: Bench = {
  name: "sweep",
  summary: "finding and archiving 10,000 due projects of a million, and what requests feel of it",
  run
}
