/** The machines' part of `Fly` over HTTP, but for waiting (`FlyWait`). */
import * as Effect from "effect/Effect"
import { metadataKeys, type MachineConfig } from "../../contract/MachineConfig.ts"
import type { CreateMachine, FlyMachine } from "./Fly.ts"
import { getMachineRate } from "./FlyBudget.ts"
import type { FlyCall } from "./FlyCall.ts"
import { limitsOf, type Limits } from "./FlyPolicy.ts"
import * as FlyCreate from "./FlyCreate.ts"
import type { FlyError } from "./FlyError.ts"
import * as FlyWire from "./FlyWire.ts"

const READ = { attemptMs: 5_000, wholeMs: 15_000 }
const LIST = { attemptMs: 15_000, wholeMs: 30_000 }
const ACTION = { attemptMs: 10_000, wholeMs: 30_000 }
/** Fly answers a create or update when a host has taken it; pulling the image may be part of that. */
const CREATE = { attemptMs: 30_000, wholeMs: 75_000 }
/** A start is refused while the machine is prepared or replaced: 70 s were seen on a cold host. */
const START = { attemptMs: 10_000, wholeMs: 90_000 }

const gone: ReadonlySet<string> = new Set(["destroying", "destroyed"])

export const path = (id: string, rest = "") => `/machines/${encodeURIComponent(id)}${rest}`

export const make = (fly: FlyCall) => {
  const getMachine = Effect.fn("Fly.getMachine")(function* (machineId: string) {
    const call = { operation: "getMachine", method: "GET", path: path(machineId), effects: "read" } as const
    const limits = yield* limitsOf(READ)
    return yield* fly.decoded(
      { ...call, identifier: machineId, rate: getMachineRate, ...limits },
      FlyWire.decodeMachine
    )
  })

  const listed = Effect.fnUntraced(function* (query: Readonly<Record<string, string>>) {
    const call = { operation: "listMachines", method: "GET", path: "/machines", query, effects: "read" } as const
    return yield* fly.decoded({ ...call, ...(yield* limitsOf(LIST)) }, FlyWire.decodeMachines)
  })

  const createMachine = Effect.fn("Fly.createMachine")(function* ({ name, region, config, skipLaunch }: CreateMachine) {
    const limits = yield* limitsOf(CREATE)
    const volumeId = config.mounts[0]?.volume ?? null
    const body = { name, region, config, ...(skipLaunch === undefined ? {} : { skip_launch: skipLaunch }) }
    const call = { operation: "createMachine", method: "POST", path: "/machines", body, effects: "once" } as const
    const ours = (machine: FlyMachine) =>
      machine.name === name &&
      machine.volumeId === volumeId &&
      !gone.has(machine.state) &&
      Object.entries(config.metadata).every(([key, value]) => machine.metadata[key] === value)
    const mark = config.metadata[metadataKeys.name]
    const namesakes = listed(mark === undefined ? {} : { [`metadata.${metadataKeys.name}`]: mark })
    return yield* FlyCreate.exactlyOnce({
      operation: call.operation,
      send: fly.decoded({ ...call, bound: volumeId !== null, ...limits }, FlyWire.decodeMachine),
      find: Effect.map(namesakes, (machines) => machines.find(ours) ?? null),
      findExisting: (id) =>
        getMachine(id).pipe(
          Effect.map((machine) => (ours(machine) ? machine : null)),
          Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null))
        ),
      deadline: limits.deadline
    })
  })

  const updateMachine = Effect.fn("Fly.updateMachine")(function* (machineId: string, config: MachineConfig) {
    const call = { operation: "updateMachine", method: "POST", path: path(machineId), body: { config } } as const
    const limits = yield* limitsOf(CREATE)
    return yield* fly.decoded(
      { ...call, effects: "once", bound: true, identifier: machineId, ...limits },
      FlyWire.decodeMachine
    )
  })

  /** For an action that was refused: fine where the machine is already there, or on its way. */
  const unlessIn = (machineId: string, states: ReadonlySet<string>) => (error: FlyError) =>
    getMachine(machineId).pipe(
      Effect.mapError(() => error),
      Effect.filterOrFail(
        ({ state }) => states.has(state),
        () => error
      )
    )

  const deleteMachine = Effect.fn("Fly.deleteMachine")(function* (machineId: string) {
    const call = {
      operation: "deleteMachine",
      method: "DELETE",
      path: path(machineId),
      query: { force: "true" }
    } as const
    yield* fly.text({ ...call, effects: "repeatable", identifier: machineId, ...(yield* limitsOf(ACTION)) }).pipe(
      Effect.catchReason("FlyError", "NotFound", () => Effect.void),
      Effect.catch(unlessIn(machineId, gone))
    )
  })

  const action = (verb: "start" | "stop" | "suspend", reached: ReadonlyArray<string>, limits: Limits) => {
    const states = new Set(reached)
    return Effect.fn(`Fly.${verb}Machine`)(function* (machineId: string) {
      const call = { operation: `${verb}Machine`, method: "POST", path: path(machineId, `/${verb}`) } as const
      const bounds = yield* limitsOf(limits)
      yield* fly
        .text({ ...call, effects: "repeatable", bound: true, identifier: machineId, ...bounds })
        .pipe(Effect.catchIf(({ reason }) => reason._tag !== "NotFound", unlessIn(machineId, states)))
    })
  }

  const getMetadata = Effect.fn("Fly.getMetadata")(function* (machineId: string) {
    const call = { operation: "getMetadata", method: "GET", path: path(machineId, "/metadata") } as const
    const limits = yield* limitsOf(READ)
    return yield* fly.decoded({ ...call, effects: "read", identifier: machineId, ...limits }, FlyWire.decodeMetadata)
  })

  const setMetadata = Effect.fn("Fly.setMetadata")(function* (machineId: string, key: string, value: string) {
    const at = path(machineId, `/metadata/${encodeURIComponent(key)}`)
    const call = { operation: "setMetadata", method: "POST", path: at, body: { value } } as const
    yield* fly.text({ ...call, effects: "repeatable", identifier: machineId, ...(yield* limitsOf(ACTION)) })
  })

  return {
    getMachine,
    listMachines: listed({}).pipe(Effect.withSpan("Fly.listMachines")),
    createMachine,
    updateMachine,
    deleteMachine,
    startMachine: action("start", ["started", "starting"], START),
    stopMachine: action("stop", ["stopped", "stopping"], ACTION),
    suspendMachine: action("suspend", ["suspended", "suspending"], ACTION),
    getMetadata,
    setMetadata
  }
}
