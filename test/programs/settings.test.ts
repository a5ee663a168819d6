import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { observe } from "../../src/programs/reconcile/Observe.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { Fly } from "../../src/services/fly/Fly.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { newProject, settled } from "./support.ts"

const plane = layerTestPlane({ config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }) })

const told = (volumeId: string | null | undefined) =>
  Effect.flatMap(FakeMachines, (servers) =>
    Effect.map(servers.volume(volumeId ?? ""), (volume) => volume?.idleTimeoutSeconds)
  )

describe("an idle timeout that is changed", () => {
  it.effect("reaches a started machine at once, and a sleeping one when it is awake again", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const fly = yield* Fly
      const id = yield* newProject
      const { machine } = Option.getOrThrow(yield* (yield* Projects).find(id))
      yield* settled(lifecycle.updateSettings(id, { idleTimeoutSeconds: 60 }))
      assert.strictEqual(yield* told(machine?.volumeId), 60)

      yield* settled(lifecycle.sleep(id, "suspended"))
      yield* settled(observe)
      yield* settled(lifecycle.updateSettings(id, { idleTimeoutSeconds: 600 }))
      assert.strictEqual(yield* told(machine?.volumeId), 60)
      yield* settled(fly.startMachine(machine?.machineId ?? ""))
      yield* settled(observe)
      assert.strictEqual(yield* told(machine?.volumeId), 600)
    }).pipe(Effect.provide(plane), Random.withSeed("settings"))
  )
})
