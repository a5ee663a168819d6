/**
 * Whether this server serves, and whose requests. What is recorded decides; `follow` brings the database and the gate in
 * line with it. Unmanaged, there is no protocol and the environment names the project, but a volume that was sealed
 * stays so.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Disk from "./Disk.ts"
import { DocumentStore, type DatabaseError } from "./DocumentStore.ts"
import { Gate } from "./Gate.ts"
import { serves } from "./MachineState.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import * as Restore from "./Restore.ts"
import { StateFile } from "./StateFile.ts"

/** The volume and the environment contradict each other; nothing is served rather than the wrong thing. */
export class NotServed extends Schema.TaggedError<NotServed>()("NotServed", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

export class Serving extends Context.Service<
  Serving,
  {
    readonly managed: boolean
    readonly projectId: () => string | null
    /** Where a request goes that is not for this server now; null: nowhere known. */
    readonly routerApp: () => string | null
    /** Opens the database; makes an empty one where there is none. */
    readonly prepare: Effect.Effect<void, DatabaseError | Disk.DiskError>
    /** Idempotent. A database that should be there and is not is an error, never made anew. */
    readonly follow: Effect.Effect<void, DatabaseError | Disk.DiskError | NotServed>
    /** From now on nothing is served, whatever is recorded. */
    readonly stop: Effect.Effect<void>
    readonly isStopping: () => boolean
  }
>()("valet/Serving") {
  static readonly layer = Layer.effect(
    Serving,
    Effect.gen(function* () {
      const config = yield* ProjectServerConfig
      const file = yield* StateFile
      const store = yield* DocumentStore
      const gate = yield* Gate
      const managed = config.internalSecret !== null
      const recorded = file.current()
      let stopping = false

      if (!managed && recorded.project !== null && recorded.project !== config.projectId) {
        return yield* new NotServed({ detail: "the volume holds another project than PROJECT_ID" })
      }

      const prepare = Effect.gen(function* () {
        if (store.isOpen()) return
        yield* Disk.attempt("making a folder", () =>
          Fs.mkdirSync(Path.dirname(config.databasePath), { recursive: true })
        )
        const isNew = !Disk.databasePresent(config.databasePath)
        yield* store.open(config.databasePath)
        if (!isNew) return
        yield* Disk.syncFolderOf(config.databasePath)
        // The folder itself may be as new as the database.
        yield* Disk.syncFolderOf(Path.dirname(config.databasePath))
      })

      const follow = Effect.gen(function* () {
        if (stopping) return
        const state = file.current()
        if (!managed && !state.sealed) {
          yield* prepare
        } else if (serves(state)) {
          if (!store.isOpen() && !Disk.databasePresent(config.databasePath)) {
            return yield* new NotServed({ detail: "the project's database is missing" })
          }
          yield* prepare
        } else {
          return gate.shut()
        }
        gate.open()
      })

      yield* Disk.removeDatabase(Restore.temporaryPath(config.databasePath)).pipe(
        Effect.when(Effect.sync(() => Fs.existsSync(Restore.temporaryPath(config.databasePath))))
      )
      yield* follow
      return Serving.of({
        managed,
        projectId: () => (managed ? file.current().project : config.projectId),
        routerApp: () => file.current().router_app ?? config.routerApp,
        prepare,
        follow,
        stop: Effect.sync(() => {
          stopping = true
          gate.shut()
        }),
        isStopping: () => stopping
      })
    })
  )
}
