/** What the edge may know and do: where machines listen, and Fly's proxy's autostart. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { FlyWorld } from "./FlyWorld.ts"
import type { LocalTarget } from "./LocalMachines.ts"
import { LocalMachines } from "./LocalMachines.ts"
import type { Op } from "./model/Draft.ts"
import { leaseOf } from "./model/Find.ts"
import type { FlyState, Machine, MachineState } from "./model/FlyState.ts"
import { startMachine } from "./model/Machines.ts"
import { spend } from "./model/RateLimit.ts"
import { awaitAccepting } from "../../process/Ports.ts"
import { ProcessHost } from "./process/ProcessHost.ts"

const publicPorts = [80, 443]
const lookAgainMs = 250

/** Of the service that a request on a public port would match. */
const autostarts = (machine: Machine): boolean =>
  machine.config.services?.some(
    (service) =>
      service.autostart === true &&
      service.ports?.some(({ end_port: end, port, start_port: start }) =>
        publicPorts.some((it) => it === port || (start !== undefined && end !== undefined && start <= it && it <= end))
      ) === true
  ) === true

const atRest: ReadonlyArray<MachineState> = ["started", "stopped", "suspended", "failed", "destroying", "destroyed"]

/** The machine once it is no longer between two states; null until then. */
const settled =
  (id: string): Op<Machine | "gone" | null> =>
  (draft) => {
    const machine = draft.state.machines[id]
    if (machine === undefined) return Result.succeed("gone")
    return Result.succeed(atRest.includes(machine.state) ? machine : null)
  }

/** The proxy's start costs the same budget as anybody's, but is no call of the API. */
const startByProxy =
  (app: string, id: string): Op<unknown> =>
  (draft) => {
    const refused = spend(draft, { operation: "startMachine", app, target: id })
    return refused === null ? startMachine(app, id, undefined, "proxy")(draft) : Result.fail(refused)
  }

export const layer = (options: { readonly autostartWithinMs: number }) =>
  Layer.effect(
    LocalMachines,
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const host = yield* ProcessHost

      const targetOf = (state: FlyState, machine: Machine, now: number): LocalTarget => ({
        id: machine.id,
        app: machine.app,
        region: machine.region,
        state: machine.state,
        port: state.unreachableHosts.includes(machine.host) ? null : (host.find(machine.id)?.process.port ?? null),
        autostart: autostarts(machine),
        leased: leaseOf(machine, now) !== null
      })

      const find = Effect.fnUntraced(function* (id: string) {
        const state = yield* world.state
        const machine = state.machines[id]
        return machine === undefined ? null : targetOf(state, machine, yield* world.now)
      })

      /** On the port that it has by then: one that crashed meanwhile is started again on another. */
      const awaitUp = (id: string, withinMs: number) =>
        Effect.gen(function* () {
          const machine = yield* world.awaitAnswer(settled(id), withinMs)
          if (machine === null || machine === "gone" || machine.state !== "started") return "gone"
          if ((yield* world.state).unreachableHosts.includes(machine.host)) return "gone"
          const port = host.find(id)?.process.port ?? null
          return port !== null && (yield* awaitAccepting(port, lookAgainMs)) ? "up" : "starting"
        }).pipe(
          Effect.repeat({ while: (it) => it === "starting", schedule: Schedule.spaced("20 millis") }),
          Effect.map((it) => it === "up"),
          Effect.timeoutOrElse({ duration: withinMs, orElse: () => Effect.succeed(false) })
        )

      const start = Effect.fnUntraced(function* (id: string) {
        const withinMs = options.autostartWithinMs
        const machine = yield* world.awaitAnswer(settled(id), withinMs)
        if (machine === null || machine === "gone" || !autostarts(machine)) return false
        if (machine.state !== "started") yield* world.apply(startByProxy(machine.app, id))
        const up = yield* world.awaitAnswer(settled(id), withinMs)
        if (up === null || up === "gone" || up.state !== "started") return false
        return yield* awaitUp(id, withinMs)
      })

      return LocalMachines.of({
        find,
        ofApp: (app) =>
          Effect.gen(function* () {
            const state = yield* world.state
            const now = yield* world.now
            return Object.values(state.machines)
              .filter((machine) => machine.app === app && machine.state !== "destroyed")
              .map((machine) => targetOf(state, machine, now))
          }),
        autostart: (id) =>
          start(id).pipe(
            Effect.catch((refused) =>
              Effect.as(Effect.logDebug(`Machine ${id} is not started: ${refused.message}`), false)
            ),
            Effect.timeoutOrElse({
              duration: options.autostartWithinMs,
              orElse: () => Effect.succeed(false)
            })
          )
      })
    })
  )
