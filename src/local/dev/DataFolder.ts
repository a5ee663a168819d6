/**
 * The data folder of `valet dev`: private to its user, locked by one process at a time, with the secrets of this local
 * plane (made once) and the marks of the processes that run for it, so that leftovers of a kill are found and ended.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as FolderLock from "../../process/FolderLock.ts"
import { ProcessMark, terminate } from "../../process/ProcessMark.ts"

export class DataFolderError extends Schema.TaggedError<DataFolderError>()("DataFolderError", {
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

export const Secrets = Schema.Struct({
  controlPlane: Schema.String,
  internal: Schema.String,
  fly: Schema.String,
  s3AccessKeyId: Schema.String,
  s3SecretAccessKey: Schema.String
})
export type Secrets = typeof Secrets.Type

const SecretsFile = Schema.fromJsonString(Secrets)
const ChildrenFile = Schema.fromJsonString(Schema.Array(ProcessMark))

const childGraceMs = 10_000

const make = (folder: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const random = yield* SecureRandom.SecureRandom
    const root = path.resolve(folder)
    const at = (...parts: ReadonlyArray<string>) => path.join(root, ...parts)
    const broken = (what: string) => (cause: unknown) =>
      new DataFolderError({ detail: `${what}: ${cause instanceof Error ? cause.message : String(cause)}` })

    yield* fs.makeDirectory(at("logs"), { recursive: true, mode: 0o700 }).pipe(Effect.mapError(broken(root)))

    const turn = yield* Semaphore.make(1)
    /** Written beside and renamed over, so that a reader never sees half a file; one at a time. */
    const write = (name: string, text: string) =>
      Effect.gen(function* () {
        const temporary = at(`${name}.new`)
        yield* fs.writeFileString(temporary, text, { mode: 0o600 })
        yield* fs.rename(temporary, at(name))
      }).pipe(Effect.mapError(broken(at(name))), turn.withPermits(1))

    const read = <A>(name: string, schema: Schema.Codec<A, string>) =>
      fs.readFileString(at(name)).pipe(
        Effect.flatMap(Schema.decodeUnknownEffect(schema)),
        Effect.orElseSucceed((): A | null => null)
      )

    yield* FolderLock.hold(at("lock")).pipe(
      Effect.catchTags({
        FolderInUse: ({ holder }) =>
          Effect.fail(
            new DataFolderError({
              detail: `${root} is in use by ${holder}: stop it, or choose another --data-dir`
            })
          ),
        PlatformError: (cause) => Effect.fail(broken(at("lock"))(cause))
      })
    )

    // Those of a predecessor that could not end them itself.
    const left = (yield* read("children.json", ChildrenFile)) ?? []
    yield* Effect.forEach(left, (mark) => terminate(mark, childGraceMs), { concurrency: "unbounded", discard: true })

    const secret = Effect.map(random.randomBytes(32), (bytes) => Buffer.from(bytes).toString("base64url"))
    const known = yield* read("secrets.json", SecretsFile)
    const secrets: Secrets = known ?? {
      controlPlane: yield* secret,
      internal: yield* secret,
      fly: yield* secret,
      s3AccessKeyId: (yield* secret).replaceAll(/[^A-Za-z0-9]/g, "").slice(0, 20),
      s3SecretAccessKey: yield* secret
    }
    if (known === null) yield* write("secrets.json", JSON.stringify(secrets))

    return DataFolder.of({
      root,
      at,
      secrets,
      write,
      noteChildren: (marks) => Effect.orDie(write("children.json", JSON.stringify(marks)))
    })
  })

export class DataFolder extends Context.Service<
  DataFolder,
  {
    readonly root: string
    at(...parts: ReadonlyArray<string>): string
    readonly secrets: Secrets
    /** Replaces a file of the folder, readable by its user alone. */
    write(name: string, text: string): Effect.Effect<void, DataFolderError>
    /** Who has to be ended if this process can't do it. */
    noteChildren(marks: ReadonlyArray<ProcessMark>): Effect.Effect<void>
  }
>()("valet/local/DataFolder") {
  static readonly layer = (folder: string) => Layer.effect(DataFolder, make(folder))
}
