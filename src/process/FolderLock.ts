/**
 * One process at a time for a folder.
 *
 * Whoever wants it first leaves a mark and then looks whether another living process has one. So of two that start at
 * once at least one is refused, maybe both; a lock file that is replaced when it looks stale could be taken by both.
 *
 * A mark tells who has it, but in another container its process can't be seen, and over a network not asked. So the
 * holder also has the system's own lock on a file beside the marks, which ends with its process.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { DatabaseSync } from "node:sqlite"
import * as MarkFolder from "./MarkFolder.ts"
import { hasEnded, markOf } from "./ProcessMark.ts"

/** `pid`: null where its holder is not among the processes that can be seen. */
export class FolderInUse extends Schema.TaggedError<FolderInUse>()("FolderInUse", { pid: Schema.NullOr(Schema.Int) }) {
  override get message() {
    return `in use by ${this.holder}`
  }
  get holder() {
    return this.pid === null ? "a process of another container or computer" : `process ${this.pid}`
  }
}

/** For a holder that was just killed, or is about to end: its last thread may outlive the signal for a moment. */
const patienceMs = 2_000
const lookMs = 50

class Unlocked extends Schema.TaggedError<Unlocked>()("Unlocked", { busy: Schema.Boolean, detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** SQLite's result of a lock that another has. */
const busyCode = 5

/** SQLite locks as Node itself can't: by the system, for the process, on whatever a database may lie on. */
const lock = (path: string) =>
  Effect.try({
    try: () => {
      const file = new DatabaseSync(path)
      try {
        file.exec("BEGIN EXCLUSIVE")
        return file
      } catch (cause) {
        file.close()
        throw cause
      }
    },
    catch: (cause) =>
      new Unlocked({
        busy: cause instanceof Error && "errcode" in cause && cause.errcode === busyCode,
        detail: String(cause)
      })
  })

const held = (path: string) =>
  Effect.acquireRelease(
    lock(path).pipe(
      Effect.retry({
        while: ({ busy }) => busy,
        schedule: Schedule.max([Schedule.spaced(lookMs), Schedule.recurs(patienceMs / lookMs)])
      })
    ),
    (file) => Effect.sync(() => file.close())
  ).pipe(
    Effect.catchIf(
      ({ busy }) => !busy,
      ({ detail }) => Effect.logWarning(`${path} can't be locked, which another container would see: ${detail}`)
    ),
    Effect.mapError(() => new FolderInUse({ pid: null }))
  )

/** Until the scope closes. `folder` is for the marks alone. */
export const hold = Effect.fn("FolderLock.hold")(function* (folder: string) {
  const marks = yield* MarkFolder.make(folder)
  const own = yield* Effect.flatMap(markOf(process.pid), Effect.fromNullishOr).pipe(Effect.orDie)
  yield* Effect.acquireRelease(
    marks.add(own).pipe(
      Effect.catchIf(
        (error) => error.reason._tag === "AlreadyExists",
        () => Effect.fail(new FolderInUse({ pid: own.pid }))
      )
    ),
    () => Effect.ignore(marks.remove(own))
  )
  const others = (yield* marks.list).marks.filter(
    ({ pid, startedAt }) => pid !== own.pid || startedAt !== own.startedAt
  )
  for (const mark of others) {
    if (!(yield* hasEnded(mark, patienceMs))) return yield* new FolderInUse({ pid: mark.pid })
  }
  yield* held(`${folder}.held`)
  yield* Effect.forEach(others, marks.remove, { discard: true })
})
