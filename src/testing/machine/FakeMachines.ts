/**
 * Project servers in memory behind `MachineClient`, with the faults that a machine, its network and its disk can have.
 * What a server acknowledged is on its volume: it outlives the machine, and goes with the volume.
 *
 * Deterministic: time is the Clock's, and chance is whatever the installed fault function makes of it. Calls are made by
 * the same retries and polls as over HTTP.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Keys } from "../../services/Keys.ts"
import { Failure, interpret } from "../../services/machine/MachineAnswer.ts"
import { machineClient, type Send } from "../../services/machine/MachineCalls.ts"
import { MachineClient, Unreachable } from "../../services/machine/MachineClient.ts"
import { Link } from "../Link.ts"
import { MemoryR2 } from "../MemoryR2.ts"
import {
  emptyVolume,
  freshMemory,
  type Memory,
  respond,
  type Response,
  type Server,
  type Volume
} from "./FakeServer.ts"

/** A machine as its host has it. */
export interface Host {
  readonly volumeId: string
  /** Only a started machine answers. */
  readonly running: boolean
  /** Another one after every boot, the same after a resume. */
  readonly bootId: string
  /** Its VALET_INTERNAL_SECRET. */
  readonly secret: string
}

export type HostOf = (machineId: string) => Effect.Effect<Host | null>

export interface Fault {
  /** Before the call arrives. */
  readonly latencyMs?: number
  /** `unreachable`: it does not arrive. `unreachable_after`: it is done and its answer lost. */
  readonly outcome?: "unreachable" | "unreachable_after" | "seal_fails" | "restore_fails"
  /** The call arrives twice, at once. */
  readonly duplicate?: boolean
  /** A copy arrives so much later, when nobody waits for its answer any more. */
  readonly lateMs?: number
}

/** Asked once for every request (retries and polls are requests too); `{}` lets it through. */
export type FaultFor = (call: string, machineId: string) => Effect.Effect<Fault>

/** What a client at the machine gets. */
export type ClientAnswer =
  /** `value` of the document that was read or written, null where there is none. */
  | { readonly _tag: "Acknowledged"; readonly projectUid: string; readonly value: string | null }
  /** Sealed, unconfigured or not this project's: back to the router. */
  | { readonly _tag: "SentBack"; readonly routerApp: string | null }
  | { readonly _tag: "Silent" }

export interface ClientRequest {
  readonly machineId: string
  /** As Host or path name it. */
  readonly projectId: string
  readonly document: string
  /** Absent: read. */
  readonly write?: string
}

/** Milliseconds since the epoch, and of silence. */
export interface Quiet {
  readonly since: number
  readonly timeoutMs: number
}

/** What a volume holds, for tests to look at. */
export type VolumeView = Readonly<Omit<Volume, "documents">> & { readonly documents: ReadonlyMap<string, string> }

export class FakeMachines extends Context.Service<
  FakeMachines,
  {
    /** Where machines come from; without it, those of `boot`. */
    setHosts(hostOf: HostOf): Effect.Effect<void>
    /** Starts a machine with this volume (again). */
    boot(machineId: string, host: Pick<Host, "volumeId" | "secret">): Effect.Effect<void>
    /** Its memory is lost, its volume stays. */
    stop(machineId: string): Effect.Effect<void>
    setFaults(faultFor: FaultFor): Effect.Effect<void>
    readonly clearFaults: Effect.Effect<void>

    /** A request that reached the machine through the edge. */
    request(request: ClientRequest): Effect.Effect<ClientAnswer>
    /** Counts as a connection until the scope closes, the machine stops or its server is sealed. */
    connect(machineId: string, projectId: string): Effect.Effect<ClientAnswer, never, Scope.Scope>
    /** Since when its server idles, and for how long it does until it suspends itself; null while it may not. */
    quiet(machineId: string, defaultTimeoutSeconds: number): Effect.Effect<Quiet | null>
    /** Machines whose servers would suspend themselves now, given the plane's default idle timeout. */
    idle(defaultTimeoutSeconds: number): Effect.Effect<ReadonlyArray<string>>

    /** One request of a plane, with its faults. */
    readonly send: Send
    /** One HTTP request of the protocol, bearer included, as a server that speaks HTTP passes it on. */
    handle(machineId: string, path: string, bearer: string | null, body: unknown): Effect.Effect<Response | null>

    volume(volumeId: string): Effect.Effect<VolumeView | null>
    /** As Fly forks: what the source holds at this moment. */
    forkVolume(from: string, to: string): Effect.Effect<void>
    destroyVolume(volumeId: string): Effect.Effect<void>
  }
>()("valet/FakeMachines") {}

const make = Effect.gen(function* () {
  const r2 = yield* MemoryR2
  const scope = yield* Effect.scope
  const booted = new Map<string, Host>()
  const volumes = new Map<string, Volume>()
  const memories = new Map<string, Memory>()
  let boots = 0
  const builtIn: HostOf = (machineId) => Effect.sync(() => booted.get(machineId) ?? null)
  let hostOf = builtIn
  const none: FaultFor = () => Effect.succeed({})
  let faultFor = none

  const volumeOf = (volumeId: string): Volume => {
    const volume = volumes.get(volumeId) ?? emptyVolume()
    volumes.set(volumeId, volume)
    return volume
  }

  /** The server of a running machine, null where nothing listens. */
  const serverOf = Effect.fnUntraced(function* (machineId: string, fault: Fault = {}) {
    const host = yield* Effect.suspend(() => hostOf(machineId))
    if (host === null || !host.running) return null
    const known = memories.get(machineId)
    const memory = known?.bootId === host.bootId ? known : freshMemory(host.bootId, yield* Clock.currentTimeMillis)
    memories.set(machineId, memory)
    const server: Server = {
      volume: volumeOf(host.volumeId),
      memory,
      r2,
      alive: Effect.map(
        Effect.suspend(() => hostOf(machineId)),
        (now) => now !== null && now.running && now.bootId === host.bootId
      ),
      fork: (work) => Effect.asVoid(Effect.forkIn(logged(work), scope)),
      sealFails: fault.outcome === "seal_fails",
      restoreFails: fault.outcome === "restore_fails"
    }
    return { server, secret: host.secret }
  })

  const logged = (work: Effect.Effect<void>) =>
    Effect.catchCause(work, (cause) => Effect.logError("a fake machine's work failed", cause))

  const answer = Effect.fnUntraced(function* (
    machineId: string,
    path: string,
    bearer: string | null,
    body: unknown,
    fault: Fault
  ): Effect.fn.Return<Response | null> {
    const found = yield* serverOf(machineId, fault)
    if (found === null) return null
    if (path !== "/health" && bearer !== found.secret) return { status: 401, body: {} }
    const response = yield* respond(found.server, path, body)
    return (yield* found.server.alive) ? response : null
  })

  const send: Send = Effect.fnUntraced(function* ({ call, target, secret, body, timeoutMs }) {
    const machineId = target.machineId
    const unreachable = (detail: string, retry: Failure["retry"]) => new Failure(new Unreachable({ detail }), retry)
    if (machineId === null) return yield* Effect.fail(unreachable("it has no id yet", "no"))
    const fault = yield* Effect.suspend(() => faultFor(call.name, machineId))
    const deliver = answer(machineId, call.path, Redacted.value(secret), body, fault)
    const { lateMs } = fault
    if (lateMs !== undefined) {
      yield* Effect.forkIn(logged(Effect.asVoid(Effect.andThen(Effect.sleep(lateMs), deliver))), scope)
    }
    const exchange = Effect.gen(function* () {
      if (fault.latencyMs !== undefined) yield* Effect.sleep(fault.latencyMs)
      if (fault.outcome === "unreachable") return yield* Effect.fail(unreachable("injected", "boot"))
      const [response] = yield* Effect.all(fault.duplicate === true ? [deliver, deliver] : [deliver], {
        concurrency: "unbounded"
      })
      if (response === undefined || response === null) return yield* Effect.fail(unreachable("ENOTFOUND", "boot"))
      if (fault.outcome === "unreachable_after") return yield* Effect.fail(unreachable("injected", "again"))
      return yield* interpret(call, response.status, JSON.stringify(response.body))
    })
    return yield* Effect.timeoutOrElse(exchange, {
      duration: timeoutMs,
      orElse: () => Effect.fail(unreachable(`silent for ${timeoutMs} ms`, "again"))
    })
  })

  /** The server, if it is open to clients of this project. */
  const admitted = Effect.fnUntraced(function* (machineId: string, projectId: string) {
    const found = yield* serverOf(machineId)
    if (found === null) return { refusal: { _tag: "Silent" } satisfies ClientAnswer } as const
    const { volume, memory } = found.server
    if (volume.project?.id !== projectId || !volume.ready || volume.sealedBy !== null) {
      return { refusal: { _tag: "SentBack", routerApp: volume.routerApp } satisfies ClientAnswer } as const
    }
    memory.lastServedAt = yield* Clock.currentTimeMillis
    return { volume, memory, projectUid: volume.project.uid, refusal: null } as const
  })

  const quiet = Effect.fnUntraced(function* (
    machineId: string,
    defaultTimeoutSeconds: number
  ): Effect.fn.Return<Quiet | null> {
    const found = yield* serverOf(machineId)
    if (found === null) return null
    const { volume, memory } = found.server
    const moving = memory.transfer !== null && !Deferred.isDoneUnsafe(memory.transfer.done)
    const occupied = memory.connections.size > 0 || memory.internalCalls > 0 || moving
    if (!volume.ready || volume.sealedBy !== null || occupied) return null
    return {
      since: Math.max(memory.awakeSince, memory.lastServedAt ?? 0),
      timeoutMs: (volume.idleTimeoutSeconds ?? defaultTimeoutSeconds) * 1_000
    }
  })

  const fakes = FakeMachines.of({
    setHosts: (next) => Effect.sync(() => void (hostOf = next)),
    boot: (machineId, host) =>
      Effect.sync(() => {
        boots += 1
        booted.set(machineId, { ...host, running: true, bootId: `boot-${boots}` })
      }),
    stop: (machineId) =>
      Effect.sync(() => {
        const host = booted.get(machineId)
        if (host !== undefined) booted.set(machineId, { ...host, running: false })
      }),
    setFaults: (next) => Effect.sync(() => void (faultFor = next)),
    clearFaults: Effect.sync(() => void (faultFor = none)),

    request: Effect.fnUntraced(function* ({ machineId, projectId, document, write }) {
      const server = yield* admitted(machineId, projectId)
      if (server.refusal !== null) return server.refusal
      if (write !== undefined) server.volume.documents.set(document, write)
      const value = server.volume.documents.get(document) ?? null
      return { _tag: "Acknowledged", projectUid: server.projectUid, value }
    }),
    connect: Effect.fnUntraced(function* (machineId, projectId) {
      const server = yield* admitted(machineId, projectId)
      if (server.refusal !== null) return server.refusal
      const { memory } = server
      const connection = {}
      memory.connections.add(connection)
      yield* Effect.addFinalizer(() =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          if (memory.connections.delete(connection)) memory.lastServedAt = now
        })
      )
      return { _tag: "Acknowledged", projectUid: server.projectUid, value: null }
    }),
    quiet,
    idle: Effect.fnUntraced(function* (defaultTimeoutSeconds) {
      const now = yield* Clock.currentTimeMillis
      const isIdle = (machineId: string) =>
        Effect.map(quiet(machineId, defaultTimeoutSeconds), (it) => it !== null && now - it.since >= it.timeoutMs)
      return yield* Effect.filter([...memories.keys()], isIdle)
    }),

    send,
    handle: (machineId, path, bearer, body) =>
      Effect.gen(function* () {
        const fault = yield* Effect.suspend(() => faultFor(path, machineId))
        return yield* answer(machineId, path, bearer, body, fault)
      }),

    volume: (volumeId) =>
      Effect.sync(() => {
        const volume = volumes.get(volumeId)
        return volume === undefined ? null : { ...volume, documents: new Map(volume.documents) }
      }),
    forkVolume: (from, to) =>
      Effect.sync(() => {
        const source = volumeOf(from)
        volumes.set(to, { ...source, documents: new Map(source.documents) })
      }),
    destroyVolume: (volumeId) => Effect.sync(() => void volumes.delete(volumeId))
  })

  return Context.make(FakeMachines, fakes).pipe(Context.add(MachineClient, machineClient(send, yield* Keys)))
})

export const layerFakeMachines: Layer.Layer<FakeMachines | MachineClient, never, MemoryR2 | Keys> =
  Layer.effectContext(make)

/** The machines as one more plane calls them, over its own link. */
export const layerMachineClient: Layer.Layer<MachineClient, never, FakeMachines | Keys> = Layer.effect(
  MachineClient,
  Effect.gen(function* () {
    const { send } = yield* FakeMachines
    const link = yield* Link
    return machineClient((request) => link("machine", request.call.name)(send(request)), yield* Keys)
  })
)
