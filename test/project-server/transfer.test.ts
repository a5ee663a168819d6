import * as Fs from "node:fs"
import * as Http from "node:http"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import {
  archiveBody,
  archiveBytes,
  configOf,
  deployKey,
  objectStore,
  put,
  readDatabase,
  start,
  startConfigured,
  temporaryFolder,
  unmanaged
} from "./harness.ts"

/** An import whose body is complete only after `finish`. */
const slowImport = Effect.fnUntraced(function* (port: number, body: Buffer) {
  const answer = yield* Deferred.make<number>()
  const request = Http.request(
    { port, host: "127.0.0.1", method: "POST", path: "/import", agent: false, headers: authorization },
    (response) => {
      response.resume()
      Deferred.doneUnsafe(answer, Effect.succeed(response.statusCode ?? 0))
    }
  )
  request.on("error", () => Deferred.doneUnsafe(answer, Effect.succeed(0)))
  yield* Effect.addFinalizer(() => Effect.sync(() => request.destroy()))
  yield* Effect.callback<void>((resume) => {
    request.write(body.subarray(0, 100), () => resume(Effect.void))
  })
  yield* Effect.sleep("200 millis")
  return { finish: () => void request.end(body.subarray(100)), status: Deferred.await(answer) }
})

const authorization = { authorization: `Bearer ${deployKey}` }

describe("export", () => {
  it.live("is a sound copy of what was acknowledged", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* startConfigured(configOf(folder))
      for (let i = 0; i < 100; i++) yield* put(server, `k${i}`, i)
      const answer = yield* server.send("GET", "/export", { headers: authorization })
      assert.strictEqual(answer.status, 200)
      assert.include(answer.headers["content-disposition"], "demo.db")
      Fs.writeFileSync(`${folder}/copy.db`, Buffer.from(answer.text, "latin1"))
      assert.strictEqual(readDatabase(`${folder}/copy.db`).get("k99"), 99)
      assert.isFalse(Fs.existsSync(`${folder}/project.db.export`))
    })
  )

  it.live("takes the deploy key", () =>
    Effect.gen(function* () {
      const managed = yield* startConfigured(configOf(yield* temporaryFolder))
      const open = yield* start({ ...unmanaged(yield* temporaryFolder), deployKey: null })
      for (const [server, headers] of [
        [managed, {}],
        [managed, { authorization: "Bearer another" }],
        [managed, { authorization: "Bearer machine-secret" }],
        [open, { authorization: "Bearer " }],
        [open, authorization]
      ] as const) {
        assert.strictEqual((yield* server.send("GET", "/export", { headers })).status, 401)
        assert.strictEqual((yield* server.send("POST", "/import", { headers, body: "" })).status, 401)
      }
    })
  )
})

describe("import", () => {
  it.live("replaces all documents, with versions that never were", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* start(unmanaged(folder))
      for (let i = 0; i < 10; i++) yield* put(server, "k", i)
      yield* put(server, "gone", 1)
      const client = yield* server.connect
      const body = yield* archiveBytes({ k: "imported", n: [1] })
      const answer = yield* server.send("POST", "/import", { headers: authorization, body })
      assert.deepStrictEqual([answer.status, answer.json], [200, { documents: 2 }])
      assert.strictEqual(yield* client.closed, 1012)
      assert.deepStrictEqual((yield* server.send("GET", "/documents")).json, {
        keys: [
          { key: "k", version: 12 },
          { key: "n", version: 13 }
        ],
        next: null
      })
      assert.strictEqual((yield* server.send("GET", "/documents/k")).json, "imported")
      assert.deepStrictEqual((yield* put(server, "k", 2)).json, { key: "k", version: 14 })
      yield* server.stop
      assert.deepStrictEqual(Fs.readdirSync(folder), ["project.db"])
      assert.deepStrictEqual([...readDatabase(`${folder}/project.db`).keys()].toSorted(), ["k", "n"])
    })
  )

  it.live("that ends after the project was sealed is refused: what is archived is what was acknowledged", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const store = yield* objectStore
      const server = yield* startConfigured(configOf(folder))
      yield* put(server, "k", "archived")
      const body = yield* archiveBytes({ k: "imported too late" })
      const { finish, status } = yield* slowImport(server.port, body)
      const archived = yield* server.call("archive-to-r2", archiveBody(2, store, { force: true }))
      assert.strictEqual(archived.status, 200)
      finish()
      assert.strictEqual(yield* status, 503)
      assert.strictEqual(readDatabase(`${folder}/project.db`).get("k"), "archived")
    })
  )

  it.live("changes nothing for a file that it can't take", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* start(unmanaged(folder))
      yield* put(server, "k", "the only copy")
      const database = (sql: string) => {
        const path = `${folder}/made.db`
        const made = new DatabaseSync(path)
        made.exec(sql)
        made.close()
        const bytes = Fs.readFileSync(path)
        Fs.rmSync(path)
        return bytes
      }
      const sound = yield* archiveBytes({ k: 1 })
      const table = "CREATE TABLE documents (key TEXT, value TEXT, version INTEGER);"
      const files = [
        Buffer.alloc(0),
        Buffer.from("not a database"),
        sound.subarray(0, sound.length - 4096),
        database("CREATE TABLE other (x)"),
        database("CREATE TABLE t (x); CREATE VIEW documents AS SELECT 'k' AS key, '1' AS value, 1 AS version"),
        database(`${table} INSERT INTO documents VALUES ('k', '{', 1)`),
        database(`${table} INSERT INTO documents VALUES ('', '1', 1)`),
        database(`${table} INSERT INTO documents VALUES ('${"k".repeat(513)}', '1', 1)`),
        database(`${table} INSERT INTO documents VALUES (x'00', '1', 1)`)
      ]
      for (const body of files) {
        const answer = yield* server.send("POST", "/import", { headers: authorization, body })
        assert.strictEqual(answer.status, 400, answer.text)
      }
      const twice = database(`${table} INSERT INTO documents VALUES ('k', '1', 1), ('k', '2', 2)`)
      assert.strictEqual((yield* server.send("POST", "/import", { headers: authorization, body: twice })).status, 500)
      assert.strictEqual((yield* server.send("GET", "/documents/k")).json, "the only copy")
      assert.deepStrictEqual((yield* put(server, "k", 2)).json, { key: "k", version: 2 })
    })
  )
})
