/** The contract's subject on machines in memory, and what both of its runs need. */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { fromEnvironment } from "../../../src/config/Environment.ts"
import { PlaneConfig } from "../../../src/config/PlaneConfig.ts"
import { MachineName } from "../../../src/domain/Machine.ts"
import { Keys } from "../../../src/services/Keys.ts"
import { layerKeys } from "../../../src/services/KeysLive.ts"
import { FakeMachines, type ClientAnswer } from "../../../src/testing/machine/FakeMachines.ts"
import { MemoryR2 } from "../../../src/testing/MemoryR2.ts"
import { Subject } from "./contract.ts"

export const configured = (environment: Record<string, string>): Layer.Layer<PlaneConfig> =>
  Layer.effect(PlaneConfig, Effect.orDie(fromEnvironment)).pipe(
    Layer.provide(
      ConfigProvider.layer(
        ConfigProvider.fromEnvRecord({
          DATABASE_URL: "postgres://nowhere",
          CONTROL_PLANE_SECRET: "s".repeat(32),
          VALET_FLY_TOKEN: "t",
          VALET_FLY_APP: "projects",
          VALET_FLY_IMAGE: "i",
          ...environment
        })
      )
    )
  )

export const layerTestKeys = (config: Layer.Layer<PlaneConfig>): Layer.Layer<Keys> =>
  layerKeys.pipe(Layer.provide([config, SecureRandom.layerWebCrypto]))

let machines = 0

/** Boots a machine in the fakes that knows its secret. */
export const bootMachine = Effect.gen(function* () {
  const fakes = yield* FakeMachines
  const keys = yield* Keys
  machines += 1
  const machineId = `m${machines}`
  const name = MachineName.make(`v1${machineId}`)
  const secret = Redacted.value(yield* Effect.orDie(keys.machineSecret(name, keys.currentKeyId)))
  yield* fakes.boot(machineId, { volumeId: `vol-${machineId}`, secret })
  return { name, machineId, privateIp: null, keyId: keys.currentKeyId }
})

const value = (answer: ClientAnswer): string | null => (answer._tag === "Acknowledged" ? (answer.value ?? "") : null)

export const layerFakeSubject = Layer.effect(
  Subject,
  Effect.gen(function* () {
    const fakes = yield* FakeMachines
    const keys = yield* Keys
    const r2 = yield* MemoryR2
    const id = (machineId: string | null) => machineId ?? ""
    return Subject.of({
      machine: bootMachine.pipe(Effect.provideService(FakeMachines, fakes), Effect.provideService(Keys, keys)),
      restart: ({ machineId, name, keyId }) =>
        Effect.gen(function* () {
          const secret = Redacted.value(yield* Effect.orDie(keys.machineSecret(name, keyId)))
          yield* fakes.stop(id(machineId))
          yield* fakes.boot(id(machineId), { volumeId: `vol-${machineId}`, secret })
        }),
      write: ({ machineId }, projectId, document, write) =>
        Effect.map(fakes.request({ machineId: id(machineId), projectId, document, write }), (answer) =>
          value(answer) === null ? null : true
        ),
      read: ({ machineId }, projectId, document) =>
        Effect.map(fakes.request({ machineId: id(machineId), projectId, document }), value),
      connect: ({ machineId }, projectId) => Effect.asVoid(fakes.connect(id(machineId), projectId)),
      corrupt: (key) => r2.corrupt(key)
    })
  })
)
