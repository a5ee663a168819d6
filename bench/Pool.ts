/**
 * `pool`: how many machines two instances claim from the pool in a second, beside PostgreSQL's own client with the same
 * statement; and what a burst of creates larger than the pool waits for, beside what Fly's request budget allows.
 */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { ProjectId } from "../src/domain/ProjectId.ts"
import { Signals } from "../src/programs/background/Signals.ts"
import { Lifecycle } from "../src/programs/lifecycle/Lifecycle.ts"
import { Machines } from "../src/services/db/Machines.ts"
import { layerPostgres } from "../src/services/db/Postgres.ts"
import { Projects } from "../src/services/db/Projects.ts"
import { StatementObserver } from "../src/services/db/StatementObserver.ts"
import { type Bench, BenchFailed, type Figure, failed } from "./harness/Bench.ts"
import { onPath } from "./harness/Machine.ts"
import { run as runCommand } from "./harness/Pinned.ts"
import { alternate, figure } from "./harness/Rounds.ts"
import { planeDatabase, type PlaneDatabase } from "./plane/Database.ts"
import { start } from "./plane/Processes.ts"
import { layerBurst } from "./pool/Burst.ts"
import { claimOf, image, pgbenchScript, region } from "./pool/Claim.ts"

/** Of two instances, eight connections each. */
const clients = 16

/** As many dormant projects as ready machines. `id`: SQL of the n-th project's id. */
const prepare = ({ query }: PlaneDatabase, id: string, count: number) =>
  Effect.gen(function* () {
    yield* query("TRUNCATE valet.projects, valet.machines, valet.events, valet.archives")
    yield* query(
      `INSERT INTO valet.projects (project_id, uid, state, operation, generation, region, deploy_key_sealed,
         deploy_key_id, created_at, last_active_at)
       SELECT ${id}, 'uid-' || n, 'dormant', 'none', 1, '${region}', repeat('s', 96), 'key', now(), now()
       FROM generate_series(0, ${count - 1}) AS n`
    )
    yield* query(
      `INSERT INTO valet.machines (name, generation, region, image, volume_size_gb, machine_id, volume_id, key_id, status,
         created_at, updated_at)
       SELECT 'vltpool' || n, 0, '${region}', '${image}', 1, 'm' || n, 'v' || n, 'key', 'ready',
         now() + n * interval '1 microsecond', now() FROM generate_series(0, ${count - 1}) AS n`
    )
    yield* query("VACUUM (ANALYZE) valet.projects, valet.machines")
  })

/** Each project has a machine, and each machine one project. */
const assertClaimed = ({ query }: PlaneDatabase, count: number) =>
  Effect.gen(function* () {
    const [row] = yield* query(
      `SELECT count(*)::int AS machines, count(DISTINCT project)::int AS projects FROM valet.machines
       WHERE status = 'assigned'`
    )
    if (row?.["machines"] !== count || row["projects"] !== count) {
      return yield* new BenchFailed({ detail: `${count} claims left ${JSON.stringify(row)}` })
    }
  })

const Names = Schema.fromJsonString(Schema.Array(Schema.String))
const decodeNames = Schema.decodeUnknownEffect(Names)

const askClaimer = (port: number, ids: ReadonlyArray<string>) =>
  Effect.tryPromise(() =>
    fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: JSON.stringify(ids) }).then((it) => it.text())
  ).pipe(Effect.flatMap(decodeNames), Effect.mapError(failed("claims")))

/** Of one claim. */
const claimStatement = (database: PlaneDatabase) =>
  Effect.gen(function* () {
    const sent: Array<{ readonly sql: string; readonly params: ReadonlyArray<unknown> }> = []
    const url = Redacted.make(database.url)
    const observer = Layer.succeed(StatementObserver, (sql, params) => void sent.push({ sql, params }))
    const context = yield* Layer.build(Layer.provide(layerPostgres({ url, directUrl: url }), observer))
    yield* prepare(database, "'pool-sample'", 1)
    sent.length = 0
    yield* Context.get(context, Projects).beginWake(claimOf(ProjectId.make("pool-sample")))
    const [statement] = sent
    return statement ?? (yield* new BenchFailed({ detail: "a claim sent nothing" }))
  }).pipe(Effect.mapError((error) => (error instanceof BenchFailed ? error : failed("a claim")(error))))

const claims = (database: PlaneDatabase, quick: boolean) =>
  Effect.gen(function* () {
    const pgbench = yield* onPath("pgbench")
    const each = quick ? 60 : 400
    const count = clients * each
    const statement = yield* claimStatement(database)
    const env = { DATABASE_URL: database.url }
    const instances = [yield* start("pool/Claimer.ts", env), yield* start("pool/Claimer.ts", env)]
    const fs = yield* FileSystem.FileSystem
    const folder = yield* Effect.mapError(fs.makeTempDirectoryScoped({ prefix: "valet-bench-" }), failed("no folder"))
    const script = join(folder, "claim.sql")
    yield* Effect.promise(() => writeFile(script, pgbenchScript(statement, "pool-sample", "pool")))

    const ofInstances = Effect.gen(function* () {
      yield* prepare(database, "'pool-' || n", count)
      const halves = instances.map(({ port }, instance) => ({
        port,
        ids: Array.from({ length: count / 2 }, (_, at) => `pool-${at * 2 + instance}`)
      }))
      const begun = performance.now()
      const names = yield* Effect.forEach(halves, ({ ids, port }) => askClaimer(port, ids), {
        concurrency: "unbounded"
      })
      const ms = performance.now() - begun
      const distinct = new Set(names.flat())
      if (distinct.size !== count || distinct.has("")) {
        return yield* new BenchFailed({ detail: `${count} claims got ${distinct.size} machines` })
      }
      yield* assertClaimed(database, count)
      return { values: { perSecond: count / (ms / 1_000) }, generatorCpu: null }
    })
    const ofPgbench = (path: string) =>
      Effect.gen(function* () {
        yield* prepare(database, `'pool-' || n % ${clients} || '-' || 1 + n / ${clients}`, count)
        const flags = ["-n", "-M", "prepared", "-c", String(clients), "-t", String(each), "-D", "n=0", "-f", script]
        const { out } = yield* runCommand({ name: "pgbench", core: "server", command: [path, ...flags, database.url] })
        yield* assertClaimed(database, count)
        const perSecond = Number(/^tps = ([\d.]+)/m.exec(out)?.[1])
        return { values: { perSecond }, generatorCpu: null }
      })
    const found = yield* alternate("claims", quick ? 2 : 7, [
      ...(pgbench === undefined ? [] : [{ name: "pgbench", round: ofPgbench(pgbench) }]),
      { name: "valet", round: ofInstances }
    ])
    return figure({
      name: "claims of two instances",
      unit: "/s",
      series: found.of("valet", "perSecond"),
      base: { name: "pgbench", series: found.of("pgbench", "perSecond") },
      goal: { atLeast: 0.5 },
      note: "no machine was claimed twice"
    })
  })

const seconds = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const begun = performance.now()
    yield* effect
    return (performance.now() - begun) / 1_000
  })

/** Until it is active: who was told to come again does so each second. */
const createActive = Effect.gen(function* () {
  const lifecycle = yield* Lifecycle
  const { view } = yield* lifecycle.create({
    projectId: null,
    region: null,
    idleTimeoutSeconds: null,
    client: null,
    idempotencyKey: null,
    deadlineMs: 25_000
  })
  if (view.project.state === "active") return
  yield* Effect.retry(
    lifecycle.wake(view.project.projectId, { deadlineMs: 25_000 }),
    Schedule.spaced("1 second").pipe(Schedule.upTo({ duration: "5 minutes" }))
  )
})

const poolIsFull = (size: number) =>
  Effect.flatMap(Machines, ({ pool }) => pool).pipe(
    Effect.map((rows) => rows.filter(({ status }) => status === "ready").length >= size),
    Effect.repeat({ until: (full) => full, schedule: Schedule.spaced("100 millis") }),
    Effect.timeout("5 minutes")
  )

const inPlane = <A, E, R>(database: PlaneDatabase, poolSize: number, effect: Effect.Effect<A, E, R>) =>
  Effect.andThen(
    database.query(
      "TRUNCATE valet.projects, valet.machines, valet.events, valet.archives, valet.fly_budget, valet.identity"
    ),
    Effect.scoped(Effect.provide(effect, layerBurst(database.url, poolSize)))
  ).pipe(Effect.mapError((error) => (error instanceof BenchFailed ? error : failed("a burst")(error))))

const burst = (database: PlaneDatabase, quick: boolean) =>
  Effect.gen(function* () {
    const size = quick ? 3 : 10
    const creates = quick ? 9 : 100
    const alone = yield* inPlane(database, 0, seconds(createActive))
    const took = yield* inPlane(
      database,
      size,
      Effect.gen(function* () {
        yield* poolIsFull(size)
        const all = yield* seconds(
          Effect.forEach(Array.from({ length: creates }), () => createActive, {
            concurrency: "unbounded",
            discard: true
          })
        )
        yield* poolIsFull(size)
        yield* database.query("UPDATE valet.machines SET status = 'discarded' WHERE status = 'ready'")
        // The budget of what came before is to be full again.
        yield* Effect.sleep("4 seconds")
        yield* Effect.flatMap(Signals, (signals) => signals.poke("pool"))
        return { all, refill: yield* seconds(poolIsFull(size)) }
      })
    )
    /** What Fly's budget allows: so many at once, then one a second. */
    const beside = (name: string, value: number, machines: number, atOnce: number): Figure =>
      figure({
        name,
        unit: "s",
        series: [value],
        base: { name: `${machines} - ${atOnce} s and one provisioning`, series: [machines - atOnce + alone] },
        goal: { atMost: 1.1 }
      })
    return [
      beside(`burst of ${creates} creates on a pool of ${size}`, took.all, creates - size, 3),
      // Of the three, two are kept for wakes.
      beside(`refill of a pool of ${size}`, took.refill, size, 1)
    ]
  })

export const pool: Bench = {
  name: "pool",
  summary: "claims of two instances, a burst larger than the pool, its refill",
  run: ({ quick }) =>
    Effect.gen(function* () {
      const database = yield* planeDatabase
      const claimed = yield* claims(database, quick)
      return [claimed, ...(yield* burst(database, quick))]
    })
}
