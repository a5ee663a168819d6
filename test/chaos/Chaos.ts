/**
 * A `valet dev` of its own, its users, and what goes wrong meanwhile. Then faults stop, and everything has to come to
 * rest: every acknowledged write is read back through the edge, every idle project goes dormant, and local Fly and object
 * storage hold exactly what the ledgers say. Last, everything is woken and read once more, from the archives.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { startDev } from "../../src/demo/DevProcess.ts"
import type { Calamity, Scheduled } from "./Calamities.ts"
import { kinds, schedule } from "./Calamities.ts"
import { overSocket } from "./Documents.ts"
import { inject } from "./Inject.ts"
import { environment, flags } from "./Plan.ts"
import * as Rest from "./Rest.ts"
import * as Site from "./Site.ts"
import * as Tally from "./Tally.ts"
import type { Project } from "./Users.ts"
import * as Users from "./Users.ts"
import * as Witness from "./Witness.ts"

export interface ChaosOptions {
  /** Runs `valet dev`, without flags. */
  readonly dev: ReadonlyArray<string>
  readonly dataDir: string
  readonly seed: number
  /** How long faults happen. */
  readonly forMs: number
  readonly projects: number
  /** Between two faults, on average. */
  readonly gapMs: number
  /** How long everything may take to come to rest. */
  readonly restWithinMs: number
  readonly say: (line: string) => Effect.Effect<void>
}

export interface ChaosResult {
  readonly ok: boolean
  readonly acknowledged_writes: number
  readonly lost_writes: number
  /** Of control planes, PostgreSQL and machines. */
  readonly kills: number
  readonly wakes: number
  readonly archives: number
  readonly orphans: number
  readonly stuck: number
  readonly unexpected_5xx: number
  /** Values of other projects, and values that nobody wrote. */
  readonly foreign_reads: number
  readonly wrong_answers: number
  readonly seed: number
  readonly minutes: number
  readonly projects: number
  readonly creates: number
  readonly deletes: number
  readonly reads: number
  readonly faults: Readonly<Record<string, number>>
  /** Faults that found nothing to hit. */
  readonly missed: number
  /** What clients were refused meanwhile, by status and code. */
  readonly meant_refusals: Readonly<Record<string, number>>
  readonly events: Readonly<Record<string, number>>
  /** From the end of the faults until everything was at rest. */
  readonly rest_ms: number
  readonly problems: ReadonlyArray<string>
}

const killing = new Set<Calamity["kind"]>(["plane_killed", "postgres_killed", "machine_killed"])

const describe = (calamity: Calamity): string =>
  Object.entries(calamity)
    .map(([name, value]) => {
      if (name === "kind") return String(value)
      return `${name}=${typeof value === "number" ? Number(value.toFixed(2)) : JSON.stringify(value)}`
    })
    .join(" ")

export const chaos = Effect.fn("chaos")(function* (options: ChaosOptions) {
  const { say } = options
  const began = yield* Clock.currentTimeMillis
  const since = Effect.map(
    Clock.currentTimeMillis,
    (now) => `${String(Math.round((now - began) / 1_000)).padStart(4)} s`
  )
  const tell = (line: string) => Effect.flatMap(since, (at) => say(`${at}  ${line}`))

  const dev = yield* startDev([...options.dev, ...flags(options.dataDir)], environment)
  const site = yield* Site.make(dev, options.dataDir)
  const witness = Witness.make()
  const tally = Tally.make()
  const over = yield* Deferred.make<void>()
  const users = Users.make({ dev, witness, tally, over })
  const happened = new Map<string, number>(kinds.map((kind) => [kind, 0]))
  let missed = 0
  yield* tell(`up at ${dev.edge}`)

  const people = yield* Effect.forEach(
    [
      ...Array.from({ length: options.projects }, (_, at) => users.resident(at, options.seed)),
      users.guest("guest", options.seed),
      users.guest("other", options.seed)
    ],
    (one) => Effect.forkScoped(one)
  )

  const happen = ({ atMs, calamity }: Scheduled) =>
    Effect.gen(function* () {
      yield* Effect.sleep(atMs)
      yield* tell(describe(calamity))
      yield* inject(site, calamity).pipe(
        Effect.onExit((exit) =>
          // One that lasts is cut off at the end.
          Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)
            ? Effect.sync(() => happened.set(calamity.kind, (happened.get(calamity.kind) ?? 0) + 1))
            : Effect.void
        ),
        Effect.catch((error) => {
          missed += 1
          return tell(`${calamity.kind} did not happen: ${error.message}`)
        })
      )
    })
  const calamities = yield* schedule(options.seed, options.forMs, options.gapMs)
  const progress = Effect.gen(function* () {
    const { acknowledged, reads } = witness.counts()
    const faults = [...happened.values()].reduce((sum, count) => sum + count, 0)
    const bad = witness.findings().length + tally.unexpected().length + tally.wrong().length + tally.hung().length
    yield* tell(
      `${users.projects.length} projects, ${acknowledged} writes acknowledged, ${reads} read, ${faults} faults, ${bad} bad`
    )
  })
  const reporting = yield* progress.pipe(Effect.schedule(Schedule.spaced("10 seconds")), Effect.forkScoped)

  yield* Effect.timeoutOption(
    Effect.forEach(calamities, happen, { concurrency: "unbounded", discard: true }).pipe(
      // All that is left of them ends here.
      Effect.andThen(Effect.never)
    ),
    options.forMs
  )
  yield* site.tellFly("DELETE", "/_local/faults").pipe(Effect.retry(Schedule.spaced("500 millis")))
  const calm = yield* Clock.currentTimeMillis
  const left = Effect.map(Clock.currentTimeMillis, (now) => Math.max(1_000, calm + options.restWithinMs - now))
  yield* tell("faults have ended; everything has to come to rest")
  yield* Deferred.succeed(over, undefined)
  const stuck: Array<string> = []
  const gone = yield* Effect.timeoutOption(Fiber.joinAll(people), yield* left)
  if (gone._tag === "None") stuck.push("users still wait for answers")

  yield* Effect.forEach(
    users.projects.filter(({ deletion }) => deletion === "asked"),
    users.remove,
    { concurrency: 4, discard: true }
  ).pipe(Effect.timeoutOption(yield* left))

  const living = () => users.projects.filter(({ deletion }) => deletion === "none")
  /** One connection after the other until each document was read once. */
  const readAll = (project: Project) =>
    Effect.gen(function* () {
      const unread = new Set(witness.keys(project.id))
      const once = Effect.gen(function* () {
        const documents = yield* overSocket(dev, project.id).pipe(
          Effect.tapError((outcome) => Effect.sync(() => tally.saw(`read back ${project.id}`, outcome)))
        )
        for (const key of unread) if (yield* users.read(project, documents, key)) unread.delete(key)
        if (unread.size > 0) return yield* Effect.fail("again" as const)
      }).pipe(Effect.scoped)
      yield* once.pipe(Effect.retry(Schedule.spaced("500 millis")))
    })
  const readBack = (within: number) =>
    Effect.forEach(
      living(),
      (project) =>
        Effect.timeoutOption(readAll(project), within).pipe(
          Effect.map((done) => (done._tag === "None" ? [`project ${project.id} does not answer`] : []))
        ),
      { concurrency: 5 }
    ).pipe(Effect.map((all) => all.flat()))
  const silent = yield* readBack(yield* left)
  yield* tell(`read back: ${living().length - silent.length} of ${living().length} projects answered`)

  const look = Rest.snapshot(site).pipe(Effect.retry({ times: 5, schedule: Schedule.spaced("500 millis") }))
  let seen = yield* look
  let unrest = Rest.unrestOf(seen)
  while (unrest.stuck.length + unrest.orphans.length > 0 && (yield* left) > 1_000) {
    yield* Effect.sleep("1 second")
    seen = yield* look
    unrest = Rest.unrestOf(seen)
  }
  if (unrest.stuck.length + unrest.orphans.length > 0) yield* Effect.forEach(yield* site.loops, tell, { discard: true })
  const restMs = (yield* Clock.currentTimeMillis) - calm
  yield* tell(`at rest after ${restMs} ms: ${unrest.stuck.length} stuck, ${unrest.orphans.length} orphans`)
  const broken = yield* Rest.damaged(site, seen)
  tally.atRest()
  const silentAgain = yield* readBack(options.restWithinMs)
  yield* Effect.forEach(users.projects, users.staysAway, { concurrency: 4, discard: true })
  yield* Fiber.interrupt(reporting)
  yield* tell(`woken and read once more: ${living().length - silentAgain.length} of ${living().length} answered`)

  const counted = yield* site.query("SELECT kind, count(*)::int AS n FROM valet.events GROUP BY kind ORDER BY kind")
  const events = Object.fromEntries(counted.map((row) => [String(row["kind"]), Number(row["n"])]))
  stuck.push(...silent, ...silentAgain, ...tally.hung(), ...unrest.stuck)
  stuck.push(...users.projects.filter(({ deletion }) => deletion === "asked").map(({ id }) => `${id} is not deleted`))
  const orphans = [...unrest.orphans, ...broken]
  const findings = witness.findings()
  const lost = findings.filter(({ kind }) => kind === "lost")
  const problems = [
    ...findings.map(({ detail, key, kind, project }) => `${kind}: ${project} ${key}: ${detail}`),
    ...stuck.map((what) => `stuck: ${what}`),
    ...orphans.map((what) => `orphan: ${what}`),
    ...tally.unexpected().map((what) => `unexpected 5xx: ${what}`),
    ...tally.wrong().map((what) => `wrong answer: ${what}`)
  ]
  const { acknowledged, reads } = witness.counts()
  const count = (which: (kind: Calamity["kind"]) => boolean) =>
    kinds.filter(which).reduce((sum, kind) => sum + (happened.get(kind) ?? 0), 0)
  const result: ChaosResult = {
    ok: problems.length === 0 && acknowledged > 0,
    acknowledged_writes: acknowledged,
    lost_writes: lost.length,
    kills: count((kind) => killing.has(kind)),
    wakes: events["woken"] ?? 0,
    archives: events["archived"] ?? 0,
    orphans: orphans.length,
    stuck: stuck.length,
    unexpected_5xx: tally.unexpected().length,
    foreign_reads: findings.length - lost.length,
    wrong_answers: tally.wrong().length,
    seed: options.seed,
    minutes: options.forMs / 60_000,
    projects: options.projects,
    creates: users.projects.length,
    deletes: users.projects.filter(({ deletion }) => deletion === "done").length,
    reads,
    faults: Object.fromEntries(happened),
    missed,
    meant_refusals: tally.meant(),
    events,
    rest_ms: restMs,
    problems
  }
  return result
}, Effect.scoped)
