/** A delete in the middle of anything: the tombstone stands, and nothing of the project is left at Fly or in the bucket. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import { realisticDelays } from "../../src/local/fly/model/FlyState.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, lose, newProject, rest, settled, viewOf } from "./support.ts"

type Services = Layer.Success<ReturnType<typeof layerTestPlane>>

const wake = (id: ProjectId) => Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.wake(id, { deadlineMs: 120_000 }))

interface Scenario {
  readonly prepare: (id: ProjectId) => Effect.Effect<unknown, unknown, Services>
  readonly run: (id: ProjectId) => Effect.Effect<unknown, unknown, Services>
}

const scenarios: Readonly<Record<string, Scenario>> = {
  nothing: { prepare: () => Effect.void, run: () => Effect.void },
  "a cold wake": {
    prepare: (id) => settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.sleep(id, "dormant"))),
    run: wake
  },
  "an archive": { prepare: () => Effect.void, run: (id) => archive(id, { force: true }) },
  "a rehost": {
    prepare: (id) => Effect.flatMap(viewOf(id), ({ machine }) => lose(machine?.machineId ?? "", "machine")),
    run: (id) => Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.heal(id, "replay_failed", { deadlineMs: 600_000 }))
  }
}

describe("a delete", () => {
  for (const [name, { prepare, run }] of Object.entries(scenarios)) {
    it.effect(
      `during ${name} leaves nothing`,
      () =>
        Effect.gen(function* () {
          for (let turn = 0; turn < 12; turn++) {
            yield* Effect.gen(function* () {
              const lifecycle = yield* Lifecycle
              yield* newProject
              const id = yield* newProject
              const { machine } = yield* viewOf(id)
              yield* prepare(id)
              yield* (yield* FakeMachines).setFaults(() =>
                Effect.map(Random.nextIntBetween(0, 3_000), (latencyMs) => ({ latencyMs }))
              )
              const other = yield* Effect.forkChild(Effect.exit(run(id)))
              yield* settled(Effect.sleep(yield* Random.nextIntBetween(0, 90_000)))
              yield* settled(lifecycle.delete(id, { deadlineMs: 60_000 }))
              assert.strictEqual((yield* viewOf(id)).project.state, "deleted")
              assert.strictEqual((yield* settled(Effect.flip(wake(id)))).reason._tag, "NotFound")
              yield* settled(Fiber.await(other))
              yield* (yield* FakeMachines).clearFaults
              yield* TestClock.adjust("1 minute")
              yield* rest
              yield* rest
              yield* atRest
              const rows = yield* (yield* Machines).ofProject(id)
              assert.isTrue(rows.every((row) => row.status === "gone"))
              assert.isTrue(machine === null || rows.some((row) => row.name === machine.name))
            }).pipe(
              Effect.provide(
                layerTestPlane({
                  config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }),
                  fly: { params: { delays: realisticDelays } }
                })
              )
            )
          }
        }).pipe(Random.withSeed(name)),
      60_000
    )
  }
})
