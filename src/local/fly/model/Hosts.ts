/** What happens to machines without anybody calling: processes report, hosts are lost and come back, Fly migrates. */
import * as Result from "effect/Result"
import type { Draft, Op } from "./Draft.ts"
import { draftOf, privateIp, putMachine, putVolume, volumeId } from "./Draft.ts"
import type { FlyState, Machine, Params, Volume } from "./FlyState.ts"
import { hostIn } from "./Machines.ts"
import { precondition, refuse } from "./Refusal.ts"
import { purgeVolume } from "./Settle.ts"
import type { ProcessExit } from "./Transitions.ts"
import { beginBoot, destroyed, exited, finish, releaseVolumes, withEvent } from "./Transitions.ts"

export type Report =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Suspended" }
  | ({ readonly _tag: "Exited" } & ProcessExit)

const apply = (draft: Draft, machine: Machine, report: Report): void => {
  const kind = machine.transition?.kind
  switch (report._tag) {
    case "Ready":
      if (kind === "boot" || kind === "resume") finish(draft, machine)
      return
    case "Suspended":
      if (kind === "suspend") finish(draft, machine)
      return
    case "Exited":
      if (kind === "stop" || kind === "destroy") finish(draft, machine)
      else if (kind === "suspend" || machine.state === "suspended") {
        exited(draft, machine, report, true)
      } else if (kind === undefined || kind === "boot" || kind === "resume") exited(draft, machine, report)
  }
}

/** From the host that runs it. About an earlier process than the current one it means nothing any more. */
export const report =
  (id: string, run: number, what: Report): Op<void> =>
  (draft) => {
    const machine = draft.state.machines[id]
    if (machine !== undefined && machine.run === run && machine.destroyedAt === null) apply(draft, machine, what)
    return Result.succeed(undefined)
  }

/**
 * `unreachable`: nothing answers and nothing is lost. `machine`: the machine is gone for good, its volume is found on
 * another host. `both`: machine and volume are gone for good; snapshots stay.
 */
export type HostLoss = "unreachable" | "machine" | "both"

const remove = (draft: Draft, machine: Machine): void => {
  draft.actions.push(
    { _tag: "Kill", machineId: machine.id, run: machine.run },
    { _tag: "Forget", machineId: machine.id }
  )
  const { [machine.id]: _, ...machines } = draft.state.machines
  draft.state = { ...draft.state, machines }
}

export const loseHost =
  (host: string, loss: HostLoss): Op<void> =>
  (draft) => {
    const machines = Object.values(draft.state.machines).filter((it) => it.host === host && it.state !== "destroyed")
    const volumes = Object.values(draft.state.volumes).filter((it) => it.host === host)
    if (loss === "unreachable") {
      if (draft.state.unreachableHosts.includes(host)) return Result.succeed(undefined)
      draft.state = { ...draft.state, unreachableHosts: [...draft.state.unreachableHosts, host] }
      for (const it of machines) draft.actions.push({ _tag: "Freeze", machineId: it.id, run: it.run })
      return Result.succeed(undefined)
    }
    for (const machine of machines) {
      releaseVolumes(draft, machine.id, { ...draft.params.delays, detachMs: 0, claimLingerMs: 0 })
      remove(draft, machine)
    }
    for (const volume of volumes) {
      const current = draft.state.volumes[volume.id]
      if (loss === "both" || current === undefined) purgeVolume(draft, volume.id)
      else putVolume(draft, { ...current, host: hostIn(draft, current.region, [host]) })
    }
    draft.state = { ...draft.state, unreachableHosts: draft.state.unreachableHosts.filter((it) => it !== host) }
    return Result.succeed(undefined)
  }

/** What was due meanwhile happens now, destruction included. */
export const restoreHost =
  (host: string): Op<void> =>
  (draft) => {
    if (!draft.state.unreachableHosts.includes(host)) return Result.succeed(undefined)
    draft.state = { ...draft.state, unreachableHosts: draft.state.unreachableHosts.filter((it) => it !== host) }
    for (const machine of Object.values(draft.state.machines)) {
      if (machine.host !== host) continue
      const { transition } = machine
      if (transition?.at != null && transition.at < draft.now) {
        putMachine(draft, { ...machine, transition: { ...transition, at: draft.now } })
      }
      const _tag = machine.state === "destroying" ? "Kill" : "Thaw"
      draft.actions.push({ _tag, machineId: machine.id, run: machine.run })
    }
    return Result.succeed(undefined)
  }

/** Where a machine or volume lives. */
export const hostOf =
  (id: string): Op<string> =>
  (draft) => {
    const host = draft.state.machines[id]?.host ?? draft.state.volumes[id]?.host
    return host === undefined ? refuse(404, `no machine or volume ${id}`) : Result.succeed(host)
  }

/**
 * As Fly moves a machine to another host: the same id, another volume id, another private address. It is stopped
 * meanwhile, and started again if it was.
 */
export const migrate =
  (id: string): Op<Machine> =>
  (draft) => {
    const machine = draft.state.machines[id]
    if (machine === undefined) return refuse(404, "machine not found")
    if (machine.transition !== null || machine.state === "destroyed") {
      return precondition(`unable to migrate machine from current state: '${machine.state}'`)
    }
    const host = hostIn(draft, machine.region, [machine.host])
    const old = Object.values(draft.state.volumes).find((it) => it.machineId === id)
    draft.actions.push({ _tag: "Kill", machineId: id, run: machine.run })
    const mounts = machine.config.mounts ?? []
    let volume: Volume | undefined
    if (old !== undefined) {
      volume = putVolume(draft, { ...old, id: volumeId(draft), host, createdAt: draft.now, updatedAt: draft.now })
      draft.actions.push({ _tag: "VolumeCreated", volumeId: volume.id, from: { volume: old.id } })
      putVolume(draft, {
        ...old,
        state: "pending_destroy",
        machineId: null,
        deletedAt: draft.now,
        // A week after a migration, not a day.
        purgeAt: draft.now + 7 * draft.params.softDeleteMs,
        nextSnapshotAt: null
      })
    }
    const newVolume = volume?.id
    const moved = withEvent(
      draft,
      {
        ...machine,
        host,
        state: "stopped",
        run: machine.run + 1,
        privateIp: privateIp(draft),
        config:
          newVolume === undefined
            ? machine.config
            : { ...machine.config, mounts: mounts.map((mount) => ({ ...mount, volume: newVolume })) }
      },
      { type: "launch", status: "stopped", source: "flyd", request: { migrated: true } }
    )
    putMachine(draft, moved)
    return Result.succeed(machine.state === "started" ? beginBoot(draft, moved, "flyd") : moved)
  }

/**
 * After the process that ran the machines is gone: what ran is on its way up again, what was suspended has lost its
 * memory and is stopped.
 */
export const recovered = (state: FlyState, params: Params, now: number): FlyState => {
  const draft = draftOf(state, params, now)
  for (const machine of Object.values(state.machines)) {
    const { transition } = machine
    const kind = transition?.kind
    if (kind === "destroy") {
      destroyed(draft, machine)
    } else if (machine.state === "started" || kind === "boot" || kind === "resume" || transition?.goal === "started") {
      if (kind === "prepare" || kind === "replace") continue
      putMachine(draft, { ...machine, state: "starting", transition: { kind: "backoff", at: now, goal: "started" } })
    } else if (machine.state === "suspended" || kind === "suspend" || kind === "stop") {
      const stopped = { ...machine, state: "stopped", transition: null } as const
      putMachine(draft, withEvent(draft, stopped, { type: "exit", status: "stopped", source: "flyd" }))
    }
  }
  return draft.state
}
