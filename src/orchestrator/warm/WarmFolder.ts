/**
 * A warm server's own folder, `<data-dir>/.valet/warm/<name>`, and how what it calls DATA_DIR becomes a project's folder.
 *
 * DATA_DIR is a link, first to an empty folder of its own. The claim points it to the project's folder with one rename,
 * so that whatever the server writes by that name from then on is the project's, the database and anything beside it: a
 * server that keeps uploads in DATA_DIR loses none. One that resolved the link before it was told its project would
 * write where nobody looks; therefore the empty folder is removed at the claim, which fails where something is in it,
 * and lets such a server fail where it writes later.
 *
 * What a server notes of its own configuration belongs in VALET_STATE_DIR, a real folder here that goes with the server.
 * In the project's folder such a note would outlive the claim: a server without the machine protocol would read it at
 * its next start there, and refuse a folder that was copied or renamed since.
 */
import { rmdirSync } from "node:fs"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as PlatformError from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import { codeOf } from "../../project-server/Disk.ts"
import { stateFileName } from "../../project-server/StateFile.ts"
import { OrchestratorFolder } from "../OrchestratorFolder.ts"
import { ClaimFailed } from "./WarmClaim.ts"

export interface WarmFolder {
  readonly dataDir: string
  readonly stateDir: string
  /** From here on `dataDir` is that folder. Once. */
  assign(projectFolder: string): Effect.Effect<void, ClaimFailed>
}

export class WarmFolders extends Context.Service<
  WarmFolders,
  {
    /** Made anew; removed when the scope closes, and what its link points to is not touched. */
    make(name: string): Effect.Effect<WarmFolder, PlatformError.PlatformError, Scope.Scope>
    /**
     * A folder that was a machine's volume says in its state file whose it is and whether it may be served. Only a server
     * that reads it at its start may have it.
     */
    holdsState(projectFolder: string): Effect.Effect<boolean>
  }
>()("valet/WarmFolders") {
  static readonly layer = Layer.effect(
    WarmFolders,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* OrchestratorFolder
      /** Recursive removal unlinks what is a link and never follows it. */
      const remove = (path: string) =>
        Effect.catch(fs.remove(path, { recursive: true, force: true }), (error) =>
          Effect.logWarning(`a warm server's folder is left: ${error.message}`)
        )

      // What an orchestrator that was killed left. Its servers are gone: the folder's lock comes with that.
      yield* remove(folder.own(parentName))

      return WarmFolders.of({
        make: Effect.fnUntraced(function* (name) {
          const path = folder.own(parentName, name)
          yield* Effect.acquireRelease(Effect.andThen(remove(path), fs.makeDirectory(path, { recursive: true })), () =>
            remove(path)
          )
          yield* fs.makeDirectory(`${path}/${emptyName}`)
          yield* fs.makeDirectory(`${path}/${stateName}`)
          yield* fs.symlink(`${path}/${emptyName}`, `${path}/${dataName}`)
          return {
            dataDir: `${path}/${dataName}`,
            stateDir: `${path}/${stateName}`,
            assign: (projectFolder) =>
              fs.symlink(projectFolder, `${path}/${nextName}`).pipe(
                Effect.andThen(fs.rename(`${path}/${nextName}`, `${path}/${dataName}`)),
                Effect.mapError(
                  (error) => new ClaimFailed({ detail: `its folder can't be made the project's: ${error.message}` })
                ),
                Effect.andThen(removeEmpty(`${path}/${emptyName}`))
              )
          }
        }),
        holdsState: (projectFolder) =>
          // Unknown counts as yes: it is launched as any other.
          Effect.orElseSucceed(fs.exists(`${projectFolder}/${stateFileName}`), () => true)
      })
    })
  )
}

const parentName = "warm"
const dataName = "data"
/** Of the link until it replaces the other one. */
const nextName = "next"
const emptyName = "unassigned"
const stateName = "state"

const removeEmpty = (path: string) =>
  Effect.try({
    try: () => rmdirSync(path),
    catch: (cause) =>
      new ClaimFailed({
        detail:
          codeOf(cause) === "ENOTEMPTY"
            ? "it writes to DATA_DIR before it is told its project, and can't be kept warm"
            : `its empty folder can't be removed (${codeOf(cause)})`
      })
  })
