/**
 * A whole control plane in memory, for tests and for embedders' tests: memory stores, Fly as one pure model, memory R2,
 * project servers that hold documents, and the real programs. Time is the Clock's (give it a TestClock), chance is
 * Random's and the seed's, so that the same seed gives the same run.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type { PlaneConfigValue } from "../config/PlaneConfig.ts"
import { PlaneConfig } from "../config/PlaneConfig.ts"
import { defaultCreateWindows } from "../domain/RateLimit.ts"
import { FlyWorld } from "../local/fly/FlyWorld.ts"
import type { HostAction } from "../local/fly/model/FlyState.ts"
import { Signals } from "../programs/background/Signals.ts"
import { Identity } from "../programs/Identity.ts"
import { layerLifecycle } from "../programs/lifecycle/LifecycleLive.ts"
import type { Archives } from "../services/db/Archives.ts"
import type { Machines } from "../services/db/Machines.ts"
import type { Plane } from "../services/db/Plane.ts"
import type { Projects } from "../services/db/Projects.ts"
import { layerKeys } from "../services/KeysLive.ts"
import type { Locks } from "../services/locks/Locks.ts"
import * as FlyMemory from "./fly/FlyMemory.ts"
import type { Host } from "./machine/FakeMachines.ts"
import { FakeMachines, layerFakeMachines } from "./machine/FakeMachines.ts"
import { layerMemoryStores } from "./memory/MemoryStores.ts"
import * as MemoryR2 from "./MemoryR2.ts"

/** The documents' defaults, in one region, with secrets that protect nothing. */
export const testConfig: PlaneConfigValue = {
  port: 7000,
  host: "127.0.0.1",
  secret: Redacted.make("test-control-plane-secret-0123456789"),
  secretPrevious: null,
  internalSecret: Redacted.make("test-internal-secret-0123456789abcdef"),
  internalSecretsPrevious: [],
  database: { url: Redacted.make("memory:"), directUrl: Redacted.make("memory:") },
  fly: {
    apiUrl: "memory:",
    token: Redacted.make("test-fly-token"),
    app: FlyMemory.defaultApp,
    region: "sjc",
    regions: ["sjc"],
    vmSize: "shared-cpu-1x",
    vmMemoryMb: 256,
    image: "registry.example/project:1",
    volumeGb: 1,
    maxMachines: 1_000,
    machineUrl: "http://{machine_id}.vm.{app}.internal:3000",
    idleSuspend: "self"
  },
  r2: { endpoint: "memory:", accessKeyId: "test", secretAccessKey: Redacted.make("test"), bucket: "valet-dormant" },
  pool: { size: 2, intervalMs: 30_000 },
  dormancy: { thresholdMs: 7 * 24 * 60 * 60_000, sweepIntervalMs: 60 * 60_000 },
  router: {
    domain: "fly.valet.host",
    app: "valet-router",
    wakeTimeoutMs: 25_000,
    replayTimeoutMs: 10_000,
    replayFallback: "prefer_self",
    noWake: null,
    publicUrl: null
  },
  create: { windows: defaultCreateWindows, public: true },
  onFly: false
}

/** Bytes from Random: secure enough for a test, and the same for the same seed. */
export const layerSeededRandom: Layer.Layer<SecureRandom.SecureRandom> = Layer.effect(
  SecureRandom.SecureRandom,
  Effect.map(Random.Random, (random) =>
    SecureRandom.make((size) => Uint8Array.from({ length: size }, () => Math.floor(random.nextDoubleUnsafe() * 256)))
  )
)

/** A machine of the modelled Fly as the fake servers' host: started machines answer, a boot forgets memory. */
export const layerHosts = Layer.effectDiscard(
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const machines = yield* FakeMachines
    yield* machines.setHosts((machineId) =>
      Effect.map(world.state, (state): Host | null => {
        const machine = state.machines[machineId]
        const volumeId = machine?.config.mounts?.[0]?.volume
        if (machine === undefined || volumeId === undefined) return null
        return {
          volumeId,
          running: machine.state === "started" && !state.unreachableHosts.includes(machine.host),
          bootId: `${machine.id}-${machine.run}`,
          secret: machine.config.env?.["VALET_INTERNAL_SECRET"] ?? ""
        }
      })
    )
  })
)

/** What a volume holds follows it into its forks and snapshots. */
export const copyVolumes =
  (machines: FakeMachines["Service"]) =>
  (action: HostAction): Effect.Effect<void> => {
    switch (action._tag) {
      case "VolumeCreated":
        return action.from === null
          ? Effect.void
          : machines.forkVolume("volume" in action.from ? action.from.volume : action.from.snapshot, action.volumeId)
      case "SnapshotTaken":
        return machines.forkVolume(action.volumeId, action.snapshotId)
      case "VolumeGone":
        return machines.destroyVolume(action.volumeId)
      case "SnapshotGone":
        return machines.destroyVolume(action.snapshotId)
      default:
        return Effect.void
    }
  }

export interface TestPlaneOptions {
  readonly config?: (defaults: PlaneConfigValue) => PlaneConfigValue
  readonly fly?: FlyMemory.MemoryOptions
  /** Memory stores by default; a test of the live ones gives its own. */
  readonly stores?: Layer.Layer<Projects | Machines | Archives | Plane | Locks>
}

/** The services beneath the programs. */
export const layerTestServices = (options: TestPlaneOptions = {}) => {
  const config = Layer.succeed(PlaneConfig, options.config?.(testConfig) ?? testConfig)
  const base = Layer.mergeAll(layerKeys, options.stores ?? layerMemoryStores, MemoryR2.layer).pipe(
    Layer.provideMerge(Layer.mergeAll(config, layerSeededRandom))
  )
  const layerFly = Layer.unwrap(
    Effect.map(FakeMachines, (machines) => FlyMemory.layer({ seed: 1, host: copyVolumes(machines), ...options.fly }))
  )
  return layerHosts.pipe(Layer.provideMerge(layerFly), Layer.provideMerge(layerFakeMachines), Layer.provideMerge(base))
}

/** Everything but the loops: a test runs their passes itself, or adds `layerLoops`. */
export const layerTestPlane = (options: TestPlaneOptions = {}) =>
  layerLifecycle.pipe(
    Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer)),
    Layer.provideMerge(layerTestServices(options))
  )
