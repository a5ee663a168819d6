/**
 * How machines get from state to state: what begins a transition, what ends it by time or by the host's report, and
 * what follows.
 */
import type { Draft } from "./Draft.ts"
import { putMachine, putVolume, ulid } from "./Draft.ts"
import type { FlyState, Machine, MachineEvent, MachineState, Transition } from "./FlyState.ts"
import { durationMs, maySuspend } from "./MachineConfigJson.ts"

const keptEvents = 50

const frozen = (state: FlyState, machine: Machine) => state.unreachableHosts.includes(machine.host)

const after = (draft: Draft, ms: number | null): number | null => (ms === null ? null : draft.now + ms)

export const withEvent = (
  draft: Draft,
  machine: Machine,
  event: Pick<MachineEvent, "type" | "status" | "source"> & { readonly request?: Readonly<Record<string, unknown>> }
): Machine => ({
  ...machine,
  updatedAt: draft.now,
  events: [{ id: ulid(draft), timestamp: draft.now, ...event }, ...machine.events].slice(0, keptEvents)
})

const enter = (
  draft: Draft,
  machine: Machine,
  state: MachineState,
  transition: Transition | null,
  event: Parameters<typeof withEvent>[2]
): Machine => putMachine(draft, withEvent(draft, { ...machine, state, transition }, event))

export const beginBoot = (draft: Draft, machine: Machine, source: MachineEvent["source"]): Machine => {
  const run = machine.run + 1
  draft.actions.push({ _tag: "Boot", machineId: machine.id, run })
  return enter(
    draft,
    { ...machine, run },
    "starting",
    { kind: "boot", at: after(draft, draft.params.delays.bootMs), goal: "started" },
    { type: "start", status: "starting", source }
  )
}

export const beginResume = (draft: Draft, machine: Machine, source: MachineEvent["source"]): Machine => {
  draft.actions.push({ _tag: "Resume", machineId: machine.id, run: machine.run })
  return enter(
    draft,
    machine,
    "starting",
    { kind: "resume", at: after(draft, draft.params.delays.resumeMs), goal: "started" },
    { type: "start", status: "starting", source }
  )
}

export interface StopOptions {
  readonly signal?: string
  readonly timeoutMs?: number
  /** What comes after: a restart starts it again. */
  readonly goal?: "stopped" | "started"
}

const defaultStopTimeoutMs = 5_000

const emitStop = (draft: Draft, machine: Machine, options: StopOptions): void => {
  const { signal = "SIGINT", timeout = `${defaultStopTimeoutMs}ms` } = machine.config.stop_config ?? {}
  draft.actions.push({
    _tag: "Stop",
    machineId: machine.id,
    run: machine.run,
    signal: options.signal ?? signal,
    timeoutMs: options.timeoutMs ?? durationMs(timeout) ?? defaultStopTimeoutMs
  })
}

export const beginStop = (
  draft: Draft,
  machine: Machine,
  source: MachineEvent["source"],
  options: StopOptions = {}
): Machine => {
  emitStop(draft, machine, options)
  const goal = options.goal ?? "stopped"
  return enter(
    draft,
    machine,
    goal === "started" ? "restarting" : "stopping",
    { kind: "stop", at: after(draft, draft.params.delays.stopMs), goal },
    goal === "started"
      ? { type: "restart", status: "restarting", source }
      : { type: "stop", status: "stopping", source }
  )
}

export const beginSuspend = (draft: Draft, machine: Machine, source: MachineEvent["source"]): Machine => {
  if (!maySuspend(machine.config)) return beginStop(draft, machine, source)
  draft.actions.push({ _tag: "Suspend", machineId: machine.id, run: machine.run })
  return enter(
    draft,
    machine,
    "suspending",
    { kind: "suspend", at: after(draft, draft.params.delays.suspendMs), goal: "suspended" },
    { type: "suspend", status: "suspending", source }
  )
}

export const beginReplace = (draft: Draft, machine: Machine, goal: "started" | "stopped"): Machine => {
  // The old version's process ends before the new one starts; what it reports about that is stale by then.
  emitStop(draft, machine, {})
  return enter(
    draft,
    { ...machine, run: machine.run + 1 },
    "replacing",
    { kind: "replace", at: draft.now + draft.params.delays.replaceMs, goal },
    { type: "update", status: "replacing", source: "user" }
  )
}

export const beginDestroy = (draft: Draft, machine: Machine, source: MachineEvent["source"]): Machine => {
  // A host out of reach does it when it is back.
  if (!frozen(draft.state, machine)) draft.actions.push({ _tag: "Kill", machineId: machine.id, run: machine.run })
  return enter(
    draft,
    machine,
    "destroying",
    { kind: "destroy", at: after(draft, draft.params.delays.destroyMs), goal: "destroyed" },
    { type: "destroy", status: "destroying", source }
  )
}

/** Detached at once for everybody to see, or after a while; its claim may linger even longer. */
export const releaseVolumes = (draft: Draft, machineId: string, params = draft.params.delays): void => {
  for (const volume of Object.values(draft.state.volumes)) {
    if (volume.machineId !== machineId) continue
    const until = draft.now + Math.max(params.detachMs, params.claimLingerMs)
    putVolume(draft, {
      ...volume,
      updatedAt: draft.now,
      machineId: null,
      lingering: until > draft.now ? { machineId, until } : null
    })
  }
}

export const destroyed = (draft: Draft, machine: Machine): Machine => {
  releaseVolumes(draft, machine.id)
  return enter(draft, { ...machine, lease: null, destroyedAt: draft.now }, "destroyed", null, {
    type: "destroy",
    status: "destroyed",
    source: "flyd"
  })
}

/** The transition's end, by its time or because the host says so. */
export const finish = (draft: Draft, machine: Machine): Machine => {
  const { transition } = machine
  if (transition === null) return machine
  switch (transition.kind) {
    case "prepare":
    case "replace":
      return transition.goal === "started"
        ? beginBoot(draft, machine, "flyd")
        : enter(draft, machine, "stopped", null, { type: "update", status: "stopped", source: "flyd" })
    case "backoff":
      return beginBoot(draft, machine, "flyd")
    case "boot":
    case "resume":
      return enter(draft, machine, "started", null, { type: "start", status: "started", source: "flyd" })
    case "stop":
      return transition.goal === "started"
        ? beginBoot(draft, machine, "flyd")
        : enter(draft, machine, "stopped", null, {
            type: "exit",
            status: "stopped",
            source: "flyd",
            request: { exit_event: { requested_stop: true, restarting: false, exit_code: 0, oom_killed: false } }
          })
    case "suspend":
      return enter(draft, machine, "suspended", null, { type: "suspend", status: "suspended", source: "flyd" })
    case "destroy":
      return destroyed(draft, machine)
  }
}

export interface ProcessExit {
  readonly code: number
  readonly signal: number
  readonly oom: boolean
}

/** The process ended and nobody asked for it: the restart policy decides, unless the machine was put to sleep. */
export const exited = (draft: Draft, machine: Machine, exit: ProcessExit, asleep = false): Machine => {
  const { policy = "on-failure", max_retries: retries = 10 } = machine.config.restart ?? {}
  const failed = exit.code !== 0 || exit.signal !== 0
  const restarting =
    !asleep && (policy === "always" || (policy === "on-failure" && failed && machine.restarts < retries))
  const event = {
    type: "exit",
    status: "stopped",
    source: "flyd",
    request: {
      exit_event: {
        exit_code: exit.code,
        signal: exit.signal,
        oom_killed: exit.oom,
        requested_stop: false,
        restarting,
        exited_at: new Date(draft.now).toISOString()
      },
      restart_count: machine.restarts
    }
  } as const
  if (restarting) {
    return enter(
      draft,
      { ...machine, restarts: machine.restarts + 1 },
      "starting",
      { kind: "backoff", at: draft.now + draft.params.restartBackoffMs, goal: "started" },
      event
    )
  }
  const stopped = enter(draft, machine, "stopped", null, event)
  return machine.config.auto_destroy === true ? beginDestroy(draft, stopped, "flyd") : stopped
}

const computeDue = (state: FlyState, destroyedVisibleMs: number): number | null => {
  let due = Infinity
  for (const machine of Object.values(state.machines)) {
    if (machine.destroyedAt !== null) due = Math.min(due, machine.destroyedAt + destroyedVisibleMs)
    else if (machine.transition?.at != null && !frozen(state, machine)) due = Math.min(due, machine.transition.at)
  }
  for (const volume of Object.values(state.volumes)) {
    if (volume.state !== "created" && volume.state !== "pending_destroy") due = Math.min(due, volume.readyAt)
    if (volume.purgeAt !== null) due = Math.min(due, volume.purgeAt)
    if (volume.nextSnapshotAt !== null) due = Math.min(due, volume.nextSnapshotAt)
    if (volume.lingering !== null) due = Math.min(due, volume.lingering.until)
  }
  for (const snapshot of Object.values(state.snapshots)) {
    due = Math.min(due, snapshot.createdAt + snapshot.retentionDays * 86_400_000)
  }
  return due === Infinity ? null : due
}

/** States are looked at far more often than they change. */
const known = new WeakMap<FlyState, { readonly due: number | null; readonly visibleMs: number }>()

/** When something happens next without anybody calling; null if never. */
export const nextDue = (state: FlyState, destroyedVisibleMs: number): number | null => {
  const before = known.get(state)
  if (before?.visibleMs === destroyedVisibleMs) return before.due
  const due = computeDue(state, destroyedVisibleMs)
  known.set(state, { due, visibleMs: destroyedVisibleMs })
  return due
}
