import { assert, describe, it } from "@effect/vitest"
import type { Op } from "../../../../src/local/fly/model/Draft.ts"
import { acquireLease, getLease, releaseLease } from "../../../../src/local/fly/model/Leases.ts"
import * as Machines from "../../../../src/local/fly/model/Machines.ts"
import { changeMetadata } from "../../../../src/local/fly/model/Metadata.ts"
import { app, makeWorld, image, create } from "./World.ts"

describe("leases", () => {
  it("guard every change but metadata, until they end", () => {
    const world = makeWorld()
    const { id } = create(world)
    const lease = world.ok(acquireLease(app, id, { ttl: 10, owner: "me" }))
    const guarded: ReadonlyArray<Op<unknown>> = [
      Machines.updateMachine(app, id, { config: { image } }),
      Machines.startMachine(app, id, "wrong"),
      Machines.stopMachine(app, id, undefined),
      Machines.suspendMachine(app, id, undefined),
      Machines.restartMachine(app, id, undefined),
      Machines.setCordon(app, id, undefined, true),
      Machines.deleteMachine(app, id, undefined, true),
      Machines.startMachine(app, id, undefined, "proxy")
    ]
    for (const op of guarded) {
      const refusal = world.refused(op)
      assert.deepStrictEqual([refusal.status, refusal.shape], [409, "lease"])
      assert.include(refusal.message, `machine ID ${id} lease currently held by me`)
    }
    world.ok(changeMetadata(app, id, { set: { a: "1" } }))
    world.ok(Machines.setCordon(app, id, lease.nonce, true))
    assert.strictEqual(world.ok(acquireLease(app, id, { nonce: lease.nonce, ttl: 20 })).nonce, lease.nonce)
    world.pass(20_000)
    assert.strictEqual(world.refused(getLease(app, id)).status, 404)
    world.ok(Machines.stopMachine(app, id, undefined))
  })

  it("are released by their nonce alone", () => {
    const world = makeWorld()
    const { id } = create(world, {}, { leaseTtl: 60 })
    const nonce = world.ok(getLease(app, id)).nonce
    assert.strictEqual(world.refused(releaseLease(app, id, "other")).status, 409)
    world.ok(releaseLease(app, id, nonce))
    assert.strictEqual(world.refused(getLease(app, id)).status, 404)
  })
})
