/** Makes a calamity happen. What it began ends with it, also when it is interrupted: nothing stays stopped or faulty. */
import { kill } from "node:process"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { isPostmasterOf, postmasterOf } from "../../src/local/postgres/Postmaster.ts"
import { isAlive } from "../../src/process/ProcessMark.ts"
import { hasInEnvironment, signalGroup, signalProcess } from "../../src/process/ProcessInfo.ts"
import type { Calamity } from "./Calamities.ts"
import type { Site } from "./Site.ts"
import { SiteError } from "./Site.ts"

const chosen = <A>(list: ReadonlyArray<A>, pick: number): A | undefined => list[Math.floor(pick * list.length)]

/** What is hit may be between two lives: for a few seconds it is waited for. */
const soon = <A, E, R>(target: Effect.Effect<A, E, R>) =>
  Effect.retry(target, { times: 20, schedule: Schedule.spaced("500 millis") })

/** The pid of a control plane that runs, and is this platform's. */
const plane = (site: Site, pick: number) =>
  Effect.gen(function* () {
    const { control_planes: planes } = yield* site.record
    const { pid = 0 } = chosen(planes, pick) ?? {}
    const ours = yield* hasInEnvironment(pid, `DATABASE_URL=${site.first.database_url}`)
    return ours ? pid : yield* new SiteError({ detail: "no control plane is running" })
  }).pipe(soon)

/** A started machine and its process. */
const machine = (site: Site, pick: number) =>
  Effect.gen(function* () {
    const { machines } = yield* site.fly
    const started = machines.filter(({ state }) => state === "started").toSorted((a, b) => a.id.localeCompare(b.id))
    const one = chosen(started, pick)
    const mark = one === undefined ? null : yield* site.processOf(one.id)
    if (one === undefined || mark === null || !(yield* isAlive(mark))) {
      return yield* new SiteError({ detail: "no machine is started" })
    }
    return { id: one.id, mark }
  }).pipe(soon)

const postgres = (site: Site) =>
  Effect.gen(function* () {
    const data = `${site.dataDir}/postgres/data`
    const server = yield* postmasterOf(data)
    if (server === null || !(yield* isPostmasterOf(data, server.pid))) {
      return yield* new SiteError({ detail: "PostgreSQL is not running" })
    }
    return server.pid
  }).pipe(soon)

const during = <E>(ms: number, begin: Effect.Effect<unknown, E>, end: Effect.Effect<unknown, E>) =>
  Effect.acquireUseRelease(
    begin,
    () => Effect.sleep(ms),
    () => Effect.ignore(end)
  )

export const inject = Effect.fnUntraced(function* (site: Site, calamity: Calamity) {
  switch (calamity.kind) {
    case "plane_killed":
      yield* signalProcess(yield* plane(site, calamity.pick), "SIGKILL")
      return
    case "plane_paused": {
      const pid = yield* plane(site, calamity.pick)
      return yield* during(calamity.ms, signalProcess(pid, "SIGSTOP"), signalProcess(pid, "SIGCONT"))
    }
    case "sessions_terminated":
      yield* site
        .query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < $1::float8`,
          [calamity.share]
        )
        .pipe(soon)
      return
    case "postgres_killed": {
      const pid = yield* postgres(site)
      yield* Effect.sync(() => kill(pid, calamity.signal))
      return
    }
    case "machine_killed": {
      const { mark } = yield* machine(site, calamity.pick)
      yield* signalGroup(mark.pid, "SIGKILL")
      return
    }
    case "machine_paused": {
      const { id, mark } = yield* machine(site, calamity.pick)
      // Fly may have suspended it meanwhile: then it is not ours to continue.
      const resume = Effect.gen(function* () {
        const { machines } = yield* site.fly
        const suspended = machines.some((one) => one.id === id && one.state === "suspended")
        if (!suspended && (yield* isAlive(mark))) yield* signalGroup(mark.pid, "SIGCONT")
      })
      return yield* during(calamity.ms, signalGroup(mark.pid, "SIGSTOP"), resume)
    }
    case "machine_lost": {
      const { id } = yield* machine(site, calamity.pick)
      yield* site.tellFly("POST", `/_local/hosts/${id}/lose`, { loss: "machine" })
      return
    }
    case "fly_faulty":
      return yield* during(
        calamity.ms,
        site.tellFly("POST", "/_local/faults", calamity.rules),
        site.tellFly("DELETE", "/_local/faults")
      )
    case "storage_faulty":
      return yield* during(
        calamity.ms,
        site.tellFaults("PUT", "/s3", calamity.faults),
        site.tellFaults("PUT", "/s3", {})
      )
    case "edge_dropped":
      yield* site.tellFaults("POST", "/edge/drop", { share: calamity.share })
  }
})
