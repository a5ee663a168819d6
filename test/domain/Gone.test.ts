import { assert, describe, it } from "@effect/vitest"
import { apartMs, type Look, machineGone, volumeGone } from "../../src/domain/Gone.ts"

const deleted = (at: number): Look => ({ _tag: "Deleted", at })
const missing = (at: number): Look => ({ _tag: "Missing", at })
const found = (at: number, state: string, hostStatus: "ok" | "unknown" | "unreachable" = "ok"): Look => ({
  _tag: "Found",
  at,
  state,
  hostStatus
})
const detached = (at: number): Look => ({ _tag: "Volume", at, attachedMachineId: null })
const attached = (at: number): Look => ({ _tag: "Volume", at, attachedMachineId: "m1" })
const silent = (at: number): Look => ({ _tag: "Health", at, answered: false })
const healthy = (at: number): Look => ({ _tag: "Health", at, answered: true })

const confirmed = [deleted(0), missing(1), detached(2), silent(3), missing(1 + apartMs)]

describe("a machine", () => {
  it("is gone with every proof", () => {
    assert.isTrue(machineGone(confirmed))
  })

  it.each(confirmed.map((look, index) => ({ look: look._tag, index })))(
    "is not gone without $look $index",
    ({ index }) => {
      assert.isFalse(machineGone(confirmed.filter((_, position) => position !== index)))
    }
  )

  it("may still be read as destroyed", () => {
    assert.isTrue(
      machineGone([deleted(0), found(1, "destroyed"), detached(2), silent(3), found(1 + apartMs, "destroyed")])
    )
  })

  it("needs its two absent answers a minute apart", () => {
    assert.isFalse(machineGone([deleted(0), missing(1), detached(2), silent(3), missing(apartMs)]))
  })

  it.each<[string, Look]>([
    ["a health check that answers", healthy(10)],
    ["an attached volume", attached(10)],
    ["another state", found(10, "destroying")],
    ["a started state", found(10, "started")],
    ["a host that is not ok", found(10, "destroyed", "unreachable")],
    ["a host that is unknown", found(10, "destroyed", "unknown")]
  ])("%s starts the count anew", (_, life) => {
    const before = [deleted(0), missing(1), detached(2), silent(3), life]
    assert.isFalse(machineGone([...before, missing(1 + apartMs)]))
    assert.isFalse(machineGone([...before, detached(11), silent(12), missing(1 + apartMs)]))
    assert.isTrue(machineGone([...before, missing(11), detached(12), silent(13), missing(11 + apartMs)]))
  })

  it("a lost host is never gone, however often it is looked at", () => {
    const looks = Array.from({ length: 100 }, (_, i) => found(i * apartMs, "destroyed", "unreachable"))
    assert.isFalse(machineGone([deleted(0), detached(1), silent(2), ...looks]))
  })
})

describe("a volume", () => {
  it("is gone after two absent answers a minute apart", () => {
    assert.isFalse(volumeGone([]))
    assert.isFalse(volumeGone([missing(0)]))
    assert.isFalse(volumeGone([missing(0), missing(apartMs - 1)]))
    assert.isTrue(volumeGone([missing(0), missing(apartMs)]))
    assert.isTrue(volumeGone([found(0, "destroyed"), missing(apartMs)]))
  })

  it("is there again where it is read again", () => {
    assert.isFalse(volumeGone([missing(0), found(1, "created"), missing(apartMs)]))
    assert.isFalse(volumeGone([missing(0), missing(apartMs), found(apartMs + 1, "created")]))
  })

  it("is gone where it is on its way out, unless its host can't be reached", () => {
    for (const state of ["pending_destroy", "destroying", "destroyed"]) {
      assert.isFalse(volumeGone([found(0, state)]))
      assert.isTrue(volumeGone([found(0, state), found(apartMs, state)]))
      assert.isFalse(volumeGone([found(0, state, "unreachable"), found(apartMs, state)]))
    }
  })
})
