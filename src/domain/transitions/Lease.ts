/** The operation lease: it spares work and grants nothing; every commit compares operation id and generation. */
import { holds, type Lease, type Project } from "../Project.ts"
import type { ProjectRows, Written } from "./Rows.ts"

/** The per-project wake lock: how long it is taken for, and how often its holder renews it. */
export const wakeLock = { leaseMs: 10_000, renewEveryMs: 3_000 } as const

/** Also after it has expired, as long as nobody took the operation over. */
export const renew = (project: Project, lease: Lease, leaseMs: number, now: number): Project | null =>
  holds(project, lease) ? { ...project, leaseUntil: now + leaseMs } : null

/**
 * A machine has seen a newer generation than ours, and our compare-and-set still succeeds: the operation goes on above
 * it, and the rows that it made or claimed come along, because their commits compare the generation too.
 */
export const raiseGeneration = (
  { archives, machines, project }: ProjectRows,
  lease: Lease,
  newest: number
): Written | null => {
  if (!holds(project, lease)) return null
  const generation = Math.max(project.generation, newest + 1)
  const mine = <Row extends { readonly generation: number; readonly status: string }>(row: Row) =>
    row.generation === project.generation && ["provisioning", "assigned", "uploading"].includes(row.status)
  const raised = generation > project.generation
  return {
    project: { ...project, generation },
    machines: raised ? machines.filter(mine).map((row) => ({ ...row, generation })) : [],
    archives: raised ? archives.filter(mine).map((row) => ({ ...row, generation })) : [],
    events: []
  }
}
