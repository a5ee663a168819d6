/** Project servers put their own machine to sleep after their idle timeout, as the reference server does. */
import * as Effect from "effect/Effect"
import type { HostAction } from "../../local/fly/model/FlyState.ts"
import { suspendMachine } from "../../local/fly/model/Machines.ts"
import { defaultApp } from "../fly/FlyMemory.ts"
import type { World } from "./World.ts"

/** The documents' default idle timeout. */
const defaultTimeoutSeconds = 300
/** Unconfigured, sealed or occupied: looked at again so much later. */
const againMs = 5 * 60_000

const watch = (world: World, machineId: string, run: number) =>
  Effect.gen(function* () {
    const { fly, machines, time } = world
    const awakeSince = time.clock.currentTimeMillisUnsafe()
    for (;;) {
      const machine = (yield* fly.state).machines[machineId]
      if (machine === undefined || machine.run !== run || machine.destroyedAt !== null) return
      if (machine.state !== "started" && machine.state !== "starting") return
      const quiet = yield* machines.quiet(machineId, defaultTimeoutSeconds)
      const now = time.clock.currentTimeMillisUnsafe()
      const left = quiet === null ? againMs : Math.max(quiet.since, awakeSince) + quiet.timeoutMs - now
      if (left <= 0) {
        const suspended = yield* Effect.result(fly.apply(suspendMachine(defaultApp, machineId, undefined)))
        if (suspended._tag === "Success") return world.journal.count("machine suspended itself")
      }
      yield* Effect.sleep(left <= 0 ? againMs : left)
    }
  })

/** What `World.onAction` is to do: each boot and each resume begins a watch, which ends with the run. */
export const onAction =
  (world: World) =>
  (action: HostAction): Effect.Effect<void> =>
    action._tag === "Boot" || action._tag === "Resume"
      ? Effect.asVoid(Effect.forkIn(watch(world, action.machineId, action.run), world.scope))
      : Effect.void
