/**
 * Fly, the project servers and the object store as the plane of a bench sees them: every machine runs, every archive is
 * what it should be, and each call takes as long as OUTSIDE_LATENCY says.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Fly, type FlyMachine } from "../../src/services/fly/Fly.ts"
import { MachineClient } from "../../src/services/machine/MachineClient.ts"
import { R2 } from "../../src/services/r2/R2.ts"

/** Milliseconds: `real` as over a private network and to public APIs. */
const latencies = {
  none: { fly: 0, machine: 0, store: 0 },
  real: { fly: 150, machine: 5, store: 50 }
} as const

const started = (id: string): FlyMachine => ({
  id,
  name: id,
  state: "started",
  region: "sjc",
  instanceId: id,
  privateIp: null,
  hostStatus: "ok",
  image: null,
  volumeId: null,
  metadata: {},
  createdAt: 0
})

const object = { size: 65_536, sha256: "ab".repeat(32) }

export const layerOutside = Layer.unwrap(
  Effect.gen(function* () {
    const latency =
      latencies[yield* Config.Literals(["none", "real"], "OUTSIDE_LATENCY").pipe(Config.withDefault("none"))]
    const after = <A>(ms: number, value: A) =>
      ms === 0 ? Effect.succeed(value) : Effect.delay(Effect.succeed(value), ms)
    return Layer.mergeAll(
      Layer.mock(Fly)({ getMachine: (id) => after(latency.fly, started(id)) }),
      Layer.mock(MachineClient)({
        archiveToR2: (_target, { r2_key }) =>
          after(latency.machine, { r2_key, r2_checksum: object.sha256, size: object.size })
      }),
      Layer.mock(R2)({
        presignPut: (key) => Effect.succeed({ url: `http://127.0.0.1/${key}`, headers: {}, expiresAt: 0 }),
        checksum: () => after(latency.store, object)
      })
    )
  })
)
