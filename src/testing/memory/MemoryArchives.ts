/** `Archives` over the shared in-memory database. A row that is gone is dropped: nothing asks for it again. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { ArchiveRow } from "../../domain/Archive.ts"
import { isAbandonedUpload } from "../../domain/transitions/Archive.ts"
import { reached } from "../../domain/transitions/Rows.ts"
import { Archives } from "../../services/db/Archives.ts"
import { MemoryDatabase } from "./MemoryDatabase.ts"
import { runner } from "./StoreFaults.ts"

const byExpiry = (a: ArchiveRow, b: ArchiveRow): number =>
  a.urlExpiresAt - b.urlExpiresAt || (a.r2Key < b.r2Key ? -1 : 1)

export const layerArchives = Layer.effect(
  Archives,
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const { tables } = database
    const run = yield* runner(database)
    const select = (matches: (row: ArchiveRow) => boolean) =>
      [...tables.archives.values()].filter(matches).toSorted(byExpiry)

    return Archives.of({
      current: (projectUid) =>
        run("currentArchive", () =>
          Option.fromNullishOr(tables.archivesOf(projectUid).find((row) => row.status === "current"))
        ),
      discardAbandoned: (limit) =>
        run("discardAbandonedArchives", () => {
          const abandoned = select((row) => isAbandonedUpload(row, tables.projects.get(row.projectId) ?? null)).slice(
            0,
            limit
          )
          for (const row of abandoned) tables.putArchive({ ...row, status: "discarded" })
          return abandoned.length
        }),
      bin: ({ limit, marginMs }) =>
        run("archiveBin", (now) =>
          select(
            (row) =>
              row.status === "discarded" && reached(row.urlExpiresAt + marginMs, now) && reached(row.nextAttemptAt, now)
          ).slice(0, limit)
        ),
      noteFailure: (r2Key, error, retryAfterMs) =>
        run("noteArchiveFailure", (now) => {
          const row = tables.archives.get(r2Key)
          if (row === undefined) return
          tables.putArchive({ ...row, attempts: row.attempts + 1, nextAttemptAt: now + retryAfterMs, lastError: error })
        }),
      markGone: (r2Key) =>
        run("markArchiveGone", () => {
          const row = tables.archives.get(r2Key)
          if (row?.status !== "discarded") return false
          tables.forgetArchive(row)
          return true
        }),
      living: run("livingArchives", () => select(() => true))
    })
  })
)
