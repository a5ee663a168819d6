/**
 * Objects as files. A bucket is a folder, an object one file named after the hash of its key, so that no key can name a
 * path: first a header of fixed size (what the object is), then its bytes. It is written under a temporary name, synced,
 * renamed and the folder synced, so an answered PUT survives a crash and one that broke off leaves nothing.
 */
import { createHash, randomBytes } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { failure, type S3Failure } from "./S3Failure.ts"
import { sha256Hex } from "./Signature.ts"

/** Room for a key of 1,024 bytes, escaped, and the rest. */
const HEADER_BYTES = 8192
const OBJECT = ".object"
const TEMPORARY = ".temporary"

const Header = Schema.fromJsonString(
  Schema.Struct({ key: Schema.String, size: Schema.Int, etag: Schema.String, modified: Schema.Finite })
)
const decodeHeader = Schema.decodeOption(Header)
const encodeHeader = Schema.encodeSync(Header)
const headerOf = (stored: StoredObject): Uint8Array => {
  const bytes = Buffer.alloc(HEADER_BYTES, " ")
  bytes.write(encodeHeader(stored))
  return bytes
}

export interface StoredObject {
  readonly key: string
  readonly size: number
  /** MD5, hex. */
  readonly etag: string
  /** Milliseconds since the epoch. */
  readonly modified: number
}

export interface Write<E> {
  readonly bucket: string
  readonly key: string
  readonly body: Stream.Stream<Uint8Array, E>
  /** The decoded body's; another length is not stored. */
  readonly size: number | null
  /** Fed with the body beside MD5. */
  readonly sums: ReadonlyArray<{ readonly update: (bytes: Uint8Array) => unknown }>
  /** Asked when the body is in; a failure keeps it from being stored. */
  readonly check: Effect.Effect<void, S3Failure>
  readonly ifNoneMatch: boolean
  /** Stores only the first half, and nothing at all, while answering as if all were well. */
  readonly fault: "short" | "not_stored" | null
}

export const exists = () =>
  failure("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")

/** Opens the folder, drops what broken-off uploads left, and reads the headers. */
export const open = Effect.fnUntraced(function* (dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  const commits = yield* Semaphore.make(1)
  const buckets = new Map<string, Map<string, StoredObject>>()
  const folder = (bucket: string) => `${dataDir}/${bucket}`
  const file = (bucket: string, key: string) => `${folder(bucket)}/${sha256Hex(key)}${OBJECT}`

  const syncFolder = (path: string) => Effect.scoped(Effect.flatMap(fs.open(path), (opened) => opened.sync))

  const readHeader = (path: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const opened = yield* fs.open(path, { noFollow: true })
        const bytes = yield* opened.readAlloc(HEADER_BYTES)
        const { size } = yield* opened.stat
        const text = Option.map(bytes, (header) => Buffer.from(header).toString("utf8").trimEnd())
        return Option.filter(
          Option.flatMap(text, decodeHeader),
          (header) => Number(size) === HEADER_BYTES + header.size
        )
      })
    )

  const load = Effect.fnUntraced(function* (bucket: string) {
    const objects = new Map<string, StoredObject>()
    for (const name of yield* fs.readDirectory(folder(bucket))) {
      const path = `${folder(bucket)}/${name}`
      if (name.endsWith(TEMPORARY)) yield* fs.remove(path)
      if (!name.endsWith(OBJECT)) continue
      const header = yield* readHeader(path)
      if (Option.isSome(header)) objects.set(header.value.key, header.value)
      else
        yield* Effect.logWarning("an object's file can't be read and is left out").pipe(Effect.annotateLogs({ path }))
    }
    buckets.set(bucket, objects)
  })

  const createBucket = Effect.fnUntraced(function* (bucket: string) {
    if (buckets.has(bucket)) return
    yield* fs.makeDirectory(folder(bucket), { recursive: true })
    yield* syncFolder(dataDir)
    yield* load(bucket)
  })

  const objectsOf = (bucket: string): Effect.Effect<Map<string, StoredObject>, S3Failure> => {
    const objects = buckets.get(bucket)
    return objects === undefined
      ? Effect.fail(failure("NoSuchBucket", "The specified bucket does not exist."))
      : Effect.succeed(objects)
  }

  /** Between the look for an earlier object and the rename nobody else commits. */
  const commit = (
    objects: Map<string, StoredObject>,
    write: Pick<Write<never>, "bucket" | "ifNoneMatch">,
    temporary: string,
    stored: StoredObject
  ) =>
    commits.withPermits(1)(
      Effect.gen(function* () {
        if (write.ifNoneMatch && objects.has(stored.key)) return yield* exists()
        yield* fs.rename(temporary, file(write.bucket, stored.key))
        yield* syncFolder(folder(write.bucket))
        objects.set(stored.key, stored)
      }).pipe(Effect.uninterruptible)
    )

  const put = Effect.fnUntraced(function* <E>(write: Write<E>) {
    const objects = yield* objectsOf(write.bucket)
    if (write.ifNoneMatch && objects.has(write.key)) return yield* exists()
    const temporary = `${folder(write.bucket)}/${randomBytes(16).toString("hex")}${TEMPORARY}`
    const md5 = createHash("md5")
    let size = 0
    const opened = yield* fs.open(temporary, { flag: "wx" })
    yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(temporary, { force: true })))
    yield* opened.seek(BigInt(HEADER_BYTES), "start")
    yield* Stream.runForEach(write.body, (bytes): Effect.Effect<void, PlatformError | S3Failure> => {
      size += bytes.length
      if (write.size !== null && size > write.size) return Effect.fail(failure("IncompleteBody", "Too many bytes."))
      md5.update(bytes)
      for (const sum of write.sums) sum.update(bytes)
      return opened.writeAll(bytes)
    })
    if (write.size !== null && size !== write.size)
      return yield* failure("IncompleteBody", "You did not provide the number of bytes specified by Content-Length.")
    yield* write.check
    const etag = md5.digest("hex")
    if (write.fault === "not_stored") return { key: write.key, size, etag, modified: 0 }
    const kept = write.fault === "short" ? Math.floor(size / 2) : size
    if (kept !== size) yield* opened.truncate(HEADER_BYTES + kept)
    const stored = { key: write.key, size: kept, etag, modified: yield* Clock.currentTimeMillis }
    yield* opened.seek(0n, "start")
    yield* opened.writeAll(headerOf(stored))
    yield* opened.sync
    yield* commit(objects, write, temporary, stored)
    return stored
  }, Effect.scoped)

  const remove = Effect.fnUntraced(function* (bucket: string, key: string) {
    const objects = yield* objectsOf(bucket)
    yield* commits.withPermits(1)(
      Effect.gen(function* () {
        if (!objects.delete(key)) return
        yield* fs.remove(file(bucket, key), { force: true })
        yield* syncFolder(folder(bucket))
      }).pipe(Effect.uninterruptible)
    )
  })

  const find = Effect.fnUntraced(function* (bucket: string, key: string) {
    const found = (yield* objectsOf(bucket)).get(key)
    return found ?? (yield* failure("NoSuchKey", "The specified key does not exist."))
  })

  const read = (bucket: string, key: string, from: number, length: number): Stream.Stream<Uint8Array, PlatformError> =>
    length === 0
      ? Stream.empty
      : fs.stream(file(bucket, key), { offset: BigInt(HEADER_BYTES + from), bytesToRead: BigInt(length) })

  /** In the order of the keys' UTF-8 bytes, after `after`. */
  const list = Effect.fnUntraced(function* (bucket: string, prefix: string, after: string, limit: number) {
    const objects = yield* objectsOf(bucket)
    const order = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))
    const matching = [...objects.values()]
      .filter(({ key }) => key.startsWith(prefix) && (after === "" || order(key, after) > 0))
      .toSorted((a, b) => order(a.key, b.key))
    return { objects: matching.slice(0, limit), truncated: matching.length > limit }
  })

  yield* fs.makeDirectory(dataDir, { recursive: true })
  for (const name of yield* fs.readDirectory(dataDir))
    if ((yield* fs.stat(folder(name))).type === "Directory") yield* load(name)

  return { createBucket, hasBucket: (bucket: string) => buckets.has(bucket), put, remove, find, read, list }
})

export type ObjectFolder = Effect.Success<ReturnType<typeof open>>
