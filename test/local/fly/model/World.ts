/** The state of a Fly as a test changes it, one operation after the other. */
import { assert } from "@effect/vitest"
import * as Result from "effect/Result"
import { createApp } from "../../../../src/local/fly/model/Apps.ts"
import { type Op, runOp } from "../../../../src/local/fly/model/Draft.ts"
import {
  type Delays,
  type FlyState,
  type HostAction,
  type Machine,
  type Params,
  type Volume,
  defaultParams,
  emptyState,
  instantDelays
} from "../../../../src/local/fly/model/FlyState.ts"
import { recovered } from "../../../../src/local/fly/model/Hosts.ts"
import type { ModelConfig } from "../../../../src/local/fly/model/MachineConfigJson.ts"
import * as Machines from "../../../../src/local/fly/model/Machines.ts"
import type { Refusal } from "../../../../src/local/fly/model/Refusal.ts"
import { settle } from "../../../../src/local/fly/model/Settle.ts"
import * as Volumes from "../../../../src/local/fly/model/Volumes.ts"

export const app = "projects"

/** A world with a clock that only moves when told. */
export const makeWorld = (options: { readonly delays?: Partial<Delays>; readonly params?: Partial<Params> } = {}) => {
  const params: Params = { ...defaultParams, ...options.params, delays: { ...instantDelays, ...options.delays } }
  let now = 1_000_000
  let state: FlyState = emptyState(7)
  const actions: Array<HostAction> = []
  const pass = (ms: number) => {
    now += ms
    const settled = settle(state, params, now)
    state = settled.state
    actions.push(...settled.actions)
  }
  const run = <A>(op: Op<A>): Result.Result<A, Refusal> => {
    pass(0)
    const step = runOp(state, params, now, op)
    state = step.state
    actions.push(...step.actions)
    pass(0)
    return step.answer
  }
  const ok = <A>(op: Op<A>): A => {
    const answer = run(op)
    if (Result.isFailure(answer)) return assert.fail(`${answer.failure.status} ${answer.failure.message}`)
    return answer.success
  }
  const refused = <A>(op: Op<A>): Refusal => {
    const answer = run(op)
    return Result.isFailure(answer) ? answer.failure : assert.fail("was not refused")
  }
  ok(createApp({ name: app, org: "personal" }))
  const restart = () => {
    state = recovered(state, params, now)
    pass(0)
  }
  return {
    run,
    restart,
    ok,
    refused,
    pass,
    actions,
    state: () => state,
    now: () => now,
    machine: (id: string): Machine => state.machines[id] ?? assert.fail(`no machine ${id}`),
    volume: (id: string): Volume => state.volumes[id] ?? assert.fail(`no volume ${id}`)
  }
}
export type World = ReturnType<typeof makeWorld>

export const image = "registry.fly.io/valet:1"
export const create = (
  world: World,
  config: Partial<ModelConfig> = {},
  more: Partial<Machines.CreateMachineInput> = {}
) => world.ok(Machines.createMachine(app, { config: { image, ...config }, ...more }))
export const volume = (world: World, more: Partial<Volumes.CreateVolumeInput> = {}) =>
  world.ok(Volumes.createVolume(app, { name: "data", region: "ams", requireUniqueZone: false, ...more }))
