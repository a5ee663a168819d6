/**
 * What every project server must do, whoever wrote it: run on the fake in memory, on the same through HTTP, and on real
 * ones. A subject gives machines, client traffic and a bucket.
 */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { MachineClient, type MachineError, type Target } from "../../../src/services/machine/MachineClient.ts"
import { R2 } from "../../../src/services/r2/R2.ts"

export class Subject extends Context.Service<
  Subject,
  {
    /** A started machine with an empty volume. */
    readonly machine: Effect.Effect<Target, never, Scope.Scope>
    /** Stops and starts it: its memory is lost, its volume stays. */
    restart(target: Target): Effect.Effect<void>
    /** `null` where the server sent the client back to the router. */
    write(target: Target, projectId: string, document: string, value: string): Effect.Effect<true | null>
    /** `""` for a document that does not exist. */
    read(target: Target, projectId: string, document: string): Effect.Effect<string | null>
    /** An open WebSocket, or what counts as one. */
    connect(target: Target, projectId: string): Effect.Effect<void, never, Scope.Scope>
    /** Damages a stored object. */
    corrupt(key: string): Effect.Effect<void>
  }
>()("valet/test/Subject") {}

const limit = { limitMs: 20_000 }
let keys = 0

const configured = (uid: string, generation: number) => ({
  project_id: `project-${uid}`,
  project_uid: uid,
  deploy_key: "dk_test",
  generation
})

const reasonOf = <A>(call: Effect.Effect<A, MachineError>) => Effect.map(Effect.flip(call), ({ reason }) => reason)

/** Configures a fresh machine and writes one document. */
const serving = (uid: string) =>
  Effect.gen(function* () {
    const subject = yield* Subject
    const client = yield* MachineClient
    const target = yield* subject.machine
    yield* client.configure(target, configured(uid, 1), limit)
    yield* subject.write(target, `project-${uid}`, "greeting", "hello")
    return target
  })

const archiveOf = (uid: string, generation: number) =>
  Effect.gen(function* () {
    const r2 = yield* R2
    keys += 1
    const r2_key = `projects/${uid}/${generation}-${keys}.db`
    const { url, headers } = yield* Effect.orDie(r2.presignPut(r2_key, 600))
    return { project_uid: uid, generation, r2_key, upload_url: url, headers, idle_window_seconds: 0 }
  })

export const machineContract = <E>(name: string, subject: Layer.Layer<Subject | MachineClient | R2, E>) => {
  layer(subject, { excludeTestServices: true })(name, (it) => {
    it.effect("an unconfigured server is healthy, serves nobody, and is configured once", () =>
      Effect.gen(function* () {
        const subject = yield* Subject
        const client = yield* MachineClient
        const target = yield* subject.machine
        const before = yield* client.health(target, limit)
        assert.strictEqual(before.project_id, null)
        assert.isFalse(before.sealed)
        assert.isNull(yield* subject.write(target, "project-a", "x", "1"))

        const answer = yield* client.configure(target, configured("a", 1), limit)
        assert.deepStrictEqual(answer, { ready: true, restored_bytes: 0 })
        assert.isTrue(yield* subject.write(target, "project-a", "x", "1"))
        yield* client.configure(target, configured("a", 1), limit)
        assert.strictEqual(yield* subject.read(target, "project-a", "x"), "1")
        const after = yield* client.health(target, limit)
        assert.deepStrictEqual([after.project_id, after.generation], ["project-a", 1])
      })
    )

    it.effect("refuses another project and an older generation, and names the newest", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const target = yield* serving("b")
        yield* client.configure(target, configured("b", 5), limit)
        const older = yield* reasonOf(client.configure(target, configured("b", 4), limit))
        assert.deepInclude(older, { _tag: "Stale", newestGeneration: 5 })
        const foreign = yield* reasonOf(client.configure(target, configured("c", 9), limit))
        assert.deepInclude(foreign, { _tag: "Stale", newestGeneration: 5 })
        assert.strictEqual(yield* subject.read(target, "project-b", "greeting"), "hello")
        assert.isNull(yield* subject.read(target, "project-c", "greeting"))
      })
    )

    it.effect("what it acknowledged and what it knows outlive a restart", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const target = yield* serving("d")
        yield* client.settings(target, { project_uid: "d", generation: 7, idle_timeout_seconds: 60 }, limit)
        yield* subject.restart(target)
        assert.strictEqual(yield* subject.read(target, "project-d", "greeting"), "hello")
        const late = yield* reasonOf(client.configure(target, configured("d", 6), limit))
        assert.deepInclude(late, { _tag: "Stale", newestGeneration: 7 })
      })
    )

    it.effect("an archive seals, uploads the sealed file, and another machine restores it", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const r2 = yield* R2
        const target = yield* serving("e")
        const request = yield* archiveOf("e", 2)
        const archive = yield* client.archiveToR2(target, request, limit)
        assert.strictEqual(archive.r2_key, request.r2_key)
        assert.deepStrictEqual(yield* r2.checksum(request.r2_key), { size: archive.size, sha256: archive.r2_checksum })
        assert.deepStrictEqual(yield* client.archiveToR2(target, request, limit), archive, "the same bytes again")

        assert.isNull(yield* subject.write(target, "project-e", "greeting", "late"))
        assert.isNull(yield* subject.read(target, "project-e", "greeting"))
        assert.isTrue((yield* client.health(target, limit)).sealed)
        yield* subject.restart(target)
        assert.isNull(yield* subject.write(target, "project-e", "greeting", "late"), "sealed after a restart too")

        const fresh = yield* subject.machine
        const { url } = yield* r2.presignGet(request.r2_key, 600)
        const restore = { ...archive, download_url: url }
        const answer = yield* client.configure(fresh, { ...configured("e", 3), restore }, limit)
        assert.deepStrictEqual(answer, { ready: true, restored_bytes: archive.size })
        assert.strictEqual(yield* subject.read(fresh, "project-e", "greeting"), "hello")

        yield* subject.write(fresh, "project-e", "greeting", "newer")
        yield* client.configure(fresh, { ...configured("e", 3), restore }, limit)
        // A restore for a volume in use may be refused or passed over; what counts is what is there afterwards.
        yield* Effect.ignore(client.configure(fresh, { ...configured("e", 4), restore }, limit))
        assert.strictEqual(yield* subject.read(fresh, "project-e", "greeting"), "newer", "never restored over it")
      })
    )

    it.effect("only a newer generation unseals, and no archive at or below an unseal seals again", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const target = yield* serving("f")
        const late = yield* archiveOf("f", 3)
        yield* client.archiveToR2(target, yield* archiveOf("f", 2), limit)
        const same = yield* reasonOf(client.unseal(target, { project_uid: "f", generation: 2 }, limit))
        assert.deepInclude(same, { _tag: "Stale", newestGeneration: 2 })
        yield* client.unseal(target, { project_uid: "f", generation: 3 }, limit)
        yield* client.unseal(target, { project_uid: "f", generation: 3 }, limit)
        assert.isTrue(yield* subject.write(target, "project-f", "greeting", "again"))
        const refused = yield* reasonOf(client.archiveToR2(target, late, limit))
        assert.deepInclude(refused, { _tag: "Stale", newestGeneration: 3 })
        assert.strictEqual(yield* subject.read(target, "project-f", "greeting"), "again")
        const foreign = yield* reasonOf(client.unseal(target, { project_uid: "other", generation: 9 }, limit))
        assert.strictEqual(foreign._tag, "Stale")
      })
    )

    it.effect("a server in use is busy and stays open, unless forced", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const target = yield* serving("g")
        const request = { ...(yield* archiveOf("g", 2)), idle_window_seconds: 3_600 }
        const recent = yield* reasonOf(client.archiveToR2(target, request, limit))
        assert.deepInclude(recent, { _tag: "Busy", connections: 0 })
        const connected = yield* Effect.scoped(
          Effect.gen(function* () {
            yield* subject.connect(target, "project-g")
            assert.strictEqual((yield* client.health(target, limit)).connections, 1)
            return yield* reasonOf(client.archiveToR2(target, { ...request, idle_window_seconds: 0 }, limit))
          })
        )
        assert.deepInclude(connected, { _tag: "Busy", connections: 1 })
        assert.isTrue(yield* subject.write(target, "project-g", "greeting", "still open"))
        yield* client.archiveToR2(target, { ...request, force: true }, limit)
        assert.isNull(yield* subject.write(target, "project-g", "greeting", "late"))
      })
    )

    it.effect("a restore that fails changes nothing, and may be tried again", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const r2 = yield* R2
        const target = yield* serving("h")
        const request = yield* archiveOf("h", 2)
        const archive = yield* client.archiveToR2(target, request, limit)
        const { url } = yield* r2.presignGet(request.r2_key, 600)
        const missing = yield* r2.presignGet("projects/h/none.db", 600)
        const fresh = yield* subject.machine
        const attempt = (restore: typeof archive & { download_url: string }) =>
          client.configure(fresh, { ...configured("h", 3), restore }, limit)

        const absent = yield* reasonOf(attempt({ ...archive, download_url: missing.url }))
        assert.strictEqual(absent._tag, "RestoreFailed")
        const other = yield* reasonOf(attempt({ ...archive, r2_checksum: "0".repeat(64), download_url: url }))
        assert.strictEqual(other._tag, "RestoreFailed")
        assert.isNull(yield* subject.read(fresh, "project-h", "greeting"), "not ready")
        assert.strictEqual((yield* attempt({ ...archive, download_url: url })).restored_bytes, archive.size)
        assert.strictEqual(yield* subject.read(fresh, "project-h", "greeting"), "hello")

        yield* subject.corrupt(request.r2_key)
        const third = yield* subject.machine
        const damaged = { ...configured("h", 4), restore: { ...archive, download_url: url } }
        assert.strictEqual((yield* reasonOf(client.configure(third, damaged, limit)))._tag, "RestoreFailed")
      })
    )

    it.effect("an upload that the store refuses opens the server again", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const target = yield* serving("i")
        const request = yield* archiveOf("i", 2)
        const refused = client.archiveToR2(target, { ...request, upload_url: `${request.upload_url}0` }, limit)
        assert.strictEqual((yield* reasonOf(refused))._tag, "ArchiveFailed")
        assert.isTrue(yield* subject.write(target, "project-i", "greeting", "open"))
      })
    )

    it.effect("commands only who knows its secret", () =>
      Effect.gen(function* () {
        const client = yield* MachineClient
        const subject = yield* Subject
        const target = yield* serving("j")
        const other = yield* subject.machine
        const refused = client.unseal({ ...target, name: other.name }, { project_uid: "j", generation: 2 }, limit)
        assert.strictEqual((yield* reasonOf(refused))._tag, "Refused")
      })
    )
  })
}
