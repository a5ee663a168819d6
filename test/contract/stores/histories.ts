/**
 * Random histories of store operations. A seed gives the same history for ever; `runHistory` runs it on any stores.
 * Steps come in the proportions in which they lead somewhere: lives of projects, told with interruptions, repetitions
 * and strangers.
 */
import type { History, Step, Which } from "./HistorySteps.ts"
import { historyProjects } from "./HistoryRunner.ts"

export type { History, Step } from "./HistorySteps.ts"
export { type Observation, runHistory } from "./HistoryRunner.ts"

/** Numbers in [0, 1) from a 32-bit seed: mulberry32, public domain. */
const numbers = (seed: number) => {
  let state = seed >>> 0
  return (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const dice = (next: () => number) => {
  const below = (limit: number) => Math.floor(next() * limit)
  const chance = (probability: number) => next() < probability
  const pick = <A>(first: A, ...rest: ReadonlyArray<A>): A => [first, ...rest][below(rest.length + 1)] ?? first
  return {
    below,
    chance,
    pick,
    project: () => below(historyProjects),
    machine: () => below(6),
    lease: (): Which => (chance(0.9) ? "last" : "older"),
    region: () => pick("ams", "ams", "ams", "fra")
  }
}
export type Dice = ReturnType<typeof dice>

/** The same throws for the same seed. */
export const seededDice = (seed: number): Dice => dice(numbers(seed))

/** What a project probably is by now: chapters mostly begin where the one before was meant to end. */
type Guess = "absent" | "asleep" | "awake" | "deleted"

interface Chapter {
  readonly weight: number
  readonly from: Guess
  readonly to: Guess
  readonly steps: (d: Dice, project: number) => ReadonlyArray<Step>
}

/** A life's next chapter for one project, several steps at a time. */
const chapters: ReadonlyArray<Chapter> = [
  {
    weight: 5,
    from: "absent",
    to: "awake",
    steps: (d, project) => [
      {
        op: "create",
        project,
        claims: d.chance(0.5),
        client: d.pick(null, 0, 1),
        key: d.chance(0.2) ? d.below(2) : null
      },
      ...comeUp(d, project)
    ]
  },
  {
    weight: 10,
    from: "asleep",
    to: "awake",
    steps: (d, project) => [
      { op: "beginWake", project, claims: d.chance(0.6), force: d.chance(0.4) },
      ...comeUp(d, project)
    ]
  },
  {
    weight: 10,
    from: "awake",
    to: "asleep",
    steps: (d, project) => [{ op: "beginArchive", project, force: d.chance(0.7) }, ...goDown(d, project)]
  },
  {
    weight: 5,
    from: "awake",
    to: "awake",
    steps: (d, project) => [{ op: "beginRehost", project, force: d.chance(0.6) }, ...moveOn(d, project)]
  },
  {
    weight: 3,
    from: "awake",
    to: "asleep",
    steps: (d, project) => [
      { op: "beginRehost", project, force: d.chance(0.8) },
      { op: "failRehost", project, lease: "last", lost: d.chance(0.9) },
      ...(d.chance(0.3) ? moveOn(d, project) : []),
      { op: "recover", project, from: d.pick("archive", "empty") }
    ]
  },
  {
    weight: 3,
    from: "awake",
    to: "awake",
    steps: (d, project) => [
      { op: "observe", project, state: "suspended", moved: d.chance(0.1) },
      { op: "advance", minutes: d.pick(1, 60) },
      { op: "observe", project, state: d.pick("active", "suspended"), moved: d.chance(0.1) }
    ]
  },
  {
    weight: 1,
    from: "awake",
    to: "deleted",
    steps: (d, project) => [
      { op: "beginDelete", project, force: d.chance(0.5) },
      { op: "commitDelete", project, lease: d.lease(), minutes: d.below(3) }
    ]
  },
  {
    weight: 1,
    from: "asleep",
    to: "asleep",
    steps: (d, project) => [{ op: "beginDelete", project, force: d.chance(0.5) }]
  }
]

const comeUp = (d: Dice, project: number): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  if (d.chance(0.2)) steps.push({ op: "raiseGeneration", project, lease: d.lease(), by: d.below(4) - 1 })
  if (d.chance(0.3)) steps.push({ op: "claimNext", project, lease: d.lease(), machine: d.machine() })
  if (d.chance(0.7)) steps.push({ op: "insertFor", project, lease: d.lease(), recorded: d.chance(0.9) })
  if (d.chance(0.2)) steps.push({ op: "advance", minutes: d.pick(1, 2, 3) })
  if (d.chance(0.1)) steps.push({ op: "expireWake", project })
  steps.push(
    d.chance(0.8)
      ? { op: "commitActive", project, lease: d.lease(), machine: d.chance(0.9) ? "newest" : d.machine() }
      : { op: "failWake", project, lease: d.lease(), minutes: d.pick(null, 1, 5) }
  )
  return steps
}

const goDown = (d: Dice, project: number): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  if (d.chance(0.15)) steps.push({ op: "raiseGeneration", project, lease: d.lease(), by: d.below(3) })
  if (d.chance(0.85)) steps.push({ op: "startUpload", project, lease: d.lease(), again: d.chance(0.2) })
  if (d.chance(0.15)) steps.push({ op: "raiseGeneration", project, lease: d.lease(), by: d.below(3) })
  if (d.chance(0.15)) steps.push({ op: "startUpload", project, lease: d.lease(), again: d.chance(0.5) })
  if (d.chance(0.2)) steps.push({ op: "advance", minutes: d.pick(1, 2, 3) })
  steps.push(
    d.chance(0.6)
      ? { op: "commitArchive", project, lease: d.lease(), minutes: d.below(3) }
      : {
          op: "abortArchive",
          project,
          lease: d.pick("takeover", d.lease()),
          idleMinutes: d.pick(null, null, 0, 30),
          backoffMinutes: d.pick(null, null, 5),
          error: d.pick(null, "unreachable"),
          minGeneration: d.pick(0, 0, 30)
        }
  )
  return steps
}

const moveOn = (d: Dice, project: number): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  if (d.chance(0.5)) steps.push({ op: "clearMachine", project, lease: d.lease() })
  if (d.chance(0.4)) steps.push({ op: "insertFor", project, lease: d.lease(), recorded: d.chance(0.9) })
  if (d.chance(0.4)) steps.push({ op: "recordMachine", machine: d.machine(), again: d.chance(0.2) })
  if (d.chance(0.2)) steps.push({ op: "advance", minutes: d.pick(1, 2, 3) })
  steps.push(
    d.chance(0.6)
      ? { op: "commitActive", project, lease: d.lease(), machine: "newest" }
      : { op: "failRehost", project, lease: d.lease(), lost: d.chance(0.4) }
  )
  return steps
}

/** What happens beside them, one step each. */
const interludes: ReadonlyArray<{ readonly weight: number; readonly step: (d: Dice) => Step }> = [
  { weight: 10, step: (d) => ({ op: "advance", minutes: d.pick(0, 1, 2, 5, 15, 60, 180) }) },
  { weight: 10, step: (d) => ({ op: "addReady", region: d.region() }) },
  { weight: 2, step: (d) => ({ op: "insertPool", region: d.region() }) },
  { weight: 2, step: (d) => ({ op: "renew", project: d.project(), lease: d.lease(), minutes: d.pick(1, 2, 5) }) },
  { weight: 2, step: (d) => ({ op: "expireWake", project: d.project() }) },
  { weight: 2, step: (d) => ({ op: "commitActive", project: d.project(), lease: d.lease(), machine: d.machine() }) },
  {
    weight: 3,
    step: (d) => ({
      op: "updateSettings",
      project: d.project(),
      pinned: d.chance(0.2),
      thresholdMinutes: d.pick(null, 15, 180)
    })
  },
  { weight: 3, step: (d) => ({ op: "touch", project: d.project() }) },
  { weight: 1, step: (d) => ({ op: "record", project: d.project() }) },
  { weight: 2, step: (d) => ({ op: "recordVolume", machine: d.machine(), again: d.chance(0.5) }) },
  { weight: 2, step: (d) => ({ op: "recordMachine", machine: d.machine(), again: d.chance(0.5) }) },
  { weight: 2, step: (d) => ({ op: "markReady", machine: d.machine() }) },
  { weight: 4, step: (d) => ({ op: "discard", machine: d.machine(), any: d.chance(0.3) }) },
  { weight: 2, step: (d) => ({ op: "noteFailure", machine: d.machine(), minutes: d.pick(1, 5) }) },
  { weight: 6, step: (d) => ({ op: "recordGone", machine: d.below(12), what: d.pick("machine", "volume") }) },
  { weight: 6, step: (d) => ({ op: "markGone", machine: d.below(12) }) },
  { weight: 3, step: (d) => ({ op: "countAbsent", everySo: d.pick(1, 2, 3) }) },
  { weight: 2, step: () => ({ op: "discardUnnamed" }) },
  { weight: 2, step: (d) => ({ op: "discardAbandoned", minutes: d.pick(0, 5, 60) }) },
  {
    weight: 4,
    step: (d) => ({
      op: "observe",
      project: d.project(),
      state: d.pick("active", "suspended", null),
      moved: d.chance(0.2)
    })
  },
  { weight: 1, step: (d) => ({ op: "purge", minutes: d.pick(0, 60) }) },
  { weight: 2, step: (d) => ({ op: "lookAtStrays", machine: d.machine(), minutes: d.pick(5, 60) }) },
  { weight: 1, step: () => ({ op: "discardUploads" }) },
  { weight: 2, step: (d) => ({ op: "archiveFailure", archive: d.below(8), minutes: d.pick(1, 5) }) },
  { weight: 2, step: (d) => ({ op: "archiveGone", archive: d.below(8) }) },
  { weight: 3, step: (d) => ({ op: "book", bucket: d.below(2), reserve: d.below(3), maxMinutes: d.pick(0, 2) }) },
  { weight: 4, step: (d) => ({ op: "queries", idleMinutes: d.pick(15, 60), marginMinutes: d.pick(0, 10) }) }
]

const weighted = <A extends { readonly weight: number }>(d: Dice, choices: ReadonlyArray<A>): A | undefined => {
  let left = d.below(choices.reduce((sum, { weight }) => sum + weight, 0))
  return choices.find(({ weight }) => (left -= weight) < 0)
}

/** Begins with a project, because times are told from its creation. */
export const history = (seed: number, length = 100): History => {
  const d = seededDice(seed)
  const guesses: Array<Guess> = Array.from({ length: historyProjects }, () => "absent")
  const steps: Array<Step> = [{ op: "create", project: 0, claims: false, client: null, key: null }]
  while (steps.length < length) {
    if (d.chance(0.4)) {
      const interlude = weighted(d, interludes)
      if (interlude !== undefined) steps.push(interlude.step(d))
      continue
    }
    const project = d.project()
    const fitting = chapters.filter(({ from }) => from === guesses[project])
    const chapter = weighted(d, fitting.length > 0 && d.chance(0.85) ? fitting : chapters)
    if (chapter === undefined) continue
    steps.push(...chapter.steps(d, project))
    guesses[project] = chapter.to
  }
  return { seed, steps }
}
