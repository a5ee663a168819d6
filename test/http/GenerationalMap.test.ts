import { assert, describe, it } from "@effect/vitest"
import { GenerationalMap } from "../../src/http/router/GenerationalMap.ts"

describe("GenerationalMap", () => {
  it("never holds more than its capacity, and keeps what is used", () => {
    const map = new GenerationalMap<number>(100)
    map.set("hot", -1)
    for (let i = 0; i < 10_000; i++) {
      map.set(`k${i}`, i)
      assert.strictEqual(map.get("hot"), -1)
      assert.isAtMost(map.size, 100)
    }
    assert.strictEqual(map.get("k9999"), 9_999)
    assert.isUndefined(map.get("k0"))
  })

  it("forgets in both generations", () => {
    const map = new GenerationalMap<number>(4)
    for (const key of ["a", "b", "c"]) map.set(key, 1)
    assert.strictEqual(map.get("a"), 1)
    map.delete("a")
    assert.isUndefined(map.get("a"))
    map.clear()
    assert.strictEqual(map.size, 0)
    assert.isUndefined(map.get("c"))
  })
})
