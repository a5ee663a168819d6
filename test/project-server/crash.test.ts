/** What a crash leaves on the volume at each step, looked at by a copy of the folder made at that moment. */
import * as Fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Moment } from "../../src/project-server/CrashPoint.ts"
import {
  archiveBody,
  archiveBytes,
  configOf,
  configureBody,
  objectStore,
  put,
  readDatabase,
  restoreOf,
  start,
  startConfigured,
  temporaryFolder
} from "./harness.ts"

/** Copies the folder once, the first time that the moment comes while `armed`. */
const copyAt = (moment: Moment, from: string, to: string) => {
  const state = { armed: false, copied: false }
  const crashPoint = (reached: Moment) =>
    Effect.sync(() => {
      if (reached !== moment || !state.armed || state.copied) return
      Fs.cpSync(from, to, { recursive: true })
      state.copied = true
    })
  return { state, crashPoint }
}

const folders = Effect.map(temporaryFolder, (root) => ({ folder: `${root}/volume`, crashed: `${root}/crashed` }))

describe("a crash while archiving", () => {
  it.live.each([
    ["generation-recorded", false],
    ["database-closed", false],
    ["seal-recorded", true],
    ["uploaded", true]
  ] as const)("at %s loses nothing, and the same call goes on", ([moment, sealed]) =>
    Effect.gen(function* () {
      const { folder, crashed } = yield* folders
      const store = yield* objectStore
      const { state, crashPoint } = copyAt(moment, folder, crashed)
      const server = yield* startConfigured(configOf(folder), crashPoint)
      for (let i = 0; i < 50; i++) yield* put(server, `k${i}`, i)
      state.armed = true
      const body = archiveBody(2, store, { force: true })
      assert.strictEqual((yield* server.call("archive-to-r2", body)).status, 200)
      assert.isTrue(state.copied)
      if (moment !== "uploaded") store.objects.clear()

      const again = yield* start(configOf(crashed))
      assert.strictEqual((yield* again.send("GET", "/documents/k0")).status, sealed ? 307 : 200)
      assert.strictEqual((yield* again.call("unseal", { project_uid: "u1", generation: 1 })).status, 409)
      const answer = yield* again.call("archive-to-r2", body)
      assert.strictEqual(answer.status, 200, answer.text)
      Fs.writeFileSync(`${crashed}/copy.db`, store.objects.get("/u1/2") ?? "")
      assert.strictEqual(readDatabase(`${crashed}/copy.db`).size, 50)
      assert.strictEqual((yield* again.call("unseal", { project_uid: "u1", generation: 3 })).status, 200)
      assert.strictEqual((yield* again.send("GET", "/documents/k49")).json, 49)
    })
  )
})

describe("a crash while unsealing", () => {
  it.live("leaves an unsealed server once the generation is recorded", () =>
    Effect.gen(function* () {
      const { folder, crashed } = yield* folders
      const store = yield* objectStore
      const { state, crashPoint } = copyAt("generation-recorded", folder, crashed)
      const server = yield* startConfigured(configOf(folder), crashPoint)
      yield* put(server, "k", 1)
      yield* server.call("archive-to-r2", archiveBody(2, store, { force: true }))
      state.armed = true
      yield* server.call("unseal", { project_uid: "u1", generation: 3 })
      const again = yield* start(configOf(crashed))
      assert.strictEqual((yield* again.send("GET", "/documents/k")).json, 1)
      assert.strictEqual((yield* again.call("archive-to-r2", archiveBody(2, store, { force: true }))).status, 409)
    })
  )
})

describe("a crash while restoring", () => {
  it.live.each([
    ["generation-recorded"],
    ["download-begun"],
    ["download-complete"],
    ["database-renamed"],
    ["ready-recorded"]
  ] as const)("at %s leaves nothing or everything, and the same call goes on", ([moment]) =>
    Effect.gen(function* () {
      const { folder, crashed } = yield* folders
      const store = yield* objectStore
      const bytes = yield* archiveBytes({ k: "from the archive" })
      store.objects.set("/u1/1", bytes)
      const body = configureBody(1, { restore: restoreOf(store, "u1/1", bytes) })
      const { state, crashPoint } = copyAt(moment, folder, crashed)
      state.armed = true
      const server = yield* start(configOf(folder), crashPoint)
      assert.strictEqual((yield* server.call("configure", body)).status, 200)
      assert.isTrue(state.copied)

      const again = yield* start(configOf(crashed))
      const served = yield* again.send("GET", "/documents/k")
      assert.strictEqual(served.status, moment === "ready-recorded" ? 200 : 307)
      assert.isFalse(Fs.existsSync(`${crashed}/project.db.restoring`))
      const answer = yield* again.call("configure", body)
      assert.deepStrictEqual([answer.status, answer.json], [200, { ready: true, restored_bytes: bytes.length }])
      assert.strictEqual((yield* again.send("GET", "/documents/k")).json, "from the archive")
    })
  )

  it.live("a half-written temporary file is removed, and the restore starts over", () =>
    Effect.gen(function* () {
      const { folder } = yield* folders
      const store = yield* objectStore
      const bytes = yield* archiveBytes({ k: "from the archive" })
      store.objects.set("/u1/1", bytes)
      Fs.mkdirSync(folder)
      Fs.writeFileSync(`${folder}/project.db.restoring`, bytes.subarray(0, 5000))
      const server = yield* start(configOf(folder))
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      const body = configureBody(1, { restore: restoreOf(store, "u1/1", bytes) })
      assert.strictEqual((yield* server.call("configure", body)).status, 200)
      assert.strictEqual((yield* server.send("GET", "/documents/k")).json, "from the archive")
    })
  )
})
