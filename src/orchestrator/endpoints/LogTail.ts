/**
 * The end of a project's log, read backwards in blocks: a log of a gigabyte costs no more than one of a megabyte. Where
 * the file is young the lines before it are taken from its predecessor, `<name>.1`.
 */
import { constants } from "node:fs"
import { type FileHandle, open } from "node:fs/promises"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

export class LogUnreadable extends Schema.TaggedError<LogUnreadable>()("LogUnreadable", { detail: Schema.String }) {
  override get message() {
    return `the log can't be read: ${this.detail}`
  }
  get retryable() {
    return true
  }
}

const blockBytes = 64 * 1024
const newline = 0x0a

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "unknown error"

const attempt = <A>(promise: () => Promise<A>): Effect.Effect<A, LogUnreadable> =>
  Effect.tryPromise({ try: promise, catch: (error) => new LogUnreadable({ detail: codeOf(error) }) })

interface LogFile {
  readonly handle: FileHandle
  readonly size: number
  readonly inode: number
}

/** Undefined where no plain file of this name is: a link is not followed, a pipe is not waited for. */
const openLog = (path: string): Effect.Effect<LogFile | undefined, LogUnreadable, Scope.Scope> =>
  Effect.gen(function* () {
    const handle = yield* Effect.acquireRelease(
      attempt(() => open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)).pipe(
        Effect.catchIf(
          ({ detail }) => detail === "ENOENT" || detail === "ELOOP" || detail === "ENXIO",
          () => Effect.undefined
        )
      ),
      (handle) => (handle === undefined ? Effect.void : Effect.ignore(attempt(() => handle.close())))
    )
    if (handle === undefined) return undefined
    const stat = yield* attempt(() => handle.stat())
    return stat.isFile() ? { handle, size: stat.size, inode: stat.ino } : undefined
  })

const newlines = (block: Buffer): number => {
  let count = 0
  for (let at = block.indexOf(newline); at !== -1; at = block.indexOf(newline, at + 1)) count++
  return count
}

/** Bytes that can only stand inside a character: what is left of one that the cut went through. */
const withoutHalfCharacter = (bytes: Buffer): Buffer => {
  let at = 0
  while (at < 3 && ((bytes[at] ?? 0) & 0xc0) === 0x80) at++
  return bytes.subarray(at)
}

/** The last lines, each with its newline; undefined where there is no log. `maxBytes` bounds what is read. */
export const tail = (path: string, lines: number, maxBytes: number): Effect.Effect<string | undefined, LogUnreadable> =>
  Effect.gen(function* () {
    const current = yield* openLog(path)
    // Opened second: a rotation in between makes it the same file, and what was before it is gone.
    const previous = yield* openLog(`${path}.1`)
    const files = [current, previous?.inode === current?.inode ? undefined : previous].filter(
      (file) => file !== undefined
    )
    if (files.length === 0) return undefined

    const blocks: Array<Buffer> = []
    let size = 0
    let ends = 0
    let isCut = false
    for (const file of files) {
      let at = file.size
      // The newline before the first line wanted has to be seen too.
      while (at > 0 && ends <= lines && size < maxBytes) {
        const from = Math.max(0, at - Math.min(blockBytes, maxBytes - size))
        const block = Buffer.alloc(at - from)
        const { bytesRead } = yield* attempt(() => file.handle.read(block, 0, block.length, from))
        const read = block.subarray(0, bytesRead)
        blocks.unshift(read)
        size += block.length
        ends += newlines(read)
        at = from
      }
      isCut ||= at > 0
    }
    const bytes = Buffer.concat(blocks)
    const text = (isCut ? withoutHalfCharacter(bytes) : bytes).toString("utf8")
    if (text === "") return ""
    const found = (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n")
    // Cut inside a line: half of one is shown only where there is nothing else.
    const whole = isCut && found.length > 1 ? found.slice(1) : found
    return `${whole.slice(-lines).join("\n")}\n`
  }).pipe(Effect.scoped)
