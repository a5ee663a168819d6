/** Files and folders that somebody else may have put there: links are not followed, and nothing is waited for. */
import { constants } from "node:fs"
import * as Fs from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

export class UnsafeFile extends Schema.TaggedError<UnsafeFile>()("UnsafeFile", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause ? String(cause.code) : String(cause)

const unsafe = (path: string, code: string) => new UnsafeFile({ detail: `${path} can't be used: ${code}` })

export type Kind = "missing" | "folder" | "file" | "link" | "other"

export interface Look {
  readonly kind: Kind
  readonly uid: number
  readonly mode: number
  /** Differs whenever its content may. */
  readonly version: string
}

const nothing: Look = { kind: "missing", uid: 0, mode: 0, version: "" }

/** What is at this path itself. */
export const look = (path: string): Effect.Effect<Look, UnsafeFile> =>
  Effect.tryPromise({
    try: async () => {
      const stat = await Fs.lstat(path, { bigint: true })
      const kind = stat.isSymbolicLink() ? "link" : stat.isDirectory() ? "folder" : stat.isFile() ? "file" : "other"
      const version = [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(":")
      return { kind, uid: Number(stat.uid), mode: Number(stat.mode) & 0o7777, version } satisfies Look
    },
    catch: codeOf
  }).pipe(Effect.catch((code) => (code === "ENOENT" ? Effect.succeed(nothing) : Effect.fail(unsafe(path, code)))))

const read = async (path: string, limitBytes: number): Promise<string | UnsafeFile> => {
  // A pipe would wait for a writer without O_NONBLOCK.
  const file = await Fs.open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!(await file.stat()).isFile()) return new UnsafeFile({ detail: `${path} is not a regular file` })
    const buffer = Buffer.alloc(limitBytes + 1)
    let size = 0
    while (size <= limitBytes) {
      const { bytesRead } = await file.read(buffer, size, buffer.length - size)
      if (bytesRead === 0) return buffer.toString("utf8", 0, size)
      size += bytesRead
    }
    return new UnsafeFile({ detail: `${path} is larger than ${limitBytes / 1024} KiB` })
  } finally {
    await file.close()
  }
}

/** The text of a regular file; null where nothing is there. */
export const readText = (path: string, limitBytes: number): Effect.Effect<string | null, UnsafeFile> =>
  Effect.tryPromise({ try: () => read(path, limitBytes), catch: codeOf }).pipe(
    Effect.catch((code) => {
      if (code === "ENOENT") return Effect.succeed(null)
      if (code !== "ELOOP") return Effect.fail(unsafe(path, code))
      return Effect.fail(new UnsafeFile({ detail: `${path} is a symbolic link, which is not followed` }))
    }),
    Effect.flatMap((result) => (result instanceof UnsafeFile ? Effect.fail(result) : Effect.succeed(result)))
  )

/** Written beside it, by a name that is nobody's, and renamed over it: a reader sees the old text or the new, and no link is written through. */
export const replace = (path: string, text: string, mode: number): Effect.Effect<void, UnsafeFile> =>
  Effect.tryPromise({
    try: async () => {
      const temporary = join(dirname(path), `.${basename(path)}.valet-new`)
      await Fs.rm(temporary, { force: true })
      const file = await Fs.open(temporary, "wx", mode)
      try {
        await file.writeFile(text)
        await file.sync()
      } finally {
        await file.close()
      }
      await Fs.rename(temporary, path)
    },
    catch: (cause) => unsafe(path, codeOf(cause))
  }).pipe(Effect.uninterruptible)
