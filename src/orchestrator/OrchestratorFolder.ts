/** `<data-dir>/.valet`: the lock, the admin token, the marks of running children, their logs. */
import { getuid } from "node:process"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as FolderLock from "../process/FolderLock.ts"
import * as MarkFolder from "../process/MarkFolder.ts"
import type { ProcessMark } from "../process/ProcessMark.ts"
import * as AdminToken from "./folders/AdminToken.ts"
import * as Predecessor from "./folders/Predecessor.ts"
import { look } from "./folders/SafeFile.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"

export class OrchestratorFolderError extends Schema.TaggedError<OrchestratorFolderError>()("OrchestratorFolderError", {
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

/** In the environment of every child: which folder's orchestrator it belongs to. */
const markName = "VALET_ORCHESTRATOR"

const broken = (cause: { readonly message: string }) => new OrchestratorFolderError({ detail: cause.message })

/** The orchestrator's own folder: no other user's, and nobody else reads it. */
const ownFolder = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(path, { mode: 0o700 }).pipe(
    Effect.catchIf(
      (error) => error.reason._tag === "AlreadyExists",
      () => Effect.void
    )
  )
  const { kind, mode, uid } = yield* look(path)
  if (kind === "link") {
    return yield* new OrchestratorFolderError({
      detail: `${path} is a symbolic link: remove it, or choose another --data-dir`
    })
  }
  if (kind !== "folder") return yield* new OrchestratorFolderError({ detail: `${path} is not a folder` })
  if (getuid !== undefined && uid !== getuid()) {
    return yield* new OrchestratorFolderError({
      detail: `${path} belongs to another user (${uid}): run the orchestrator as that user, or choose another --data-dir`
    })
  }
  if ((mode & 0o077) !== 0) yield* fs.chmod(path, 0o700)
})

const make = Effect.gen(function* () {
  const config = yield* OrchestratorConfig
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path

  yield* fs.makeDirectory(config.dataDir, { recursive: true, mode: 0o700 }).pipe(
    Effect.mapError(
      ({ reason }) =>
        new OrchestratorFolderError({
          detail: `${config.dataDir} can't be the data folder (${reason._tag}): choose another --data-dir`
        })
    )
  )
  const root = yield* fs.realPath(config.dataDir)
  const own = (...parts: ReadonlyArray<string>) => path.join(root, ".valet", ...parts)
  for (const folder of [own(), own("logs"), own("run")]) yield* ownFolder(folder)

  yield* FolderLock.hold(own("run", "lock")).pipe(
    Effect.catchTag("FolderInUse", ({ holder }) =>
      Effect.fail(
        new OrchestratorFolderError({
          detail: `${root} is in use by an orchestrator, ${holder}: stop it, or choose another --data-dir (of a folder that is only a copy of one in use, remove .valet/run)`
        })
      )
    )
  )

  const children = yield* MarkFolder.make(own("run", "children"))
  // Of the folder itself, so that a copy of it, or another orchestrator's, is another.
  const { dev, ino } = yield* fs.stat(root)
  const childMark = `${dev}:${Option.getOrElse(ino, () => root)}`
  const left = yield* Predecessor.endChildren(children, `${markName}=${childMark}`, config.stopGraceMs)
  if (left.length > 0) {
    return yield* new OrchestratorFolderError({
      detail:
        `processes of an orchestrator that was killed can't be ended (${left.join(", ")}); ` +
        "with them running, two servers could open one database: end them, or restart the system"
    })
  }

  const adminToken = yield* config.adminToken === null
    ? AdminToken.keep(own("admin-token"))
    : AdminToken.given(config.adminToken)

  return OrchestratorFolder.of({
    root,
    own,
    adminToken,
    childEnvironment: { [markName]: childMark },
    noteChild: (mark) => Effect.mapError(children.add(mark), broken),
    forgetChild: (mark) =>
      children.remove(mark).pipe(
        Effect.tapError((error) => Effect.logWarning(`The mark of process ${mark.pid} stays: ${error.message}`)),
        Effect.ignore
      )
  })
}).pipe(
  Effect.catchTags({
    PlatformError: (error) => Effect.fail(broken(error)),
    UnsafeFile: (error) => Effect.fail(broken(error))
  })
)

export class OrchestratorFolder extends Context.Service<
  OrchestratorFolder,
  {
    /** The data folder, absolute, links followed. */
    readonly root: string
    /** A path in `<data-dir>/.valet`. */
    own(...parts: ReadonlyArray<string>): string
    readonly adminToken: Redacted.Redacted
    /** Every child has it, so that the next orchestrator knows whose it was. */
    readonly childEnvironment: Readonly<Record<string, string>>
    /** Written down before its program runs; found and ended by the next orchestrator if this one is killed. */
    noteChild(mark: ProcessMark): Effect.Effect<void, OrchestratorFolderError>
    forgetChild(mark: ProcessMark): Effect.Effect<void>
  }
>()("valet/OrchestratorFolder") {
  /**
   * Makes the folder, takes its lock and ends what an orchestrator that was killed left running. Fails where another
   * orchestrator has it, where `.valet` can't be trusted, and where a leftover can't be ended.
   */
  static readonly layer = Layer.effect(OrchestratorFolder, make)
}
