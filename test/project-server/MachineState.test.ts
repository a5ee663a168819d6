import { assert, describe, it } from "@effect/vitest"
import * as MachineState from "../../src/project-server/MachineState.ts"

const { unconfigured } = MachineState
const state = (more: Partial<MachineState.MachineState> = {}): MachineState.MachineState => ({
  ...unconfigured,
  project: "demo",
  uid: "u1",
  deploy_key: "dk",
  newest_generation: 5,
  last_unseal_generation: 5,
  ready: true,
  ...more
})
const preparing = state({ ready: false, last_unseal_generation: 0 })
const sealed = state({ newest_generation: 6, sealed: true, sealed_generation: 6 })
const restore = { r2_key: "k", r2_checksum: "0".repeat(64), size: 1, download_url: "http://x" }

const configure = (generation: number, more = {}) => ({
  project_id: "demo",
  project_uid: "u1",
  deploy_key: "dk",
  generation,
  ...more
})
const archive = (generation: number, project_uid = "u1") => ({
  project_uid,
  generation,
  r2_key: "k",
  upload_url: "http://x",
  headers: {},
  idle_window_seconds: 0
})

describe("configure", () => {
  it.each([
    ["an unconfigured machine", unconfigured, false, configure(1), "Prepare"],
    ["an unconfigured machine, from an archive", unconfigured, false, configure(1, { restore }), "Prepare"],
    ["a database without a state file is served", unconfigured, true, configure(1), "Serve"],
    ["a database without a state file is not restored over", unconfigured, true, configure(1, { restore }), "Refused"],
    ["again before it was ready", preparing, false, configure(5, { restore }), "Prepare"],
    ["again after a crash behind the rename", preparing, true, configure(5, { restore }), "Prepare"],
    ["a newer one before it was ready", preparing, false, configure(6, { restore }), "Prepare"],
    ["an older one before it was ready", preparing, false, configure(4, { restore }), "Stale"],
    ["the same again", state(), true, configure(5), "Done"],
    ["the same again, whose restore is done", state(), true, configure(5, { restore }), "Done"],
    ["a newer one", state(), true, configure(6), "Serve"],
    ["a newer one that would restore", state(), true, configure(6, { restore }), "Refused"],
    ["a newer one that would restore, the database gone", state(), false, configure(6, { restore }), "Refused"],
    ["an older one", state(), true, configure(4), "Stale"],
    ["another project", state(), true, configure(6, { project_id: "other" }), "Stale"],
    ["another project of the same name", state(), true, configure(6, { project_uid: "u2" }), "Stale"],
    ["a late one after a seal", sealed, true, configure(5), "Stale"],
    ["one as old as the seal", sealed, true, configure(6), "Stale"],
    ["one newer than the seal", sealed, true, configure(7), "Serve"]
  ] as const)("%s", (_name, before, databasePresent, request, expected) => {
    assert.strictEqual(MachineState.configure(before, databasePresent, request)._tag, expected)
  })

  it("serves a sealed volume under a newer generation, and keeps what it is not told", () => {
    const decision = MachineState.configure(state({ ...sealed, router_app: "r" }), true, configure(7))
    assert.deepStrictEqual(
      decision._tag === "Serve" ? decision.next : null,
      state({ newest_generation: 7, last_unseal_generation: 7, router_app: "r" })
    )
  })
})

describe("archive", () => {
  it.each([
    ["a newer generation", state(), archive(6), "Seal"],
    ["the newest generation, not yet unsealed", state({ newest_generation: 6 }), archive(6), "Seal"],
    ["an older generation", state(), archive(4), "Stale"],
    ["at the last unseal", state(), archive(5), "Stale"],
    ["another project's", state(), archive(6, "u2"), "Stale"],
    ["before it was ready", preparing, archive(6), "Refused"],
    ["an unconfigured machine", unconfigured, archive(6), "Stale"],
    ["again after a restart", sealed, archive(6), "Upload"],
    ["a newer one of a sealed machine", sealed, archive(7), "Upload"],
    ["an older one of a sealed machine", sealed, archive(5), "Stale"]
  ] as const)("%s", (_name, before, request, expected) => {
    assert.strictEqual(MachineState.archive(before, request)._tag, expected)
  })

  it("seals only while its generation is the newest", () => {
    assert.deepInclude(MachineState.seal(state({ newest_generation: 6 }), 6), { sealed: true, sealed_generation: 6 })
    assert.isUndefined(MachineState.seal(state({ newest_generation: 7 }), 6))
    assert.isUndefined(MachineState.seal(state({ newest_generation: 6, last_unseal_generation: 6 }), 6))
  })

  it("gives up no seal but its own", () => {
    assert.deepInclude(MachineState.giveUpSeal(sealed, 6), { sealed: false, sealed_generation: 0 })
    assert.isUndefined(MachineState.giveUpSeal(sealed, 5))
    assert.isUndefined(MachineState.giveUpSeal(state(), 5))
    assert.isUndefined(MachineState.giveUpSeal({ ...sealed, newest_generation: 7 }, 6))
  })
})

describe("ready", () => {
  it("is recorded once, by the newest", () => {
    assert.deepInclude(MachineState.ready(preparing, 5, 9), { ready: true, restored_bytes: 9 })
    assert.isUndefined(MachineState.ready(preparing, 4, 9))
    assert.isUndefined(MachineState.ready(state(), 5, 9))
  })
})

const unseal = (generation: number, project_uid = "u1") => ({ project_uid, generation })

describe("unseal", () => {
  it.each([
    ["newer than the seal", sealed, unseal(7), "Open"],
    ["as old as the seal", sealed, unseal(6), "Stale"],
    ["older than the seal", sealed, unseal(5), "Stale"],
    ["as new as settings that came behind the seal", { ...sealed, newest_generation: 7 }, unseal(7), "Open"],
    ["the same again", state(), unseal(5), "Done"],
    ["of an archive that has not sealed yet", state({ newest_generation: 6 }), unseal(7), "Open"],
    ["older than the newest", state(), unseal(4), "Stale"],
    ["another project's", sealed, unseal(7, "u2"), "Stale"],
    ["before it was ready", preparing, unseal(6), "Stale"]
  ] as const)("%s", (_name, before, request, expected) => {
    assert.strictEqual(MachineState.unseal(before, request)._tag, expected)
  })
})

describe("settings", () => {
  const settings = (generation: number) => ({ project_uid: "u1", generation, idle_timeout_seconds: null })
  it.each([
    ["the newest generation", state(), 5, "Apply"],
    ["an older generation", state(), 4, "Stale"],
    ["an unconfigured machine", unconfigured, 5, "Stale"]
  ] as const)("%s", (_name, before, generation, expected) => {
    assert.strictEqual(MachineState.settings(before, settings(generation))._tag, expected)
  })
})
