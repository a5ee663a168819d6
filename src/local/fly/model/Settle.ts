/** Lets time pass: everything that became due is applied in the order of its time. */
import type { Draft } from "./Draft.ts"
import { draftOf, putMachine, putVolume } from "./Draft.ts"
import type { FlyState, HostAction, Params } from "./FlyState.ts"
import { takeSnapshot } from "./Snapshots.ts"
import { finish, nextDue } from "./Transitions.ts"

const dayMs = 86_400_000

const without = <A>(record: Readonly<Record<string, A>>, key: string): Readonly<Record<string, A>> => {
  const { [key]: _, ...rest } = record
  return rest
}

/** A machine in no state to live on (its record's time is over) disappears for good. */
const forget = (draft: Draft, machineId: string): void => {
  draft.state = { ...draft.state, machines: without(draft.state.machines, machineId) }
  draft.actions.push({ _tag: "Forget", machineId })
}

export const purgeVolume = (draft: Draft, volumeId: string): void => {
  draft.state = { ...draft.state, volumes: without(draft.state.volumes, volumeId) }
  draft.actions.push({ _tag: "VolumeGone", volumeId })
}

const settleMachines = (draft: Draft): void => {
  for (const machine of Object.values(draft.state.machines)) {
    if (machine.destroyedAt !== null) {
      if (machine.destroyedAt + draft.params.destroyedVisibleMs <= draft.now) forget(draft, machine.id)
    } else if (
      machine.transition?.at != null &&
      machine.transition.at <= draft.now &&
      !draft.state.unreachableHosts.includes(machine.host)
    ) {
      putMachine(draft, finish(draft, machine))
    }
  }
}

const settleVolumes = (draft: Draft): void => {
  for (const volume of Object.values(draft.state.volumes)) {
    if (volume.purgeAt !== null && volume.purgeAt <= draft.now) {
      purgeVolume(draft, volume.id)
      continue
    }
    let next = volume
    if (next.state !== "created" && next.state !== "pending_destroy" && next.readyAt <= draft.now) {
      next = { ...next, state: "created", updatedAt: draft.now }
    }
    if (next.lingering !== null && next.lingering.until <= draft.now) next = { ...next, lingering: null }
    if (next.nextSnapshotAt !== null && next.nextSnapshotAt <= draft.now) {
      if (!draft.state.unreachableHosts.includes(next.host)) takeSnapshot(draft, next)
      next = { ...next, nextSnapshotAt: next.nextSnapshotAt + (draft.params.snapshotEveryMs ?? dayMs) }
    }
    if (next !== volume) putVolume(draft, next)
  }
}

const settleSnapshots = (draft: Draft): void => {
  for (const snapshot of Object.values(draft.state.snapshots)) {
    if (snapshot.createdAt + snapshot.retentionDays * dayMs > draft.now) continue
    draft.state = { ...draft.state, snapshots: without(draft.state.snapshots, snapshot.id) }
    draft.actions.push({ _tag: "SnapshotGone", snapshotId: snapshot.id })
  }
}

export const settle = (
  state: FlyState,
  params: Params,
  now: number
): { readonly state: FlyState; readonly actions: ReadonlyArray<HostAction> } => {
  const actions: Array<HostAction> = []
  let current = state
  for (;;) {
    const due = nextDue(current, params.destroyedVisibleMs)
    if (due === null || due > now) return { state: current, actions }
    const draft = draftOf(current, params, due, actions)
    settleMachines(draft)
    settleVolumes(draft)
    settleSnapshots(draft)
    current = draft.state
  }
}
