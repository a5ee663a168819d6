/** Apps, what is noted at their machines, and how many requests they may be asked with. */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { createApp, deleteApp } from "../../../../src/local/fly/model/Apps.ts"
import { listMachines } from "../../../../src/local/fly/model/MachineList.ts"
import { changeMetadata, getMetadata } from "../../../../src/local/fly/model/Metadata.ts"
import { spend } from "../../../../src/local/fly/model/RateLimit.ts"
import { app, makeWorld, create, volume } from "./World.ts"

describe("apps", () => {
  it("names are taken once, and deletion takes everything along", () => {
    const world = makeWorld()
    const refusal = world.refused(createApp({ name: app, org: "other" }))
    assert.deepStrictEqual([refusal.status, refusal.code], [422, "name_taken"])
    const { id } = create(world)
    const data = volume(world)
    assert.strictEqual(world.refused(deleteApp(app, false)).status, 412)
    world.ok(deleteApp(app, true))
    assert.strictEqual(world.machine(id).state, "destroyed")
    assert.strictEqual(world.volume(data.id).state, "pending_destroy")
    assert.strictEqual(world.refused(listMachines(app)).status, 404)
  })
})

describe("metadata", () => {
  it("merges, removes and checks the version", () => {
    const world = makeWorld()
    const { id } = create(world, { metadata: { a: "1" } })
    world.ok(changeMetadata(app, id, { set: { b: "2" } }))
    assert.deepStrictEqual(world.ok(getMetadata(app, id)), { a: "1", b: "2" })
    world.ok(changeMetadata(app, id, { set: {}, remove: ["a"] }))
    assert.deepStrictEqual(world.ok(getMetadata(app, id)), { b: "2" })
    assert.strictEqual(world.refused(changeMetadata(app, id, { set: {}, machineVersion: "old" })).status, 412)
  })
})

describe("request budget", () => {
  it("three at once, then one a second; ten and five for reading one machine", () => {
    const world = makeWorld({ params: { rateLimits: true } })
    const taken = (operation: "createMachine" | "getMachine", target?: string) => {
      let count = 0
      world.ok((draft) => {
        while (spend(draft, { operation, app, ...(target === undefined ? {} : { target }) }) === null) count++
        return Result.succeed(undefined)
      })
      return count
    }
    assert.strictEqual(taken("createMachine"), 3)
    assert.strictEqual(taken("createMachine"), 0)
    world.pass(2_000)
    assert.strictEqual(taken("createMachine"), 2)
    assert.strictEqual(taken("getMachine", "a"), 10)
    assert.strictEqual(taken("getMachine", "b"), 10)
    world.pass(1_000)
    assert.strictEqual(taken("getMachine", "a"), 5)
  })
})
