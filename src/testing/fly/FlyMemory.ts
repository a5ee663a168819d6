/**
 * `Fly` in memory, over the same model as the local Fly's HTTP server and with the live client's reading of Fly's
 * answers. By default it retries nothing: each fault reaches the caller as the reason that the live client would give at
 * last. `layerPolicy` keeps to Fly's budget and repeats as the live client does.
 *
 * Tests reach into the world behind it through `FlyWorld`: faults, calls counted, lost hosts, time.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { FlyWorld, layer as layerWorld } from "../../local/fly/FlyWorld.ts"
import type { WorldOptions } from "../../local/fly/FlyWorld.ts"
import { createApp } from "../../local/fly/model/Apps.ts"
import type { Op } from "../../local/fly/model/Draft.ts"
import type { FlyState, Machine, Snapshot, Volume } from "../../local/fly/model/FlyState.ts"
import { listMachines, lookForState } from "../../local/fly/model/MachineList.ts"
import * as Machines from "../../local/fly/model/Machines.ts"
import { changeMetadata, getMetadata } from "../../local/fly/model/Metadata.ts"
import type { Call, Operation } from "../../local/fly/model/Operations.ts"
import type { Refusal } from "../../local/fly/model/Refusal.ts"
import { listSnapshots } from "../../local/fly/model/Snapshots.ts"
import * as Volumes from "../../local/fly/model/Volumes.ts"
import type { CreateMachine, FlyMachine, FlySnapshot, FlyVolume } from "../../services/fly/Fly.ts"
import { Fly } from "../../services/fly/Fly.ts"
import type { Effects } from "../../services/fly/FlyAnswer.ts"
import { reasonOf, reasonOfTransport } from "../../services/fly/FlyAnswer.ts"
import { FlyError, WaitTimeout } from "../../services/fly/FlyError.ts"
import { actionRate, type FlyBudget, getMachineRate } from "../../services/fly/FlyBudget.ts"
import * as FlyPolicy from "../../services/fly/FlyPolicy.ts"
import { Link } from "../Link.ts"

export const defaultApp = "valet-projects"

const hostStatus = (state: FlyState, host: string) =>
  state.unreachableHosts.includes(host) ? ("unreachable" as const) : ("ok" as const)

const machineOf = (state: FlyState, machine: Machine): FlyMachine => ({
  id: machine.id,
  name: machine.name,
  state: machine.state,
  region: machine.region,
  instanceId: machine.instanceId,
  privateIp: machine.privateIp,
  hostStatus: hostStatus(state, machine.host),
  image: machine.config.image,
  volumeId: machine.config.mounts?.[0]?.volume ?? null,
  metadata: machine.config.metadata ?? {},
  createdAt: machine.createdAt
})

const volumeOf = (state: FlyState, volume: Volume): FlyVolume => ({
  id: volume.id,
  name: volume.name,
  state: volume.state,
  region: volume.region,
  sizeGb: volume.sizeGb,
  attachedMachineId: volume.machineId,
  hostStatus: hostStatus(state, volume.host),
  createdAt: volume.createdAt
})

const snapshotOf = (snapshot: Snapshot): FlySnapshot => ({
  id: snapshot.id,
  createdAt: snapshot.createdAt,
  sizeBytes: 0
})

/** The client's limit of one attempt: latencies beyond it end as an unknown outcome. */
const attemptMs = 30_000
/** Of all attempts of one call. */
const wholeMs = 60_000

/** Makes one call, of `send` once or more often. */
type Made = (
  call: Pick<FlyPolicy.Policy, "operation" | "effects" | "identifier">
) => <A>(send: Effect.Effect<A, FlyError>) => Effect.Effect<A, FlyError>

const once: Made =
  ({ effects, operation }) =>
  (send) =>
    Effect.timeoutOrElse(send, {
      duration: attemptMs,
      orElse: () => Effect.fail(new FlyError({ operation, reason: reasonOfTransport("ETIMEDOUT", effects) }))
    })

const asTheLiveClient = Effect.map(FlyPolicy.make, (policed): Made => (call) => (send) => {
  const rate = call.operation === "getMachine" ? getMachineRate : actionRate
  return Effect.flatMap(FlyPolicy.limitsOf({ attemptMs, wholeMs }), (limits) =>
    policed({ ...call, ...limits, rate }, send)
  )
})

const make = Effect.fnUntraced(function* (app: string, made: Made) {
  const world = yield* FlyWorld
  const link = yield* Link

  const errorOf = (operation: string, effects: Effects, bound: boolean, refused: Refusal) =>
    new FlyError({
      operation,
      reason: reasonOf(
        {
          status: refused.status,
          text: refused.message,
          code: refused.code ?? "",
          retryAfterMs: refused.retryAfterSeconds === undefined ? null : refused.retryAfterSeconds * 1_000,
          effects,
          bound
        },
        `${refused.status} ${refused.message}`
      )
    })

  interface Shape<A> {
    readonly effects: Effects
    readonly bound?: boolean
    readonly empty?: A
  }

  const call = <A>(
    operation: Operation,
    about: Omit<Call, "operation" | "app">,
    op: Op<A>,
    { effects, bound = false, empty }: Shape<A>
  ): Effect.Effect<A, FlyError> =>
    world.call({ operation, app, ...about }, op, empty === undefined ? {} : { empty }).pipe(
      link("fly", operation),
      Effect.mapError((failed) =>
        failed._tag === "Refusal"
          ? errorOf(operation, effects, bound, failed)
          : new FlyError({ operation, reason: reasonOfTransport("ECONNRESET", effects) })
      ),
      made({ operation, effects, identifier: about.target ?? app })
    )

  const goneIsDone = (effect: Effect.Effect<void, FlyError>) =>
    Effect.catchIf(
      effect,
      ({ reason }) => reason._tag === "NotFound",
      () => Effect.void
    )

  const withState = <A, B>(effect: Effect.Effect<A, FlyError>, map: (state: FlyState, a: A) => B) =>
    Effect.flatMap(effect, (a) => Effect.map(world.state, (state) => map(state, a)))

  const waitForState = Effect.fnUntraced(function* (
    id: string,
    wanted: "started" | "stopped" | "suspended" | "destroyed",
    timeoutMs: number
  ) {
    const instanceId =
      wanted === "stopped"
        ? (yield* call("getMachine", { target: id }, Machines.getMachine(app, id), read)).instanceId
        : ""
    const look = lookForState(app, id, { states: [wanted], ...(instanceId === "" ? {} : { instanceId }) })
    const reached = yield* call("waitMachine", { target: id }, look, { effects: "wait" }).pipe(
      Effect.filterOrElse(
        (machine) => machine !== null,
        () =>
          world.awaitAnswer(look, timeoutMs).pipe(
            link("fly", "waitMachine"),
            Effect.mapError((it) => errorOf("waitMachine", "wait", false, it))
          )
      ),
      Effect.map((machine) => machine !== null),
      Effect.catchIf(
        ({ reason }) => reason._tag === "NotFound" && wanted === "destroyed",
        () => Effect.succeed(true)
      )
    )
    if (reached) return
    const reason = new WaitTimeout({ detail: `not ${wanted} within ${timeoutMs} ms` })
    return yield* new FlyError({ operation: "waitMachine", reason })
  })

  /** Exactly once, as the live client's: what has the name already is taken, if it is what was asked for. */
  const adopted = (input: CreateMachine) => (error: FlyError) => {
    const { reason } = error
    if (reason._tag !== "Conflict" || reason.existingId === null) return Effect.fail(error)
    return call("getMachine", { target: reason.existingId }, Machines.getMachine(app, reason.existingId), read).pipe(
      Effect.filterOrFail(
        ({ name, config }) => name === input.name && config.mounts?.[0]?.volume === input.config.mounts[0]?.volume,
        () => error
      )
    )
  }

  const read = { effects: "read" } as const
  const repeatable = { effects: "repeatable", bound: true } as const

  return Fly.of({
    createVolume: (input) =>
      withState(
        call(
          "createVolume",
          { name: input.name, region: input.region },
          Volumes.createVolume(app, {
            name: input.name,
            region: input.region,
            sizeGb: input.sizeGb,
            requireUniqueZone: false,
            ...(input.sourceVolumeId === undefined ? {} : { sourceVolumeId: input.sourceVolumeId }),
            ...(input.snapshotId === undefined ? {} : { snapshotId: input.snapshotId })
          }),
          { effects: "once" }
        ),
        volumeOf
      ),
    deleteVolume: (id) =>
      goneIsDone(Effect.asVoid(call("deleteVolume", { target: id }, Volumes.deleteVolume(app, id), repeatable))),
    getVolume: (id) => withState(call("getVolume", { target: id }, Volumes.getVolume(app, id), read), volumeOf),
    listVolumes: withState(
      call("listVolumes", {}, Volumes.listVolumes(app), { effects: "read", empty: [] }),
      (state, volumes) => volumes.filter((it) => it.state !== "pending_destroy").map((it) => volumeOf(state, it))
    ),
    listSnapshots: (id) =>
      Effect.map(
        call("listSnapshots", { target: id }, listSnapshots(app, id), { effects: "read", empty: [] }),
        (snapshots) => snapshots.map(snapshotOf)
      ),
    createMachine: (input) =>
      withState(
        call(
          "createMachine",
          { name: input.name, region: input.region },
          Machines.createMachine(app, {
            name: input.name,
            region: input.region,
            config: input.config,
            ...(input.skipLaunch === undefined ? {} : { skipLaunch: input.skipLaunch })
          }),
          { effects: "once", bound: input.config.mounts.length > 0 }
        ).pipe(Effect.catch(adopted(input))),
        machineOf
      ),
    updateMachine: (id, config) =>
      withState(
        call("updateMachine", { target: id }, Machines.updateMachine(app, id, { config }), {
          effects: "once",
          bound: true
        }),
        machineOf
      ),
    deleteMachine: (id) =>
      goneIsDone(call("deleteMachine", { target: id }, Machines.deleteMachine(app, id, undefined, true), repeatable)),
    getMachine: (id) => withState(call("getMachine", { target: id }, Machines.getMachine(app, id), read), machineOf),
    listMachines: withState(
      call("listMachines", {}, listMachines(app), { effects: "read", empty: [] }),
      (state, machines) => machines.map((it) => machineOf(state, it))
    ),
    startMachine: (id) =>
      Effect.asVoid(call("startMachine", { target: id }, Machines.startMachine(app, id, undefined), repeatable)),
    stopMachine: (id) => call("stopMachine", { target: id }, Machines.stopMachine(app, id, undefined), repeatable),
    suspendMachine: (id) =>
      call("suspendMachine", { target: id }, Machines.suspendMachine(app, id, undefined), repeatable),
    waitForMachine: (id, timeoutMs) => waitForState(id, "started", timeoutMs),
    waitForState,
    getMetadata: (id) => call("getMetadata", { target: id }, getMetadata(app, id), read),
    setMetadata: (id, key, value) =>
      call("setMetadata", { target: id }, changeMetadata(app, id, { set: { [key]: value } }), repeatable)
  })
})

const client = (app: string, made: Made) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const state = yield* world.state
    if (state.apps[app] === undefined) {
      yield* Effect.orDie(world.apply(createApp({ name: app, org: "personal" })))
    }
    return yield* make(app, made)
  })

/** A view of the world as one more client: several instances of a plane share one Fly. */
export const layerNoDeps = (app = defaultApp): Layer.Layer<Fly, never, FlyWorld> => Layer.effect(Fly, client(app, once))

/** Likewise, and as polite and as patient as the live client. */
export const layerPolicy = (app = defaultApp): Layer.Layer<Fly, never, FlyWorld | FlyBudget> =>
  Layer.effect(
    Fly,
    Effect.flatMap(asTheLiveClient, (made) => client(app, made))
  )

export interface MemoryOptions extends WorldOptions {
  readonly app?: string
}

export const layer = ({ app, ...options }: MemoryOptions = {}): Layer.Layer<Fly | FlyWorld> =>
  layerNoDeps(app).pipe(Layer.provideMerge(layerWorld(options)))
