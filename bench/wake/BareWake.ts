/**
 * The least that a wake costs: the same calls in the same order, each a timer, and in the machine the comparison of the
 * archive with its checksum. Fly's budget is kept to where the task says so.
 */
import { performance } from "node:perf_hooks"
import { setTimeout } from "node:timers/promises"
import { book } from "../../src/domain/RequestBudget.ts"
import { bytesOf, sha256 } from "./Archived.ts"
import { type Answered, callsOf, latencyMs, phasesOf, type Task, type Wake } from "./Task.ts"

/** Of Fly, for each action. */
const rate = { intervalMs: 1_000, burst: 3, reserve: 0, maxWaitMs: Number.POSITIVE_INFINITY }

/** Milliseconds until the app's next turn for an action. */
const budgetOf = () => {
  const arrivals = new Map<string, number>()
  return (action: string): number => {
    const now = performance.now()
    const booked = book(rate, arrivals.get(action) ?? now, now)
    if (booked === null) return 0
    arrivals.set(action, booked.arrival)
    return booked.waitMs
  }
}

const restored = (archive: Uint8Array, checksum: string): void => {
  if (sha256(archive) !== checksum) throw new Error("the archive is not what it should be")
  JSON.parse(new TextDecoder().decode(archive))
}

export const bareWakes = async (task: Task): Promise<ReadonlyArray<Wake>> => {
  const calls = callsOf(task)
  const turn = budgetOf()
  const archives = Array.from({ length: task.projects }, (_, at) => bytesOf(`uid-${at}`))
  const waiting = archives.map((archive) => ({ archive, checksum: sha256(archive) }))
  const wakes: Array<Wake> = []

  const wake = async ({ archive, checksum }: (typeof waiting)[number]) => {
    const begun = performance.now()
    const answered: Array<Answered> = []
    let starts = begun
    for (const [at, { operation, to }] of calls.entries()) {
      const next = calls[at + 1]?.operation
      await setTimeout(latencyMs[to])
      const arrived = performance.now()
      if (operation === "configure") restored(archive, checksum)
      if (operation === "createMachine") starts = arrived + task.startMs
      // Each machine has a budget of its own for waits.
      if (operation === "book" && task.budget && next !== "waitMachine") await setTimeout(turn(next ?? ""))
      if (operation === "waitMachine" && next !== "waitMachine" && starts > arrived) await setTimeout(starts - arrived)
      answered.push({ operation, arrived, answered: performance.now() })
    }
    wakes.push(phasesOf(begun, answered, performance.now()))
  }
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await wake(next)
  }
  await Promise.all(Array.from({ length: task.atOnce }, lane))
  return wakes
}
