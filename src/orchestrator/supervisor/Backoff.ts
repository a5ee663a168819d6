/** How long a project that crashed waits before it is started again, and for how long its crashes are remembered. */
import type { ProjectId } from "../../domain/ProjectId.ts"

/** So many crashes in a row, and it is `failed`: only every minute a request may try it again. */
export const crashLimit = 5
export const failedMs = 60_000
/** A server that ran for so long works: its earlier crashes are forgotten. */
export const healthyMs = 60_000
/** An operator who looks soon after still sees what went wrong with a server that nobody asks for again. */
export const shownMs = 60_000
/** Crashes of a project that nobody asks for any more are forgotten too. */
export const rememberMs = 600_000

const firstDelayMs = 1_000
const longestDelayMs = 30_000

/** None after the first crash, which may be an accident; then 1 s, 2 s, 4 s, … 30 s. `crashes`: in a row, this one included. */
export const delayMs = (crashes: number): number =>
  crashes <= 1 ? 0 : Math.min(firstDelayMs * 2 ** (crashes - 2), longestDelayMs)

/** Outlives the entry of its project, so that a loop of start, crash and the next request is seen as one. */
export class Crashes {
  readonly #inARow = new Map<ProjectId, { readonly count: number; readonly at: number }>()

  /** Crashes in a row, this one included. */
  add(project: ProjectId, now: number): number {
    for (const [it, { at }] of this.#inARow) if (at <= now - rememberMs) this.#inARow.delete(it)
    const count = (this.#inARow.get(project)?.count ?? 0) + 1
    this.#inARow.set(project, { count, at: now })
    return count
  }

  forget(project: ProjectId): void {
    this.#inARow.delete(project)
  }

  get size(): number {
    return this.#inARow.size
  }
}
