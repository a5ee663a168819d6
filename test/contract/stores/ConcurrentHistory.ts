/**
 * Random rounds: what a few clients do at the same time. A round is drawn from a seed and from the rows before it, so
 * that what is asked at once matters to each other: begins, commits, aborts and takeovers of one project's operation,
 * claims of one pool, and the passes over ledgers that meet them. Each client's steps follow one another.
 */
import type { Project } from "../../../src/domain/Project.ts"
import type { Dice } from "./histories.ts"
import type { Step, Which } from "./HistorySteps.ts"
import type { World } from "./HistoryRunner.ts"

export interface Round {
  /** Alone, its step may consist of several calls. */
  readonly clients: ReadonlyArray<ReadonlyArray<Step>>
  /** Projects whose rows are locked until every client waits or is done: all clients meet. */
  readonly gated: ReadonlyArray<number>
}

type Program = ReadonlyArray<Step>
type Choices = ReadonlyArray<readonly [weight: number, program: () => Program]>

const choose = (d: Dice, choices: Choices): Program => {
  let left = d.below(choices.reduce((sum, [weight]) => sum + weight, 0))
  return choices.find(([weight]) => (left -= weight) < 0)?.[1]() ?? []
}

const lease = (d: Dice): Which => (d.chance(0.9) ? "last" : "older")

const create = (d: Dice, project: number): Step => ({
  op: "create",
  project,
  claims: d.chance(0.7),
  client: d.pick(null, 0, 0, 1),
  key: d.chance(0.5) ? d.below(2) : null
})

const provisioned = (d: Dice, project: number): Program => [
  { op: "insertFor", project, lease: "last", recorded: false },
  { op: "recordVolume", machine: 0, again: true },
  ...(d.chance(0.8) ? [{ op: "recordMachine", machine: 0, again: true } as const] : [])
]

const commit = (d: Dice, project: number): Step => ({
  op: "commitActive",
  project,
  lease: lease(d),
  machine: d.chance(0.9) ? "newest" : d.machine()
})

/** Whatever the project is. */
const always = (d: Dice, project: number): Choices => [
  [2, () => [{ op: "beginDelete", project, force: d.chance(0.5) }]],
  [1, () => [{ op: "updateSettings", project, pinned: d.chance(0.2), thresholdMinutes: d.pick(null, 15, 180) }]],
  [1, () => [{ op: "touch", project }]],
  [1, () => [{ op: "record", project }]],
  [2, () => [{ op: "raiseGeneration", project, lease: lease(d), by: d.below(4) - 1 }]],
  [1, () => [{ op: "renew", project, lease: lease(d), minutes: d.pick(1, 2, 5) }]],
  [1, () => [create(d, project)]],
  [1, () => [{ op: "observe", project, state: d.pick("active", "suspended", null), moved: d.chance(0.5) }]]
]

const wake = (d: Dice, project: number): Program => {
  const begin: Step = { op: "beginWake", project, claims: d.chance(0.8), force: d.chance(0.7) }
  const failed: Step = { op: "failWake", project, lease: lease(d), minutes: d.pick(null, 1) }
  return choose(d, [
    [3, () => [begin]],
    [3, () => [begin, commit(d, project)]],
    [2, () => [begin, ...provisioned(d, project), commit(d, project)]],
    [1, () => [begin, failed]]
  ])
}

const archive = (d: Dice, project: number): Choices => {
  const upload: Step = { op: "startUpload", project, lease: lease(d), again: d.chance(0.3) }
  const committed: Step = { op: "commitArchive", project, lease: lease(d), minutes: d.below(3) }
  const abort = (by: Which | "takeover"): Step => ({
    op: "abortArchive",
    project,
    lease: by,
    idleMinutes: d.pick(null, 0, 30),
    backoffMinutes: d.pick(null, null, 5),
    error: d.pick(null, "unreachable"),
    minGeneration: d.pick(0, 0, 30)
  })
  return [
    [5, () => [upload]],
    [6, () => [committed]],
    [4, () => [upload, committed]],
    [3, () => [abort(lease(d))]],
    [4, () => [abort("takeover")]],
    [3, () => [{ op: "discardUploads" }]]
  ]
}

const comeUp = (d: Dice, project: number): Choices => [
  [6, () => [commit(d, project)]],
  [3, () => [{ op: "failWake", project, lease: lease(d), minutes: d.pick(null, 1, 5) }]],
  [4, () => [{ op: "claimNext", project, lease: lease(d), machine: d.machine() }]],
  [4, () => [{ op: "claimNext", project, lease: "last", machine: d.machine() }, commit(d, project)]],
  [4, () => provisioned(d, project)],
  [4, () => [...provisioned(d, project), commit(d, project)]],
  [3, () => [{ op: "recordMachine", machine: d.machine(), again: d.chance(0.3) }]],
  [2, () => [{ op: "recordVolume", machine: d.machine(), again: d.chance(0.3) }]],
  [3, () => [{ op: "discardUnnamed" }]],
  [3, () => [{ op: "discardAbandoned", minutes: d.pick(0, 0, 5) }]],
  [3, () => [{ op: "discard", machine: d.machine(), any: d.chance(0.6) }]]
]

const rehost = (d: Dice, project: number): Program => {
  const begin: Step = { op: "beginRehost", project, force: d.chance(0.7) }
  return choose(d, [
    [2, () => [begin]],
    [1, () => [begin, { op: "failRehost", project, lease: "last", lost: d.chance(0.5) }]],
    [1, () => [begin, ...provisioned(d, project), commit(d, project)]]
  ])
}

const byProject = (d: Dice, project: number, row: Project | null): Choices => {
  if (row === null) return [[12, () => [create(d, project), ...(d.chance(0.4) ? [commit(d, project)] : [])]]]
  switch (row.operation) {
    case "archiving":
      return archive(d, project)
    case "creating":
    case "waking":
      return [...comeUp(d, project), [4, () => wake(d, project)], [3, () => [{ op: "expireWake", project }]]]
    case "rehosting":
      return [
        ...comeUp(d, project),
        [4, () => rehost(d, project)],
        [3, () => [{ op: "failRehost", project, lease: lease(d), lost: d.chance(0.4) }]],
        [3, () => [{ op: "clearMachine", project, lease: lease(d) }]]
      ]
    case "deleting":
      return [[6, () => [{ op: "commitDelete", project, lease: lease(d), minutes: d.below(3) }]]]
    case "none":
      if (row.state === "dormant") return [[14, () => wake(d, project)]]
      if (row.state === "deleted") return [[2, () => wake(d, project)]]
      return [
        [
          8,
          () => [
            { op: "beginArchive", project, force: d.chance(0.9) },
            ...(d.chance(0.5) ? choose(d, archive(d, project)) : [])
          ]
        ],
        [6, () => rehost(d, project)],
        [4, () => [{ op: "observe", project, state: d.pick("active", "suspended"), moved: d.chance(0.3) }]],
        [row.dataUnavailable ? 10 : 1, () => [{ op: "recover", project, from: d.pick("archive", "empty") }]]
      ]
  }
}

/** What belongs to no project: the passes over the ledgers, the pool, the budget. */
const beside = (d: Dice): Choices => [
  [4, () => [{ op: "discard", machine: d.machine(), any: d.chance(0.5) }]],
  [2, () => [{ op: "noteFailure", machine: d.machine(), minutes: d.pick(1, 5) }]],
  [4, () => [{ op: "recordGone", machine: d.below(12), what: d.pick("machine", "volume") }]],
  [4, () => [{ op: "markGone", machine: d.below(12) }]],
  [2, () => [{ op: "countAbsent", everySo: d.pick(1, 2, 3) }]],
  [3, () => [{ op: "discardUnnamed" }]],
  [3, () => [{ op: "discardAbandoned", minutes: d.pick(0, 5) }]],
  [2, () => [{ op: "discardUploads" }]],
  [1, () => [{ op: "purge", minutes: d.pick(0, 60) }]],
  [2, () => [{ op: "archiveFailure", archive: d.below(8), minutes: d.pick(1, 5) }]],
  [2, () => [{ op: "archiveGone", archive: d.below(8) }]],
  // No whole minutes, which would be met exactly by one order of the statements' clocks and missed by another.
  [4, () => [{ op: "book", bucket: d.below(2), reserve: d.below(3), maxMinutes: d.pick(0.5, 2.5) }]],
  [
    4,
    () => [
      { op: "insertPool", region: "ams" },
      { op: "recordVolume", machine: 0, again: true },
      { op: "recordMachine", machine: 0, again: true },
      { op: "markReady", machine: 0 }
    ]
  ],
  [2, () => [{ op: "markReady", machine: d.machine() }]],
  [2, () => [{ op: "recordMachine", machine: d.machine(), again: d.chance(0.5) }]]
]

/** `lookAtStrays` reads and writes its table in one pass at a time, which a task lock sees to. */
const alone = (d: Dice): Step => {
  if (d.chance(0.45)) return { op: "addReady", region: d.pick("ams", "ams", "ams", "fra") }
  if (d.chance(0.7)) return { op: "advance", minutes: d.pick(1, 2, 3, 15, 60) }
  if (d.chance(0.3)) return { op: "lookAtStrays", machine: d.machine(), minutes: d.pick(5, 60) }
  return { op: "queries", idleMinutes: d.pick(15, 60), marginMinutes: d.pick(0, 10) }
}

export const firstRound: Round = {
  clients: [[{ op: "create", project: 0, claims: false, client: null, key: null }]],
  gated: []
}

export const round = (d: Dice, world: World): Round => {
  if (d.chance(0.3)) return { clients: [[alone(d)]], gated: [] }
  const met = d.pick([d.project()], [d.project()], [d.project(), d.project()])
  // Fewer clients with more steps each: the serial orders stay few.
  const clients = Array.from({ length: d.pick(2, 3, 3, 4) }, () => {
    const project = met[d.below(met.length)] ?? 0
    if (d.chance(0.25)) return choose(d, beside(d))
    const row = world.project(project)?.project ?? null
    return choose(d, [...byProject(d, project, row), ...always(d, project)])
  })
  return { clients, gated: d.chance(0.5) ? [...new Set(met)].toSorted() : [] }
}
