/**
 * One process at a time for a folder.
 *
 * Whoever wants it first leaves a mark and then looks whether another living process has one. So of two that start at
 * once at least one is refused, maybe both; a lock file that is replaced when it looks stale could be taken by both.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as MarkFolder from "./MarkFolder.ts"
import { hasEnded, markOf } from "./ProcessMark.ts"

export class FolderInUse extends Schema.TaggedError<FolderInUse>()("FolderInUse", { pid: Schema.Int }) {
  override get message() {
    return `in use by process ${this.pid}`
  }
}

/** For a holder that was just killed, or is about to end: its last thread may outlive the signal for a moment. */
const patienceMs = 2_000

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
  for (const mark of (yield* marks.list).marks) {
    if (mark.pid === own.pid && mark.startedAt === own.startedAt) continue
    if (!(yield* hasEnded(mark, patienceMs))) return yield* new FolderInUse({ pid: mark.pid })
    yield* marks.remove(mark)
  }
})
