/**
 * The database's way to the object store: brought to rest, examined, sealed, uploaded. Whoever calls it decides before
 * that it may begin, and serves again after it failed.
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import { closeCodes } from "../contract/Documents.ts"
import type * as Protocol from "../contract/MachineProtocol.ts"
import { Connections } from "./Connections.ts"
import { reached } from "./CrashPoint.ts"
import * as DatabaseWork from "./DatabaseWork.ts"
import { DocumentStore } from "./DocumentStore.ts"
import { Gate } from "./Gate.ts"
import type { Progress } from "./LongCall.ts"
import * as ObjectTransfer from "./ObjectTransfer.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import { ArchiveFailed, Busy, type Stale } from "./ProtocolFailure.ts"

/** What was admitted before the gate was shut has this long to finish; after it the store refuses the rest. */
const drainWithin = "5 seconds"

const asArchiveFailed = Effect.mapError(
  (error: { readonly message: string }) => new ArchiveFailed({ detail: error.message })
)

/** Nothing is written and nothing is read any more, and the database is one file. */
const bringToRest = Effect.gen(function* () {
  const gate = yield* Gate
  const store = yield* DocumentStore
  const { databasePath } = yield* ProjectServerConfig
  gate.shut()
  yield* (yield* Connections).closeAll(closeCodes.goingAway, "the project goes to sleep")
  yield* Effect.timeoutOption(gate.empty, drainWithin)
  const empty = yield* asArchiveFailed(store.close)
  const log = Fs.statSync(`${databasePath}-wal`, { throwIfNoEntry: false })
  if (!empty || (log !== undefined && log.size > 0)) {
    return yield* new Busy({ connections: gate.connections(), idleSeconds: 0 })
  }
})

/** `recordSeal` is durable when it returns. */
export const run = Effect.fn("Archive.run")(function* (
  request: Protocol.ArchiveRequest,
  alreadySealed: boolean,
  recordSeal: Effect.Effect<void, Stale | ArchiveFailed>,
  progress: Progress
) {
  const { databasePath, stallMs } = yield* ProjectServerConfig
  progress.phase = "sealing"
  if (!alreadySealed) yield* bringToRest
  yield* reached("database-closed")
  progress.phase = "checking"
  yield* asArchiveFailed(DatabaseWork.checkIntegrity(databasePath))
  const { size, sha256 } = yield* asArchiveFailed(ObjectTransfer.digest(databasePath))
  if (!alreadySealed) yield* recordSeal
  yield* reached("seal-recorded")
  progress.phase = "uploading"
  yield* asArchiveFailed(
    ObjectTransfer.upload(
      { url: request.upload_url, headers: request.headers },
      { path: databasePath, size },
      alreadySealed,
      stallMs,
      (bytes) => {
        progress.bytes = bytes
      }
    )
  )
  yield* reached("uploaded")
  return { r2_key: request.r2_key, r2_checksum: sha256, size }
})
