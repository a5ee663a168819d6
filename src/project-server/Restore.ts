/**
 * An archive becomes the database of a volume that never held a project: downloaded beside it, compared with what the
 * ledger says, examined, renamed. A crash at any moment leaves no database or a complete one.
 */
import * as Effect from "effect/Effect"
import type * as Protocol from "../contract/MachineProtocol.ts"
import { reached } from "./CrashPoint.ts"
import * as DatabaseWork from "./DatabaseWork.ts"
import * as Disk from "./Disk.ts"
import type { Progress } from "./LongCall.ts"
import * as ObjectTransfer from "./ObjectTransfer.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import { RestoreFailed } from "./ProtocolFailure.ts"

export const temporaryPath = (databasePath: string): string => `${databasePath}.restoring`

export const run = Effect.fn("Restore.run")(
  function* (archive: NonNullable<Protocol.ConfigureRequest["restore"]>, progress: Progress) {
    const { databasePath, stallMs } = yield* ProjectServerConfig
    const temporary = temporaryPath(databasePath)
    progress.phase = "restoring"
    yield* reached("download-begun")
    yield* ObjectTransfer.download(
      archive.download_url,
      temporary,
      { size: archive.size, sha256: archive.r2_checksum },
      stallMs,
      (bytes) => {
        progress.bytes = bytes
      }
    )
    yield* reached("download-complete")
    yield* DatabaseWork.checkIntegrity(temporary)
    // What an earlier attempt renamed and could not record; it was never served.
    yield* Disk.removeDatabase(databasePath)
    yield* Disk.renameDurably(temporary, databasePath)
    yield* reached("database-renamed")
  },
  (restoring) =>
    Effect.onError(restoring, () =>
      Effect.flatMap(ProjectServerConfig, ({ databasePath }) =>
        Effect.ignore(Disk.removeDatabase(temporaryPath(databasePath)))
      )
    ),
  Effect.mapError((error) => new RestoreFailed({ detail: error.message }))
)
