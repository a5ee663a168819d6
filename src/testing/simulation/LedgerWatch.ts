/** The machine ledger held against what Fly has, at the moment at which a row changes. */
import type { MachineRow } from "../../domain/Machine.ts"
import type { FlyState } from "../../local/fly/model/FlyState.ts"
import type { World } from "./World.ts"

/** A machine that was up for so long is no longer taken for one that was seen while it came up or went down. */
const surelyHealthyMs = 3 * 60_000

export const make = ({ config, database, journal, time }: World) => {
  const { tables } = database
  const now = () => time.clock.currentTimeMillisUnsafe()
  const healthySince = new Map<string, number>()
  let state: FlyState | null = null

  const seen = (next: FlyState): void => {
    const before = state
    state = next
    if (before?.machines === next.machines && before.unreachableHosts === next.unreachableHosts) return
    for (const id of healthySince.keys()) if (next.machines[id] === undefined) healthySince.delete(id)
    for (const { host, id, state: its } of Object.values(next.machines)) {
      if (its !== "started" || next.unreachableHosts.includes(host)) healthySince.delete(id)
      else if (!healthySince.has(id)) healthySince.set(id, now())
    }
  }

  /** Whoever takes a row off the ledger has made sure that nothing is left of it. */
  const leaves = (row: MachineRow): void => {
    const machine = Object.values(state?.machines ?? {}).find((it) => it.name === row.name && it.state !== "destroyed")
    const volume = Object.values(state?.volumes ?? {}).find((it) => it.name === row.name && it.deletedAt === null)
    const left = machine?.id ?? volume?.id
    if (left !== undefined)
      journal.violate("I7", `${row.name} is gone from the ledger, and Fly has ${left}`, row.project)
  }

  /** A pool machine that is well is dropped for being too many or of another image only, whatever a listing says. */
  const dropped = (row: MachineRow): void => {
    const since = row.machineId === null ? undefined : healthySince.get(row.machineId)
    if (since === undefined || now() - since < surelyHealthyMs || row.image !== config.fly.image) return
    const pool = [...tables.machines.values()].filter(
      ({ project, region, status }) =>
        project === null && region === row.region && (status === "ready" || status === "provisioning")
    )
    if (pool.length > config.pool.size) return
    journal.violate("I11", `${row.name} is dropped from the pool, and its machine is well: ${row.lastError}`)
  }

  const changed = (before: MachineRow, after: MachineRow): void => {
    if (after.status === "gone" && before.status !== "gone") leaves(after)
    if (after.status === "discarded" && before.status === "ready") dropped({ ...before, lastError: after.lastError })
  }

  return { seen, changed }
}
