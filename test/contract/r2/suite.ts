/** What every implementation of `R2` does, as a function of its layer and of how its presigned URLs are used. */
import { createHash } from "node:crypto"
import { assert, describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { leftOut } from "../../support/leftOut.ts"
import { R2, type PresignedUrl } from "../../../src/services/r2/R2.ts"

/** The other side of presigned URLs: a machine server's HTTP client. */
export class Sender extends Context.Service<
  Sender,
  {
    put(url: string, headers: Readonly<Record<string, string>>, body: Uint8Array): Effect.Effect<number>
    get(url: string): Effect.Effect<{ readonly status: number; readonly body: Uint8Array }>
  }
>()("test/Sender") {}

/** What a peer is known not to do, null where it does it. The tests of it are left out, and the output says why. */
export interface Peer {
  readonly overwrites: "it ignores If-None-Match" | null
  readonly trustsUrls: "it does not check the signatures of presigned URLs" | null
  readonly resolvesDots: "it makes paths of keys" | null
}

const bytes = (text: string) => new TextEncoder().encode(text)
const sha256 = (body: Uint8Array) => createHash("sha256").update(body).digest("hex")
/** Every character class that a URL or a file system could trip over. */
const AWKWARD = "projects/ü ñ/a+b&c=d?e#f%2F/'(x)!*~.db"
const DOTS = "projects/../../../etc/./hosts"

const uploaded = Effect.fnUntraced(function* (key: string, body: Uint8Array) {
  const { url, headers } = yield* (yield* R2).presignPut(key, 60)
  assert.strictEqual(yield* (yield* Sender).put(url, headers, body), 200)
})

const swapped = (presigned: PresignedUrl, from: string, to: string) => presigned.url.replace(from, to)

export const suite = <E>(name: string, live: Layer.Layer<R2 | Sender, E>, peer: Peer) =>
  describe(`R2: ${name}`, () => {
    layer(live, { excludeTestServices: true })((it) => {
      const unless =
        (why: string | null) =>
        (what: string, test: Parameters<typeof it.effect>[1]): void => {
          if (why === null) it.effect(what, test)
          else leftOut(`R2: ${name}: ${what}`, why)
        }

      it.effect("a presigned upload is read back with its size and SHA-256", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const body = bytes("hello, archive")
          yield* uploaded("a/1.db", body)
          assert.deepStrictEqual(yield* r2.checksum("a/1.db"), { size: body.length, sha256: sha256(body) })
          assert.deepStrictEqual(yield* r2.head("a/1.db"), Option.some({ size: body.length }))
        })
      )

      it.effect("a presigned download gives the same bytes", () =>
        Effect.gen(function* () {
          const body = bytes("down again")
          yield* uploaded("a/2.db", body)
          const { url, headers } = yield* (yield* R2).presignGet("a/2.db", 60)
          assert.deepStrictEqual(headers, {})
          const answer = yield* (yield* Sender).get(url)
          assert.strictEqual(answer.status, 200)
          assert.deepStrictEqual(Buffer.from(answer.body), Buffer.from(body))
        })
      )

      it.effect("an empty object is an object", () =>
        Effect.gen(function* () {
          yield* uploaded("a/empty.db", bytes(""))
          const read = yield* (yield* R2).checksum("a/empty.db")
          assert.deepStrictEqual(read, { size: 0, sha256: sha256(bytes("")) })
        })
      )

      it.effect("keys are opaque: every character comes back as it was", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          yield* uploaded(AWKWARD, bytes("x"))
          assert.deepStrictEqual(yield* r2.head(AWKWARD), Option.some({ size: 1 }))
          assert.deepStrictEqual(yield* r2.list("projects/ü ñ/"), [{ key: AWKWARD, size: 1 }])
          yield* r2.delete(AWKWARD)
          assert.deepStrictEqual(yield* r2.head(AWKWARD), Option.none())
        })
      )

      unless(peer.resolvesDots)("dots in a key lead nowhere", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          yield* uploaded(DOTS, bytes("x"))
          assert.deepStrictEqual(yield* r2.list("projects/../"), [{ key: DOTS, size: 1 }])
        })
      )

      it.effect("what is not there: head is none, reading is Missing, deleting succeeds", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          assert.deepStrictEqual(yield* r2.head("nothing"), Option.none())
          const error = yield* Effect.flip(r2.checksum("nothing"))
          assert.strictEqual(error.reason, "Missing")
          assert.isFalse(error.retryable)
          yield* r2.delete("nothing")
        })
      )

      it.effect("deleting twice is deleting once", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          yield* uploaded("gone.db", bytes("x"))
          yield* r2.delete("gone.db")
          yield* r2.delete("gone.db")
          assert.deepStrictEqual(yield* r2.head("gone.db"), Option.none())
        })
      )

      it.effect("a listing holds the prefix's keys in order, and no others", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          for (const key of ["list/b", "list/a", "listing", "list/c/d"]) yield* uploaded(key, bytes(key))
          const listed = yield* r2.list("list/")
          assert.deepStrictEqual(listed, [
            { key: "list/a", size: 6 },
            { key: "list/b", size: 6 },
            { key: "list/c/d", size: 8 }
          ])
          assert.deepStrictEqual(yield* r2.list("no such prefix"), [])
        })
      )

      it.effect("progress is told while reading, the whole size at the end", () =>
        Effect.gen(function* () {
          const told: Array<number> = []
          yield* uploaded("progress.db", new Uint8Array(100_000))
          yield* (yield* R2).checksum("progress.db", (count) => Effect.sync(() => void told.push(count)))
          assert.strictEqual(told.at(-1), 100_000)
        })
      )

      it.effect("the upload's headers and lifetime are the caller's to send and to wait out", () =>
        Effect.gen(function* () {
          const presigned = yield* (yield* R2).presignPut("headers.db", 600)
          assert.deepStrictEqual(presigned.headers, { "if-none-match": "*" })
          assert.strictEqual(presigned.expiresAt % 1000, 0)
        })
      )

      unless(peer.overwrites)("an object is never overwritten", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          yield* uploaded("once.db", bytes("first"))
          const again = yield* r2.presignPut("once.db", 60)
          assert.strictEqual(yield* (yield* Sender).put(again.url, again.headers, bytes("second")), 412)
          assert.strictEqual((yield* r2.checksum("once.db")).sha256, sha256(bytes("first")))
        })
      )

      unless(peer.trustsUrls)("a URL opens one key for one method, and only with its headers", () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const sender = yield* Sender
          yield* uploaded("mine.db", bytes("mine"))
          const put = yield* r2.presignPut("mine2.db", 60)
          const get = yield* r2.presignGet("mine.db", 60)
          assert.strictEqual((yield* sender.get(put.url)).status, 403)
          assert.strictEqual(yield* sender.put(get.url, put.headers, bytes("x")), 403)
          assert.strictEqual((yield* sender.get(swapped(get, "mine.db", "other.db"))).status, 403)
          assert.strictEqual(yield* sender.put(swapped(put, "mine2.db", "mine3.db"), put.headers, bytes("x")), 403)
          assert.strictEqual(yield* sender.put(put.url, {}, bytes("x")), 403)
          assert.deepStrictEqual(yield* r2.list("mine2"), [])
          assert.deepStrictEqual(yield* r2.list("mine3"), [])
        })
      )

      unless(peer.trustsUrls)("a tampered signature or lifetime opens nothing", () =>
        Effect.gen(function* () {
          const sender = yield* Sender
          yield* uploaded("locked.db", bytes("locked"))
          const { url } = yield* (yield* R2).presignGet("locked.db", 60)
          const last = url.at(-1) === "0" ? "1" : "0"
          const signature = url.replace(/(signature=)([0-9a-f]{64})/i, (_, name: string, hex: string) => {
            const flipped = hex.startsWith("0") ? "1" : "0"
            return `${name}${flipped}${hex.slice(1)}`
          })
          assert.notStrictEqual(signature, url)
          assert.strictEqual((yield* sender.get(signature)).status, 403)
          const longer = url.replace(/(expires=)(\d+)/i, (_, name: string, n: string) => `${name}${n}${last}`)
          assert.notStrictEqual(longer, url)
          assert.strictEqual((yield* sender.get(longer)).status, 403)
          assert.strictEqual((yield* sender.get(url)).status, 200)
        })
      )
    })
  })
