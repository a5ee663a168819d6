/**
 * Files whose fate matters. What these functions have done survives a crash: data is fsynced before its name, and the
 * name with its folder. They are synchronous, so that no step of theirs can be interrupted halfway.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

export class DiskError extends Schema.TaggedError<DiskError>()("DiskError", {
  operation: Schema.String,
  /** `ENOSPC`, `EIO`, … */
  code: Schema.String
}) {
  override get message() {
    return this.code === "ENOSPC" ? "the disk is full" : `${this.operation} failed (${this.code})`
  }
}

/** The code of a system error, without its message: that names paths. */
export const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "unknown"

export const attempt = <A>(operation: string, run: () => A): Effect.Effect<A, DiskError> =>
  Effect.try({ try: run, catch: (cause) => new DiskError({ operation, code: codeOf(cause) }) })

const sync = (path: string): void => {
  const descriptor = Fs.openSync(path, "r")
  try {
    Fs.fsyncSync(descriptor)
  } finally {
    Fs.closeSync(descriptor)
  }
}

export const syncFolderOf = (path: string) => attempt("syncing a folder", () => sync(Path.dirname(path)))

export const syncFile = (path: string) => attempt("syncing a file", () => sync(path))

/** Replaces `path` as a whole. */
export const writeDurably = (path: string, text: string) =>
  attempt("writing a file", () => {
    const temporary = `${path}.tmp`
    const descriptor = Fs.openSync(temporary, "w", 0o600)
    try {
      Fs.writeFileSync(descriptor, text)
      Fs.fsyncSync(descriptor)
    } finally {
      Fs.closeSync(descriptor)
    }
    Fs.renameSync(temporary, path)
    sync(Path.dirname(path))
  })

/** The file is complete and fsynced already. */
export const renameDurably = (from: string, to: string) =>
  attempt("renaming a file", () => {
    Fs.renameSync(from, to)
    sync(Path.dirname(to))
  })

/** A database and what SQLite keeps beside it. */
export const databaseFiles = (path: string): ReadonlyArray<string> => [
  path,
  `${path}-wal`,
  `${path}-shm`,
  `${path}-journal`
]

export const removeDatabase = (path: string) =>
  attempt("removing files", () => {
    for (const file of databaseFiles(path)) Fs.rmSync(file, { force: true })
    sync(Path.dirname(path))
  })

export const databasePresent = (path: string): boolean =>
  Fs.existsSync(path) || Fs.existsSync(`${path}-wal`) || Fs.existsSync(`${path}-journal`)
