/** What a server writes: read at once whatever happens to it, kept in a bounded log, and its last lines in memory. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import * as Stream from "effect/Stream"
import * as LogFile from "../../process/LogFile.ts"
import * as Tail from "./Tail.ts"

/** Of a log and of the older one beside it, each. */
const limitBytes = 10 * 1024 * 1024

type Bytes = Stream.Stream<Uint8Array, PlatformError.PlatformError>

/** Reads until the streams or the scope end. `pathOf` tells the log of a name. */
export const make = Effect.fnUntraced(function* (
  streams: ReadonlyArray<Bytes>,
  pathOf: (name: string) => string,
  firstName: string
) {
  const fs = yield* FileSystem.FileSystem
  const tail = Tail.make()
  const openLog = (name: string) =>
    Effect.map(
      LogFile.append(pathOf(name), limitBytes).pipe(Effect.provideService(FileSystem.FileSystem, fs)),
      (append) => ({ name, append })
    )
  let log = yield* openLog(firstName)
  let failing = false
  let next = Deferred.makeUnsafe<void>()
  const tell = () => {
    const told = next
    next = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(told, Effect.void)
  }

  // A log that can't be written must not stop its server, which would block as soon as the pipe is full.
  const write = (chunk: Uint8Array) =>
    log.append(chunk).pipe(
      Effect.provideService(FileSystem.FileSystem, fs),
      Effect.matchEffect({
        onSuccess: () => Effect.sync(() => (failing = false)),
        onFailure: (error) =>
          failing
            ? Effect.void
            : Effect.andThen(
                Effect.sync(() => (failing = true)),
                Effect.logWarning(`The log of ${log.name} can't be written: ${error.message}`)
              )
      })
    )

  const ended = yield* Deferred.make<void>()
  yield* Effect.forEach(
    streams,
    (stream) => {
      const keep = tail.writer()
      return Stream.runForEach(stream, (chunk) =>
        Effect.andThen(
          Effect.sync(() => {
            keep(chunk)
            tell()
          }),
          write(chunk)
        )
      )
    },
    { concurrency: "unbounded", discard: true }
  ).pipe(
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logWarning(`Output of ${log.name} is lost`, cause)
    ),
    Effect.ensuring(Deferred.succeed(ended, undefined)),
    Effect.forkScoped
  )
  return {
    lines: Effect.sync(() => tail.read()),
    /** What this gives completes once anything more was read. */
    written: Effect.sync(() => Deferred.await(next)),
    /** Everything that was written is read. */
    ended: Deferred.await(ended),
    rename: (name: string) =>
      Effect.map(openLog(name), (next) => {
        log = next
      })
  }
})
