/** Listings of machines and what `wait` waits for. */
import * as Result from "effect/Result"
import type { Op } from "./Draft.ts"
import { findApp, findMachine } from "./Find.ts"
import type { Machine, MachineState } from "./FlyState.ts"
import { invalid, precondition, refuse } from "./Refusal.ts"

export interface MachineFilter {
  readonly includeDeleted?: boolean
  readonly region?: string
  readonly states?: ReadonlyArray<string>
  readonly metadata?: Readonly<Record<string, string>>
}

/** Oldest first; a machine younger than the list's lag is not in it yet. */
export const listMachines =
  (app: string, filter: MachineFilter = {}): Op<ReadonlyArray<Machine>> =>
  (draft) =>
    Result.map(findApp(draft, app), () =>
      Object.values(draft.state.machines)
        .filter(
          (machine) =>
            machine.app === app &&
            (filter.includeDeleted === true || machine.state !== "destroyed") &&
            (filter.region === undefined || machine.region === filter.region) &&
            (filter.states === undefined || filter.states.includes(machine.state)) &&
            Object.entries(filter.metadata ?? {}).every(([key, value]) => machine.config.metadata?.[key] === value) &&
            machine.createdAt + draft.params.delays.listLagMs <= draft.now
        )
        .toSorted((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    )

export const waitableStates = ["started", "stopped", "suspended", "destroyed", "failed", "settled"] as const
export type WaitableState = (typeof waitableStates)[number]

const transient: ReadonlyArray<MachineState> = [
  "created",
  "starting",
  "stopping",
  "restarting",
  "suspending",
  "replacing",
  "destroying"
]

const matches = (state: MachineState, wanted: WaitableState): boolean =>
  wanted === "settled" ? !transient.includes(state) : state === wanted

export interface WaitInput {
  readonly states: ReadonlyArray<WaitableState>
  readonly instanceId?: string
  /** Only what happened after this event counts. */
  readonly fromEventId?: string
}

/** Null: not yet. A state that can't come any more, or another version, is refused at once. */
export const lookForState =
  (app: string, id: string, input: WaitInput): Op<Machine | null> =>
  (draft) =>
    Result.flatMap(findMachine(draft, app, id), (machine) => {
      if (input.states.length === 1 && input.states[0] === "stopped" && input.instanceId === undefined) {
        return invalid("instance_id is required to wait for state stopped")
      }
      const sameVersion = input.instanceId === undefined || input.instanceId === machine.instanceId
      const isNew = input.fromEventId === undefined || input.fromEventId !== machine.events[0]?.id
      if (sameVersion && isNew && input.states.some((wanted) => matches(machine.state, wanted))) {
        return Result.succeed(machine)
      }
      if (!sameVersion) {
        return precondition(`machine version ${input.instanceId} is currently replaced by ${machine.instanceId}`)
      }
      if (machine.state === "destroyed" || machine.state === "destroying") {
        if (!input.states.includes("destroyed") && !input.states.includes("settled")) {
          return refuse(
            400,
            `failed_precondition: machine can't reach state ${input.states.join(", ")}, currently ${machine.state}`
          )
        }
      }
      return Result.succeed(null)
    })
