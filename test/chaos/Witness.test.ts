/** A client whose server loses, forgets or mixes up writes is told so; one whose server is right is not. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Documents, Outcome } from "./Documents.ts"
import * as Tally from "./Tally.ts"
import type { Project } from "./Users.ts"
import * as Users from "./Users.ts"
import type { Value } from "./Witness.ts"
import * as Witness from "./Witness.ts"

const dev = {
  ready: true,
  edge: "http://127.0.0.1:9",
  router_domain: "localhost",
  control_planes: [],
  control_plane_secret: "",
  fly_api: "",
  fly_app: "",
  fly_token: "",
  fault_api: "",
  s3: { endpoint: "", bucket: "", access_key_id: "", secret_access_key: "" },
  database_url: "",
  pid: 0
}

/** A server in memory; `keep` decides what becomes of a write, and how it is answered. */
const made = Effect.gen(function* () {
  const witness = Witness.make()
  const tally = Tally.make()
  const users = Users.make({ dev, witness, tally, over: yield* Deferred.make<void>() })
  const stored = new Map<string, unknown>()
  const server = { keep: true, answer: { _tag: "Done", value: null } as Outcome }
  const documents: Documents = {
    put: (value) =>
      Effect.sync(() => {
        if (server.keep) stored.set(value.key, value)
        return server.answer
      }),
    get: (key) => Effect.sync((): Outcome => ({ _tag: "Done", value: stored.get(key) ?? null }))
  }
  const project: Project = { id: "p", deletion: "none" }
  const kinds = Effect.sync(() => witness.findings().map(({ kind }) => kind))
  return {
    witness,
    tally,
    stored,
    server,
    kinds,
    write: (key: string) => users.write(project, documents, key),
    read: (key: string) => users.read(project, documents, key)
  }
})

const value = (seq: number, key = "k", project = "p"): Value => ({ project, key, seq })
const broken: Outcome = { _tag: "Broken" }
const sealed: Outcome = { _tag: "Refused", refusal: { status: 0, code: "sealed", meant: true } }

describe("what was acknowledged", () => {
  it.effect("a server that keeps everything is believed, also where nothing was written", () =>
    Effect.gen(function* () {
      const { kinds, read, witness, write } = yield* made
      yield* read("other")
      for (let at = 0; at < 3; at++) {
        yield* write("k")
        yield* read("k")
      }
      assert.deepStrictEqual(yield* kinds, [])
      assert.deepStrictEqual(witness.counts(), { acknowledged: 3, reads: 4 })
    })
  )

  it.effect("a write that is missing and one that is stale are lost, each document once", () =>
    Effect.gen(function* () {
      const { kinds, read, server, stored, witness, write } = yield* made
      yield* write("k")
      yield* write("k")
      stored.set("k", value(1))
      yield* read("k")
      yield* read("k")
      server.keep = false
      yield* write("m")
      yield* read("m")
      assert.deepStrictEqual(yield* kinds, ["lost", "lost"])
      assert.match(witness.findings()[0]?.detail ?? "", /write 2 was acknowledged, 1 is there/)
    })
  )

  it.effect("another project's value and another document's are foreign, what nobody wrote is invented", () =>
    Effect.gen(function* () {
      const { kinds, read, stored, write } = yield* made
      yield* write("k")
      stored.set("k", value(1, "k", "q"))
      yield* read("k")
      yield* write("m")
      stored.set("m", value(1, "k"))
      yield* read("m")
      yield* write("n")
      stored.set("n", value(7, "n"))
      yield* read("n")
      yield* write("o")
      stored.set("o", "rubbish")
      yield* read("o")
      assert.deepStrictEqual(yield* kinds, ["foreign", "foreign", "invented", "invented"])
    })
  )

  it.effect("a write without an answer may be there or not, but not vanish once it was seen", () =>
    Effect.gen(function* () {
      const { kinds, read, server, stored, witness, write } = yield* made
      yield* write("k")
      server.answer = broken
      server.keep = false
      yield* write("k")
      assert.isFalse(witness.writable("p", "k"))
      yield* read("k")
      stored.set("k", value(2))
      yield* read("k")
      assert.deepStrictEqual(yield* kinds, [])
      stored.set("k", value(1))
      yield* read("k")
      assert.deepStrictEqual(yield* kinds, ["lost"])
      assert.strictEqual(witness.counts().acknowledged, 1)
    })
  )

  it.effect("a write that was refused and happened all the same is invented", () =>
    Effect.gen(function* () {
      const { kinds, read, server, write } = yield* made
      yield* write("k")
      server.answer = sealed
      yield* write("k")
      yield* read("k")
      assert.deepStrictEqual(yield* kinds, ["invented"])
    })
  )
})

describe("what clients are answered", () => {
  it("a 502, 503 or 504 that says when to come back is meant until everything is at rest, and no other 5xx is", () => {
    const tally = Tally.make()
    tally.refused("a", { status: 503, code: "waking", meant: true })
    tally.refused("b", { status: 503, code: "", meant: false })
    tally.refused("c", { status: 500, code: "internal_error", meant: true })
    tally.saw("d", { _tag: "Hung" })
    tally.saw("e", { _tag: "Refused", refusal: { status: 404, code: "project_not_found", meant: false } })
    tally.atRest()
    tally.refused("f", { status: 503, code: "waking", meant: true })
    assert.deepStrictEqual(tally.meant(), { "503 waking": 1 })
    assert.deepStrictEqual(tally.unexpected(), ["b: 503 ", "c: 500 internal_error", "f: 503 waking"])
    assert.deepStrictEqual(tally.hung(), ["d"])
    assert.deepStrictEqual(tally.wrong(), ["e: 404 project_not_found"])
  })
})
