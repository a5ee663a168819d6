/**
 * The machine protocol's calls. Decisions are `MachineState`'s; this module makes them durable before they have an
 * effect, one at a time, and brings what runs (database, gate, long calls) in line with what is recorded.
 *
 * A newer call first records its generation, which fences the older one that still runs, and then stops it. An older
 * one's last step compares the generation again, so it makes no difference how far it had come.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import type * as Protocol from "../contract/MachineProtocol.ts"
import * as Archive from "./Archive.ts"
import type { Connections } from "./Connections.ts"
import { reached } from "./CrashPoint.ts"
import * as Disk from "./Disk.ts"
import { DocumentStore, type DatabaseError } from "./DocumentStore.ts"
import { Gate } from "./Gate.ts"
import * as LongCall from "./LongCall.ts"
import * as MachineState from "./MachineState.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import { ArchiveFailed, Busy, RestoreFailed, Stale, type ProtocolFailure } from "./ProtocolFailure.ts"
import * as Restore from "./Restore.ts"
import { Serving, type NotServed } from "./Serving.ts"
import { StateFile } from "./StateFile.ts"

type Archived = LongCall.LongCall<Protocol.ArchiveResponse, Stale | Busy | ArchiveFailed>
type Configured = LongCall.LongCall<Protocol.ConfigureResponse, Stale | RestoreFailed>

export class Control extends Context.Service<
  Control,
  {
    configure(
      request: Protocol.ConfigureRequest
    ): Effect.Effect<Protocol.ConfigureResponse, ProtocolFailure | Disk.DiskError>
    archive(request: Protocol.ArchiveRequest): Effect.Effect<Protocol.ArchiveResponse, ProtocolFailure | Disk.DiskError>
    unseal(
      request: Protocol.UnsealRequest
    ): Effect.Effect<void, ProtocolFailure | Disk.DiskError | DatabaseError | NotServed>
    settings(request: Protocol.SettingsRequest): Effect.Effect<void, ProtocolFailure | Disk.DiskError>
    /** A long call runs. */
    readonly working: () => boolean
  }
>()("valet/Control") {
  static readonly layer = Layer.effect(
    Control,
    Effect.gen(function* () {
      const config = yield* ProjectServerConfig
      const file = yield* StateFile
      const gate = yield* Gate
      const serving = yield* Serving
      const store = yield* DocumentStore
      const scope = yield* Effect.scope
      const provided = Effect.provide(yield* Effect.context<Gate | DocumentStore | Connections | ProjectServerConfig>())
      const one = yield* Semaphore.make(1)
      const exclusively = one.withPermits(1)
      let archiving: Archived | undefined
      let configuring: Configured | undefined
      const running = (call: { readonly isDone: () => boolean } | undefined) => call !== undefined && !call.isDone()

      const stale = Effect.suspend(() => Effect.fail(new Stale({ newestGeneration: file.current().newest_generation })))
      const record = (next: MachineState.MachineState) =>
        Effect.andThen(file.write(next), reached("generation-recorded"))

      /** Calls that have ended, or that a newer generation has fenced; not while holding the lock, which they need. */
      const stopOlder = (generation: number) =>
        Effect.forEach([archiving, configuring], (call) =>
          call !== undefined && call.generation < generation ? call.stop : Effect.void
        )

      /** What runs follows what is recorded. */
      const settle = exclusively(serving.follow)

      const makeReady = (generation: number, restoredBytes: number) =>
        exclusively(
          Effect.gen(function* () {
            const next = MachineState.ready(file.current(), generation, restoredBytes)
            if (next === undefined) return yield* stale
            yield* serving.prepare
            yield* file.write(next)
            yield* reached("ready-recorded")
            yield* serving.follow
            return { ready: true, restored_bytes: restoredBytes }
          })
        ).pipe(
          Effect.catchTag(["DiskError", "DatabaseError", "NotServed"], (error) =>
            Effect.fail(new RestoreFailed({ detail: error.message }))
          ),
          // An open database would be served in place of one that a later attempt renames over it.
          Effect.onError(() =>
            exclusively(Effect.ignore(MachineState.serves(file.current()) ? Effect.void : store.close))
          ),
          Effect.uninterruptible
        )

      const prepare = (request: Protocol.ConfigureRequest) => (progress: LongCall.Progress) =>
        Effect.gen(function* () {
          if (request.restore !== undefined) yield* Restore.run(request.restore, progress)
          return yield* makeReady(request.generation, request.restore?.size ?? 0)
        }).pipe(provided)

      const configure = Effect.fn("Control.configure")(function* (request: Protocol.ConfigureRequest) {
        const { generation } = request
        const decision = yield* exclusively(
          Effect.gen(function* () {
            const decision = MachineState.configure(file.current(), Disk.databasePresent(config.databasePath), request)
            const running = configuring !== undefined && configuring.generation === generation
            if ("next" in decision && !running) yield* record(decision.next)
            return decision
          })
        )
        switch (decision._tag) {
          case "Stale":
            return yield* stale
          case "Refused":
            return yield* new RestoreFailed({ detail: decision.detail })
          case "Serve":
          case "Done":
            yield* stopOlder(generation)
            yield* Effect.mapError(settle, (error) => new RestoreFailed({ detail: error.message }))
            return { ready: true, restored_bytes: file.current().restored_bytes }
        }
        yield* stopOlder(generation)
        const { call, begun } = yield* exclusively(
          Effect.gen(function* () {
            if (configuring?.generation === generation) return { call: configuring, begun: false }
            if (file.current().newest_generation !== generation) return yield* stale
            const key = `configure of generation ${generation}`
            configuring = yield* LongCall.start(key, generation, scope, stale, prepare(request))
            return { call: configuring, begun: true }
          })
        )
        return yield* awaitCall(call, begun, () => {
          if (configuring === call) configuring = undefined
        })
      })

      /** A success is kept for those who ask again; a failure is told once, and then the call may begin anew. */
      const awaitCall = <A, E>(call: LongCall.LongCall<A, E>, begun: boolean, forget: () => void) =>
        call.result(begun ? config.longCallMs : 0).pipe(
          Effect.onError(() =>
            Effect.sync(() => {
              if (call.isDone()) forget()
            })
          )
        )

      const refusedAsBusy = (request: Protocol.ArchiveRequest): Busy | undefined => {
        if (request.force === true) return undefined
        const idle = gate.idleSeconds()
        const connections = gate.connections()
        return idle === null || (idle >= request.idle_window_seconds && connections + gate.inFlight() === 0)
          ? undefined
          : new Busy({ connections, idleSeconds: idle })
      }

      const recordSeal = (generation: number) =>
        exclusively(
          Effect.gen(function* () {
            const next = MachineState.seal(file.current(), generation)
            if (next === undefined) return yield* stale
            yield* file.write(next)
          })
        ).pipe(Effect.catchTag("DiskError", (error) => Effect.fail(new ArchiveFailed({ detail: error.message }))))

      const giveUpSeal = (generation: number) =>
        exclusively(
          Effect.gen(function* () {
            if (serving.isStopping()) return
            const next = MachineState.giveUpSeal(file.current(), generation)
            if (next !== undefined) yield* file.write(next)
            yield* serving.follow
          })
        ).pipe(Effect.catch((error) => Effect.logError(`serving again after an archive: ${error.message}`)))

      /**
       * A call gives up the seal that it made itself. One that it found may be an archive's that is committed by now: this
       * call came late, or twice, and only an unseal ends it.
       */
      const seal = (request: Protocol.ArchiveRequest, alreadySealed: boolean) => (progress: LongCall.Progress) =>
        Archive.run(request, alreadySealed, recordSeal(request.generation), progress).pipe(
          Effect.onError(() => (alreadySealed ? Effect.void : giveUpSeal(request.generation))),
          provided
        )

      const decideArchive = (request: Protocol.ArchiveRequest) =>
        Effect.gen(function* () {
          const decision = MachineState.archive(file.current(), request)
          if (decision._tag === "Stale") return yield* stale
          if (decision._tag === "Refused") return yield* new ArchiveFailed({ detail: decision.detail })
          return decision
        })

      const archive = Effect.fn("Control.archive")(function* (request: Protocol.ArchiveRequest) {
        const { generation } = request
        const key = `archive ${request.r2_key} of generation ${generation}`
        const older = (call: { readonly generation: number } | undefined) =>
          call !== undefined && call.generation < generation
        yield* exclusively(
          Effect.gen(function* () {
            const decision = yield* decideArchive(request)
            if (older(archiving) && running(archiving)) yield* record(decision.next)
          })
        )
        yield* stopOlder(generation)
        const { call, begun } = yield* exclusively(
          Effect.gen(function* () {
            const decision = yield* decideArchive(request)
            if (archiving?.generation === generation) {
              return archiving.key === key ? { call: archiving, begun: false } : yield* stale
            }
            const sealed = decision._tag === "Upload"
            const busy = sealed ? undefined : refusedAsBusy(request)
            if (busy !== undefined) return yield* busy
            gate.shut()
            yield* record(decision.next).pipe(Effect.onError(() => Effect.ignore(serving.follow)))
            archiving = yield* LongCall.start(key, generation, scope, stale, seal(request, sealed))
            return { call: archiving, begun: true }
          })
        )
        return yield* awaitCall(call, begun, () => {
          if (archiving === call) archiving = undefined
        })
      })

      const unseal = Effect.fn("Control.unseal")(function* (request: Protocol.UnsealRequest) {
        yield* exclusively(
          Effect.gen(function* () {
            const decision = MachineState.unseal(file.current(), request)
            if (decision._tag === "Stale") return yield* stale
            if (decision._tag === "Open") yield* record(decision.next)
          })
        )
        yield* archiving === undefined ? Effect.void : archiving.stop
        yield* settle
      })

      const settings = Effect.fn("Control.settings")(function* (request: Protocol.SettingsRequest) {
        yield* exclusively(
          Effect.gen(function* () {
            const decision = MachineState.settings(file.current(), request)
            if (decision._tag === "Stale") return yield* stale
            yield* record(decision.next)
          })
        )
      })

      return Control.of({
        configure,
        archive,
        unseal,
        settings,
        working: () => running(archiving) || running(configuring)
      })
    })
  )
}
