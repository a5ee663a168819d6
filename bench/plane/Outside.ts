/** Fly, the project servers and the object store, answering at once: every machine runs, every archive is what it should be. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Fly, type FlyMachine } from "../../src/services/fly/Fly.ts"
import { MachineClient } from "../../src/services/machine/MachineClient.ts"
import { R2 } from "../../src/services/r2/R2.ts"

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

export const layerInstantOutside = Layer.mergeAll(
  Layer.mock(Fly)({
    getMachine: (id) => Effect.succeed(started(id))
  }),
  Layer.mock(MachineClient)({
    archiveToR2: (_target, { r2_key }) => Effect.succeed({ r2_key, r2_checksum: object.sha256, size: object.size })
  }),
  Layer.mock(R2)({
    presignPut: (key) => Effect.succeed({ url: `http://127.0.0.1/${key}`, headers: {}, expiresAt: 0 }),
    checksum: () => Effect.succeed(object)
  })
)
