/** What no cloud offers: faults on request, hosts that are lost, and a look behind the scenes. Never under `/v1`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { FlyWorld } from "../FlyWorld.ts"
import { FaultRule } from "../model/Faults.ts"
import { hostOf, loseHost, migrate, restoreHost } from "../model/Hosts.ts"
import { endpoint, json, nothing, param } from "./Endpoint.ts"
import { machineJson } from "./Wire.ts"

const FaultsBody = Schema.Union([FaultRule, Schema.Array(FaultRule)])

const inject = endpoint("POST", "/_local/faults", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const body = yield* input.body(FaultsBody)
    yield* world.inject(...("match" in body ? [body] : body))
    return nothing(204)
  })
)

const clear = endpoint("DELETE", "/_local/faults", () =>
  Effect.gen(function* () {
    yield* (yield* FlyWorld).clearFaults
    return nothing(204)
  })
)

const state = endpoint("GET", "/_local/state", () =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    return json({ state: yield* world.state, calls: Object.fromEntries(yield* world.calls) })
  })
)

const LossBody = Schema.Struct({ loss: Schema.Literals(["unreachable", "machine", "both"]) })

/** By the host's own name, or by the machine or volume that is on it. */
const hostNamed = (id: string) =>
  Effect.flatMap(FlyWorld, (world) => (id.includes("-") ? Effect.succeed(id) : world.apply(hostOf(id))))

const lose = endpoint("POST", "/_local/hosts/:host/lose", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const { loss } = yield* input.body(LossBody)
    const host = yield* hostNamed(param(input, "host"))
    yield* world.apply(loseHost(host, loss))
    return json({ host })
  })
)

const restore = endpoint("POST", "/_local/hosts/:host/restore", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const host = yield* hostNamed(param(input, "host"))
    yield* world.apply(restoreHost(host))
    return json({ host })
  })
)

const move = endpoint("POST", "/_local/machines/:machine/migrate", (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const machine = yield* world.apply(migrate(param(input, "machine")))
    return json(machineJson(yield* world.state, machine))
  })
)

export const adminRoutes = [inject, clear, state, lose, restore, move]
