/** The operations on machines. */
import * as Result from "effect/Result"
import type { Draft, Op } from "./Draft.ts"
import { machineId, privateIp, putMachine, putVolume, random, ulid, word } from "./Draft.ts"
import { findApp, findForChange, findMachine, hostUnreachable, unreachable } from "./Find.ts"
import type { Machine, MachineState, Volume } from "./FlyState.ts"
import { grantLease } from "./Leases.ts"
import type { ModelConfig } from "./MachineConfigJson.ts"
import { configProblem, normalized } from "./MachineConfigJson.ts"
import type { Refusal } from "./Refusal.ts"
import { invalid, precondition, refusal, refuse } from "./Refusal.ts"
import type { StopOptions } from "./Transitions.ts"
import {
  beginBoot,
  beginDestroy,
  beginReplace,
  beginResume,
  beginStop,
  beginSuspend,
  withEvent
} from "./Transitions.ts"

export interface CreateMachineInput {
  readonly name?: string
  /** One code or several in order of preference (`cdg,eu`); the first that exists is taken. */
  readonly region?: string
  readonly config: ModelConfig
  readonly skipLaunch?: boolean
  readonly skipServiceRegistration?: boolean
  readonly leaseTtl?: number
}

export const pickRegion = (draft: Draft, wanted: string | undefined): Result.Result<string, Refusal> => {
  const [first = ""] = draft.params.regions
  if (wanted === undefined || wanted === "") return Result.succeed(first)
  const region = wanted.split(",").find((it) => draft.params.regions.includes(it.trim()))
  return region === undefined
    ? Result.fail(refusal(422, `invalid_argument: region ${wanted} not found`))
    : Result.succeed(region.trim())
}

const nameTaken = (draft: Draft, app: string, name: string): Machine | undefined =>
  Object.values(draft.state.machines).find(
    (machine) => machine.app === app && machine.name === name && machine.state !== "destroyed"
  )

/** The volume a machine is to be put on, where nobody else holds or held it. */
const mountable = (
  draft: Draft,
  app: string,
  config: ModelConfig,
  region: string | undefined
): Result.Result<Volume | null, Refusal> => {
  const id = config.mounts?.[0]?.volume
  if (id === undefined) return Result.succeed(null)
  const volume = draft.state.volumes[id]
  if (volume === undefined || volume.app !== app || volume.state === "pending_destroy") {
    return Result.fail(refusal(400, "volume not found"))
  }
  const holder = volume.machineId ?? volume.lingering?.machineId
  if (holder !== undefined) return Result.fail(refusal(412, `volume already claimed by machine ${holder}`))
  if (unreachable(draft.state, volume.host)) {
    return Result.fail(
      refusal(412, `insufficient resources to create new machine with existing volume '${id}'`, {
        code: "volume_placement_capacity"
      })
    )
  }
  if (region !== undefined && region !== "" && !region.split(",").some((it) => it.trim() === volume.region)) {
    return Result.fail(refusal(400, `invalid_argument: volume ${id} is not in region ${region}`))
  }
  return Result.succeed(volume)
}

export const createMachine =
  (app: string, input: CreateMachineInput): Op<Machine> =>
  (draft) => {
    const owner = findApp(draft, app)
    if (Result.isFailure(owner)) return Result.fail(owner.failure)
    const problem = configProblem(input.config)
    if (problem !== null) return invalid(problem)
    if (input.name !== undefined && !/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/.test(input.name)) return invalid("name")
    const namesake = input.name === undefined ? undefined : nameTaken(draft, app, input.name)
    if (namesake !== undefined) {
      return refuse(
        409,
        `already_exists: unique machine name violation, machine ID ${namesake.id} already exists with name "${namesake.name}"`,
        { existingId: namesake.id }
      )
    }
    const mounted = mountable(draft, app, input.config, input.region)
    if (Result.isFailure(mounted)) return Result.fail(mounted.failure)
    const region = mounted.success === null ? pickRegion(draft, input.region) : Result.succeed(mounted.success.region)
    if (Result.isFailure(region)) return Result.fail(region.failure)

    const config = normalized(input.config)
    const instanceId = ulid(draft)
    const machine = withEvent(
      draft,
      {
        id: machineId(draft),
        app,
        name: input.name ?? `${word(draft)}-${word(draft)}`,
        region: region.success,
        state: "created",
        instanceId,
        privateIp: privateIp(draft),
        config,
        host: mounted.success?.host ?? hostIn(draft, region.success),
        createdAt: draft.now,
        updatedAt: draft.now,
        events: [],
        versions: [{ version: instanceId, config }],
        cordoned: input.skipServiceRegistration === true,
        lease: null,
        transition: {
          kind: "prepare",
          at: draft.now + draft.params.delays.prepareMs,
          goal: input.skipLaunch === true ? "stopped" : "started"
        },
        run: 0,
        restarts: 0,
        memoryLimitMb: null,
        destroyedAt: null
      },
      { type: "launch", status: "created", source: "user" }
    )
    putMachine(draft, machine)
    if (mounted.success !== null) {
      putVolume(draft, { ...mounted.success, machineId: machine.id, updatedAt: draft.now })
    }
    return Result.succeed(input.leaseTtl === undefined ? machine : grantLease(draft, machine, { ttl: input.leaseTtl }))
  }

/** Hosts are numbered by region; a machine without a volume may be put on any that is reachable. */
export const hostIn = (draft: Draft, region: string, avoid: ReadonlyArray<string> = []): string => {
  const hosts = Array.from({ length: draft.params.hostsPerRegion }, (_, n) => `${region}-${n}`).filter(
    (host) => !avoid.includes(host) && !unreachable(draft.state, host)
  )
  return hosts[Math.floor(random(draft) * hosts.length)] ?? ""
}

export interface UpdateMachineInput {
  readonly config: ModelConfig
  readonly region?: string
  readonly name?: string
  readonly skipLaunch?: boolean
  readonly currentVersion?: string
  readonly nonce?: string
}

const keptVersions = 25

export const updateMachine =
  (app: string, id: string, input: UpdateMachineInput): Op<Machine> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, input.nonce), (machine) => {
      const problem = configProblem(input.config)
      if (problem !== null) return invalid(problem)
      if (input.region !== undefined && input.region !== machine.region) return invalid("region cannot be changed")
      if (input.name !== undefined && input.name !== machine.name) return invalid("name cannot be changed")
      if (input.config.mounts?.[0]?.volume !== machine.config.mounts?.[0]?.volume) {
        return invalid("the volume mounted by a machine cannot be changed")
      }
      if (input.currentVersion !== undefined && input.currentVersion !== machine.instanceId) {
        return refuse(409, "aborted: machine update failed due to concurrent update")
      }
      if (unreachable(draft.state, machine.host)) return Result.fail(hostUnreachable)
      if (machine.state === "replacing") {
        return refuse(409, "aborted: machine update failed due to concurrent update")
      }
      if (machine.state === "destroying" || machine.state === "destroyed") {
        return precondition(`unable to update machine from current state: '${machine.state}'`)
      }
      const config = normalized(input.config)
      const instanceId = ulid(draft)
      const wasUp = machine.state === "started" || machine.state === "starting" || machine.state === "restarting"
      const stays = machine.transition?.kind === "prepare" ? machine.transition.goal : "stopped"
      const updated = {
        ...machine,
        config,
        instanceId,
        restarts: 0,
        versions: [{ version: instanceId, config }, ...machine.versions].slice(0, keptVersions)
      }
      const launched = input.skipLaunch !== true && (wasUp || stays === "started")
      return Result.succeed(beginReplace(draft, updated, launched ? "started" : "stopped"))
    })

export type Source = "user" | "proxy"

export const startMachine =
  (
    app: string,
    id: string,
    nonce: string | undefined,
    source: Source = "user"
  ): Op<{ readonly previousState: MachineState }> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      if (unreachable(draft.state, machine.host)) return Result.fail(hostUnreachable)
      const previousState = machine.state
      switch (machine.state) {
        case "started":
        case "starting":
        case "restarting":
          return Result.succeed({ previousState })
        case "stopped":
        case "failed":
          beginBoot(draft, { ...machine, restarts: 0 }, source)
          return Result.succeed({ previousState })
        case "suspended":
          beginResume(draft, { ...machine, restarts: 0 }, source)
          return Result.succeed({ previousState })
        case "replacing":
          return precondition("machine getting replaced, refusing to start")
        case "created":
        case "stopping":
        case "suspending":
        case "destroying":
        case "destroyed":
          return precondition(`unable to start machine from current state: '${machine.state}'`)
      }
    })

export const stopMachine =
  (app: string, id: string, nonce: string | undefined, options: StopOptions = {}): Op<void> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      if (unreachable(draft.state, machine.host)) return Result.fail(hostUnreachable)
      switch (machine.state) {
        case "stopped":
        case "stopping":
          return Result.succeed(undefined)
        case "started":
        case "starting":
        case "restarting":
        case "suspended":
          beginStop(draft, machine, "user", options)
          return Result.succeed(undefined)
        default:
          return precondition(`unable to stop machine from current state: '${machine.state}'`)
      }
    })

export const restartMachine =
  (app: string, id: string, nonce: string | undefined, options: Omit<StopOptions, "goal"> = {}): Op<void> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      if (unreachable(draft.state, machine.host)) return Result.fail(hostUnreachable)
      if (machine.state !== "started") {
        return precondition(`unable to restart machine from current state: '${machine.state}'`)
      }
      beginStop(draft, { ...machine, restarts: 0 }, "user", { ...options, goal: "started" })
      return Result.succeed(undefined)
    })

export const suspendMachine =
  (app: string, id: string, nonce: string | undefined): Op<void> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      if (unreachable(draft.state, machine.host)) return Result.fail(hostUnreachable)
      if (machine.state === "suspended" || machine.state === "suspending") return Result.succeed(undefined)
      if (machine.state !== "started") {
        return precondition(`unable to suspend machine from current state: '${machine.state}'`)
      }
      beginSuspend(draft, machine, "user")
      return Result.succeed(undefined)
    })

/** Without force only a machine at rest. On a host out of reach it stays `destroying` until the host is back. */
export const deleteMachine =
  (app: string, id: string, nonce: string | undefined, force: boolean): Op<void> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      switch (machine.state) {
        case "destroyed":
        case "destroying":
          return Result.succeed(undefined)
        case "stopped":
        case "suspended":
        case "failed":
          beginDestroy(draft, machine, "user")
          return Result.succeed(undefined)
        default:
          if (!force) return precondition(`unable to destroy machine from current state: '${machine.state}'`)
          beginDestroy(draft, machine, "user")
          return Result.succeed(undefined)
      }
    })

export const setCordon =
  (app: string, id: string, nonce: string | undefined, cordoned: boolean): Op<void> =>
  (draft) =>
    Result.flatMap(findForChange(draft, app, id, nonce), (machine) => {
      putMachine(draft, { ...machine, cordoned, updatedAt: draft.now })
      return Result.succeed(undefined)
    })

export const signalMachine =
  (app: string, id: string, signal: string): Op<void> =>
  (draft) =>
    Result.flatMap(findMachine(draft, app, id), (machine) => {
      if (unreachable(draft.state, machine.host)) return Result.fail(hostUnreachable)
      if (machine.state !== "started") return precondition(`machine is not started, currently ${machine.state}`)
      draft.actions.push({ _tag: "Signal", machineId: id, run: machine.run, signal })
      return Result.succeed(undefined)
    })

/** For what only a machine that runs can answer (`exec`, `ps`). */
export const runningMachine =
  (app: string, id: string, nonce?: string): Op<Machine> =>
  (draft) =>
    Result.flatMap(
      nonce === undefined ? findMachine(draft, app, id) : findForChange(draft, app, id, nonce),
      (machine) =>
        unreachable(draft.state, machine.host)
          ? Result.fail(hostUnreachable)
          : machine.state === "started"
            ? Result.succeed(machine)
            : precondition(`machine not running, currently ${machine.state}`)
    )

export const getMachine =
  (app: string, id: string): Op<Machine> =>
  (draft) =>
    findMachine(draft, app, id)

/** The balloon's limit: what the guest may use of its memory. */
export const memoryLimitMb = (machine: Machine): number =>
  machine.memoryLimitMb ?? machine.config.guest?.memory_mb ?? 256

export const limitMemory =
  (app: string, id: string, limitMb: number): Op<Machine> =>
  (draft) =>
    Result.flatMap(runningMachine(app, id)(draft), (machine) =>
      limitMb < 1 || limitMb > (machine.config.guest?.memory_mb ?? 256)
        ? invalid("limit_mb must be positive and at most the guest's memory")
        : Result.succeed(putMachine(draft, { ...machine, memoryLimitMb: limitMb, updatedAt: draft.now }))
    )
