/**
 * Every lifecycle operation is cut at every step, and has every step done twice. Afterwards, once leases have expired
 * and the reconcilers have run, everything is at rest: no operation, no leftover row, Fly holds what the ledger says,
 * the bucket what the archive ledger says, and the project answers with all that it acknowledged.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as TestClock from "effect/testing/TestClock"
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { StepHook } from "../../src/programs/lifecycle/Steps.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, lose, newProject, rest, settled } from "./support.ts"

type Treatment = "cut" | "cut_after" | "twice"

/** Applies the treatment once, at the first run of that step, and takes note of every step that ran. */
const hook = (target: { readonly step: string; readonly treatment: Treatment } | null) =>
  Effect.gen(function* () {
    const seen = yield* Ref.make<ReadonlyArray<string>>([])
    let spent = false
    const around =
      (operation: string, step: string) =>
      <A, E, R>(run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
        Effect.gen(function* () {
          const name = `${operation}.${step}`
          yield* Ref.update(seen, (all) => [...all, name])
          if (target === null || spent || target.step !== name) return yield* run
          spent = true
          if (target.treatment === "cut") return yield* Effect.interrupt
          const first = yield* run
          return target.treatment === "twice" ? yield* run : yield* Effect.as(Effect.interrupt, first)
        })
    return { around, seen, spent: () => spent }
  })

interface Scenario {
  readonly name: string
  readonly steps: ReadonlyArray<string>
  readonly prepare: Effect.Effect<ProjectId, unknown, Services>
  readonly run: (id: ProjectId) => Effect.Effect<unknown, unknown, Services>
}
type Services = Layer.Success<ReturnType<typeof layerTestPlane>>

const awake = Effect.gen(function* () {
  const id = yield* newProject
  return id
})
const asleep = Effect.gen(function* () {
  const id = yield* newProject
  yield* settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.sleep(id, "dormant")))
  return id
})
const wake = (id: ProjectId) => Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.wake(id, { deadlineMs: 120_000 }))
const bringUpSteps = (operation: string) =>
  ["configure", "provision", "configure_cold", "commit"].map((step) => `${operation}.${step}`)

const scenarios: ReadonlyArray<Scenario> = [
  {
    name: "a warm wake",
    steps: bringUpSteps("wake"),
    prepare: Effect.tap(asleep, () => settled(replenishPool)),
    run: wake
  },
  { name: "a cold wake", steps: bringUpSteps("wake"), prepare: asleep, run: wake },
  {
    name: "an archive",
    steps: ["start", "record", "upload", "verify", "commit"].map((step) => `archive.${step}`),
    prepare: awake,
    run: (id) => archive(id, { force: true })
  },
  {
    name: "a rehost",
    steps: ["clear", "make", "configure", "commit"].map((step) => `rehost.${step}`),
    prepare: Effect.gen(function* () {
      const id = yield* newProject
      const view = Option.getOrThrow(yield* (yield* Projects).find(id))
      yield* lose(view.machine?.machineId ?? "", "machine")
      return id
    }),
    run: (id) =>
      Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.heal(id, "replay_failed", { deadlineMs: 10 * 60_000 }))
  }
]

const tried = (scenario: Scenario, target: { readonly step: string; readonly treatment: Treatment } | null) =>
  Effect.gen(function* () {
    const { around, seen, spent } = yield* hook(target)
    return yield* Effect.gen(function* () {
      const servers = yield* FakeMachines
      const projects = yield* Projects
      const id = yield* scenario.prepare
      const exit = yield* settled(Effect.exit(scenario.run(id).pipe(Effect.provideService(StepHook, around))))
      if (target !== null) assert.isTrue(spent(), `${target.step} never ran: ${(yield* Ref.get(seen)).join(" ")}`)
      if (target === null || target.treatment === "twice") {
        assert.isTrue(Exit.isSuccess(exit), Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")
      }
      yield* rest
      yield* atRest
      const woken = yield* settled(wake(id))
      const read = yield* servers.request({
        machineId: woken.view.machine?.machineId ?? "",
        projectId: id,
        document: "kept"
      })
      assert.strictEqual(read._tag === "Acknowledged" ? read.value : read._tag, "precious")
      yield* rest
      yield* atRest
      assert.strictEqual(Option.getOrThrow(yield* projects.find(id)).project.operation, "none")
      return yield* Ref.get(seen)
    }).pipe(
      Effect.provide(
        layerTestPlane({ config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }) })
      )
    )
  }).pipe(Random.withSeed(`${scenario.name} ${target?.step ?? ""} ${target?.treatment ?? ""}`))

for (const scenario of scenarios) {
  describe(`${scenario.name}`, () => {
    it.effect("runs undisturbed through its table of steps", () =>
      Effect.gen(function* () {
        const seen = yield* tried(scenario, null)
        const first = seen.filter((step) => scenario.steps.includes(step)).slice(0, scenario.steps.length)
        assert.deepStrictEqual(first, [...scenario.steps])
        yield* TestClock.adjust(0)
      })
    )
    it.effect.each(
      scenario.steps.flatMap((step) =>
        (["cut", "cut_after", "twice"] as const).map((treatment) => ({ step, treatment }))
      )
    )("$step $treatment", (target) => Effect.asVoid(tried(scenario, target)))
  })
}
