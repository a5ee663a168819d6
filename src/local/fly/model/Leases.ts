/** Leases: who holds one is the only one who may change the machine, and the proxy can't start it meanwhile. */
import * as Result from "effect/Result"
import type { Draft, Op } from "./Draft.ts"
import { nonce as newNonce, putMachine } from "./Draft.ts"
import { findForChange, findMachine, leaseOf } from "./Find.ts"
import type { Lease, Machine } from "./FlyState.ts"
import { refuse } from "./Refusal.ts"

const defaultTtlSeconds = 30

export interface LeaseInput {
  readonly ttl?: number
  readonly description?: string
  readonly owner?: string
  readonly nonce?: string
}

export const grantLease = (draft: Draft, machine: Machine, input: LeaseInput): Machine & { readonly lease: Lease } => {
  const held = leaseOf(machine, draft.now)
  const lease: Lease = {
    nonce: held?.nonce ?? newNonce(draft),
    expiresAt: draft.now + (input.ttl ?? defaultTtlSeconds) * 1_000,
    owner: input.owner ?? held?.owner ?? "local@tokens.fly.io",
    description: input.description ?? held?.description ?? "",
    version: machine.instanceId
  }
  const leased = { ...machine, lease }
  putMachine(draft, leased)
  return leased
}

/** With the nonce of the lease that is held: prolongs it. */
export const acquireLease =
  (app: string, id: string, input: LeaseInput): Op<Lease> =>
  (draft) =>
    Result.map(findForChange(draft, app, id, input.nonce), (machine) => grantLease(draft, machine, input).lease)

export const getLease =
  (app: string, id: string): Op<Lease> =>
  (draft) =>
    Result.flatMap(findMachine(draft, app, id), (machine) => {
      const lease = leaseOf(machine, draft.now)
      return lease === null ? refuse(404, "lease not found", { shape: "lease" }) : Result.succeed(lease)
    })

export const releaseLease =
  (app: string, id: string, nonce: string | undefined): Op<void> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      if (leaseOf(machine, draft.now) === null) return refuse(404, "lease not found", { shape: "lease" })
      putMachine(draft, { ...machine, lease: null })
      return Result.succeed(undefined)
    })
