import * as Result from "effect/Result"
import type { Draft } from "./Draft.ts"
import type { App, FlyState, Lease, Machine, Volume } from "./FlyState.ts"
import type { Refusal } from "./Refusal.ts"
import { refusal } from "./Refusal.ts"

export const findApp = (draft: Draft, name: string): Result.Result<App, Refusal> => {
  const app = draft.state.apps[name]
  return app === undefined ? Result.fail(refusal(404, "app not found")) : Result.succeed(app)
}

export const findMachine = (draft: Draft, app: string, id: string): Result.Result<Machine, Refusal> => {
  const machine = draft.state.machines[id]
  return machine === undefined || machine.app !== app
    ? Result.fail(refusal(404, "machine not found"))
    : Result.succeed(machine)
}

export const findVolume = (draft: Draft, app: string, id: string): Result.Result<Volume, Refusal> => {
  const volume = draft.state.volumes[id]
  return volume === undefined || volume.app !== app
    ? Result.fail(refusal(404, "volume not found"))
    : Result.succeed(volume)
}

export const leaseOf = (machine: Machine, now: number): Lease | null =>
  machine.lease !== null && machine.lease.expiresAt > now ? machine.lease : null

export const leaseHeld = (machine: Machine, lease: Lease): Refusal =>
  refusal(
    409,
    `machine ID ${machine.id} lease currently held by ${lease.owner}, expires at ${new Date(lease.expiresAt).toISOString()}`,
    { shape: "lease" }
  )

export const unreachable = (state: FlyState, host: string): boolean => state.unreachableHosts.includes(host)

/** The machine, where its lease and its host allow that somebody changes it. */
export const findForChange = (
  draft: Draft,
  app: string,
  id: string,
  nonce: string | undefined
): Result.Result<Machine, Refusal> =>
  Result.flatMap(findMachine(draft, app, id), (machine) => {
    const lease = leaseOf(machine, draft.now)
    if (lease !== null && lease.nonce !== nonce) return Result.fail(leaseHeld(machine, lease))
    return Result.succeed(machine)
  })

export const hostUnreachable = refusal(503, "unavailable: the machine's host is unreachable")
