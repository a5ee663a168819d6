/** Which project serves which host name, as all `valet.json` files say. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { ProjectId } from "../../domain/ProjectId.ts"

/** Unknown names cost one scan in this time, however many ask for them. */
const rescanMs = 5_000

export interface Hosts {
  /** Differs whenever the file may have changed. */
  readonly version: string
  readonly hosts: ReadonlyArray<string>
}

/** Conflicts that were told; beyond it they are told again. */
const toldLimit = 1_000

export const make = Effect.fnUntraced(function* (
  all: Effect.Effect<ReadonlyArray<ProjectId>>,
  /** `known` is returned where its version still holds. */
  read: (id: ProjectId, known: Hosts | undefined) => Effect.Effect<Hosts>
) {
  const turn = yield* Semaphore.make(1)
  let byProject: ReadonlyMap<ProjectId, Hosts> = new Map()
  let byHost: ReadonlyMap<string, ProjectId> = new Map()
  let scannedAt: number | undefined
  const told = new Set<string>()

  /** The first by name has a host that several claim. */
  const settle = Effect.fnUntraced(function* (projects: ReadonlyMap<ProjectId, Hosts>) {
    const next = new Map<string, ProjectId>()
    const ids = [...projects.keys()].toSorted((a, b) => (a < b ? -1 : 1))
    for (const id of ids) {
      for (const host of new Set(projects.get(id)?.hosts)) {
        const holder = next.get(host)
        if (holder === undefined) next.set(host, id)
        else if (!told.has(`${host} ${holder} ${id}`)) {
          if (told.size >= toldLimit) told.clear()
          told.add(`${host} ${holder} ${id}`)
          yield* Effect.logWarning(`${host} is claimed by ${holder} and ${id}: ${holder} serves it`)
        }
      }
    }
    byProject = projects
    byHost = next
  })

  const scan = Effect.gen(function* () {
    const ids = yield* all
    const entries = yield* Effect.forEach(
      ids,
      (id) => Effect.map(read(id, byProject.get(id)), (hosts) => [id, hosts] as const),
      { concurrency: 16 }
    )
    yield* settle(new Map(entries))
  })

  const isDue = Effect.map(
    Clock.currentTimeMillis,
    (now) => scannedAt === undefined || now - scannedAt >= rescanMs || now < scannedAt
  )
  // Whoever waits for a scan that is under way finds it done.
  const refresh = Effect.gen(function* () {
    if (!(yield* isDue)) return
    yield* scan
    scannedAt = yield* Clock.currentTimeMillis
  }).pipe(turn.withPermits(1))

  return {
    of: (host: string) =>
      Effect.gen(function* () {
        const known = byHost.get(host)
        if (known !== undefined) return known
        if (yield* isDue) yield* refresh
        return byHost.get(host)
      }),
    /** What was just read of one project. */
    note: (id: ProjectId, hosts: Hosts) =>
      Effect.suspend(() =>
        // Before the first scan there is nothing to keep up to date.
        scannedAt === undefined || byProject.get(id)?.version === hosts.version
          ? Effect.void
          : settle(new Map(byProject).set(id, hosts))
      ).pipe(turn.withPermits(1))
  }
})
