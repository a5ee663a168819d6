/** The internal secret rotates: what was made and sealed under older ones goes on working. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import { PlaneConfig } from "../../src/config/PlaneConfig.ts"
import { Keys } from "../../src/services/Keys.ts"
import { layerKeys } from "../../src/services/KeysLive.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { layerSeededRandom, layerTestPlane, testConfig } from "../../src/testing/TestPlane.ts"
import { newProject } from "./support.ts"

const rotated = (previous: ReadonlyArray<Redacted.Redacted>) =>
  Layer.fresh(layerKeys).pipe(
    Layer.provide(
      Layer.mergeAll(
        layerSeededRandom,
        Layer.succeed(PlaneConfig, {
          ...testConfig,
          internalSecret: Redacted.make("another-internal-secret-0123456789abcdef"),
          internalSecretsPrevious: previous
        })
      )
    )
  )

it.effect(
  "a plane with the new secret opens a deploy key sealed under the old one, and knows its machine's secret",
  () =>
    Effect.gen(function* () {
      const id = yield* newProject
      const { project, machine } = Option.getOrThrow(yield* (yield* Projects).find(id))
      const old = yield* Keys
      const between = Redacted.make("a-secret-in-between-0123456789abcdef012")
      const now = yield* Effect.provide(Keys, rotated([between, testConfig.internalSecret]))
      assert.notStrictEqual(now.currentKeyId, old.currentKeyId)
      const key = (keys: Keys["Service"]) => Effect.map(keys.open(project.uid, project.deployKey), Redacted.value)
      assert.strictEqual(yield* key(now), yield* key(old))
      const name = machine?.name ?? (yield* Effect.die("no machine"))
      const secret = (keys: Keys["Service"]) =>
        Effect.map(keys.machineSecret(name, machine?.keyId ?? ""), Redacted.value)
      assert.strictEqual(yield* secret(now), yield* secret(old))
      const without = yield* Effect.provide(Keys, rotated([between]))
      assert.strictEqual((yield* Effect.flip(key(without)))._tag, "KeyError")
    }).pipe(
      Effect.provide(
        layerTestPlane({ config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }) })
      ),
      Random.withSeed("rotation")
    )
)
