import { assert, describe, it } from "@effect/vitest"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import { StartFailed } from "../../../src/orchestrator/Starter.ts"
import { Crashes, delayMs, rememberMs } from "../../../src/orchestrator/supervisor/Backoff.ts"
import { isCrash, next } from "../../../src/orchestrator/supervisor/Next.ts"
import { SpawnRate } from "../../../src/orchestrator/supervisor/SpawnRate.ts"
import { full } from "../../../src/orchestrator/supervisor/Unavailable.ts"

const exited = (code: number) => ({ _tag: "Exited", exit: { code, signal: null } }) as const
const startFailed = {
  _tag: "StartFailed",
  error: new StartFailed({ reason: "exited", detail: "", output: [] })
} as const
const replaced = { _tag: "Replaced", detail: "" } as const
const idle = { wasInUse: false, awaited: false }
const used = { wasInUse: true, awaited: false }
const awaited = { wasInUse: false, awaited: true }
const gone = { _tag: "Gone" } as const
const again = { _tag: "Start", restart: true } as const
const anew = { _tag: "Start", restart: false } as const
const now = 1_000_000

describe("what comes after a process", () => {
  const table = [
    { ending: { _tag: "Idle" }, of: idle, comes: gone },
    { ending: { _tag: "Idle" }, of: awaited, comes: anew },
    { ending: { _tag: "Evicted" }, of: idle, comes: gone },
    { ending: { _tag: "Evicted" }, of: awaited, comes: anew },
    { ending: { _tag: "Stopped" }, of: used, comes: gone },
    { ending: { _tag: "Stopped" }, of: awaited, comes: anew },
    { ending: { _tag: "Drained" }, of: awaited, comes: gone },
    { ending: { _tag: "Restarted" }, of: idle, comes: again },
    { ending: { _tag: "LifetimeOver" }, of: idle, comes: gone },
    { ending: { _tag: "LifetimeOver" }, of: used, comes: again },
    { ending: { _tag: "LifetimeOver" }, of: awaited, comes: anew },
    { ending: replaced, of: idle, comes: gone },
    { ending: replaced, of: used, comes: again },
    { ending: replaced, of: awaited, comes: anew },
    { ending: { _tag: "Refused", error: full() }, of: used, comes: gone },
    { ending: exited(0), of: idle, comes: gone },
    { ending: exited(0), of: used, crashes: 1, comes: again },
    { ending: exited(1), of: idle, crashes: 1, comes: { _tag: "Backoff", retryAt: now, restart: false } },
    { ending: exited(1), of: awaited, crashes: 1, comes: again },
    { ending: exited(1), of: idle, crashes: 2, comes: { _tag: "Backoff", retryAt: now + 1_000, restart: false } },
    { ending: exited(1), of: used, crashes: 3, comes: { _tag: "Backoff", retryAt: now + 2_000, restart: true } },
    { ending: exited(1), of: awaited, crashes: 4, comes: { _tag: "Backoff", retryAt: now + 4_000, restart: true } },
    { ending: exited(1), of: used, crashes: 5, comes: { _tag: "Failed", retryAt: now + 60_000 } },
    { ending: exited(1), of: idle, crashes: 6, comes: { _tag: "Failed", retryAt: now + 60_000 } },
    { ending: startFailed, of: idle, crashes: 1, comes: { _tag: "Backoff", retryAt: now, restart: false } },
    { ending: startFailed, of: idle, crashes: 2, comes: { _tag: "Backoff", retryAt: now + 1_000, restart: false } }
  ] as const
  it.each(table)(
    "$ending._tag, in use $of.wasInUse, awaited $of.awaited: $comes._tag",
    ({ ending, of, comes, ...rest }) => {
      const crashes = "crashes" in rest ? rest.crashes : 0
      assert.strictEqual(isCrash({ ending, ...of }), crashes > 0)
      assert.deepStrictEqual(next({ ending, ...of, crashes, now }), comes)
    }
  )
})

describe("back-off", () => {
  it("is none after the first crash, then doubles from 1 s to 30 s", () => {
    assert.deepStrictEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 100].map(delayMs),
      [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
    )
  })

  it("forgets the crashes of a project that nobody asks for any more", () => {
    const crashes = new Crashes()
    const [a, b] = [ProjectId.make("a"), ProjectId.make("b")]
    assert.deepStrictEqual([crashes.add(a, 0), crashes.add(a, 1), crashes.add(b, 1)], [1, 2, 1])
    assert.strictEqual(crashes.add(b, rememberMs), 2)
    crashes.add(b, rememberMs + 1)
    assert.strictEqual(crashes.size, 1)
    assert.strictEqual(crashes.add(a, rememberMs + 1), 1)
    crashes.forget(b)
    assert.strictEqual(crashes.add(b, rememberMs + 1), 1)
  })
})

describe("spawn rate", () => {
  it("allows so many in any minute, and tells when the next one is", () => {
    const rate = new SpawnRate(2)
    assert.deepStrictEqual([rate.take("192.0.2.1", 0), rate.take("192.0.2.1", 10_000)], [0, 0])
    assert.strictEqual(rate.take("192.0.2.1", 20_000), 40_000)
    assert.strictEqual(rate.take("192.0.2.1", 59_999), 1)
    assert.strictEqual(rate.take("192.0.2.1", 60_000), 0)
    assert.strictEqual(rate.take("192.0.2.1", 60_000), 10_000)
  })

  it("counts all of one IPv6 /64 as one client, another one apart", () => {
    const rate = new SpawnRate(1)
    assert.strictEqual(rate.take("2001:db8:1:2::1", 0), 0)
    assert.isAbove(rate.take("2001:db8:1:2:ffff::9", 0), 0)
    assert.strictEqual(rate.take("2001:db8:1:3::1", 0), 0)
  })

  it("gives back what was taken, and no more", () => {
    const rate = new SpawnRate(1)
    rate.take("192.0.2.1", 5)
    rate.giveBack("192.0.2.1", 6)
    assert.isAbove(rate.take("192.0.2.1", 7), 0)
    rate.giveBack("192.0.2.1", 5)
    assert.strictEqual(rate.take("192.0.2.1", 7), 0)
  })

  it("remembers 10,000 clients, and forgets the oldest", () => {
    const rate = new SpawnRate(1)
    for (let i = 0; i < 10_001; i++) rate.take(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 0)
    assert.strictEqual(rate.size, 10_000)
    assert.strictEqual(rate.take("10.0.0.0", 1), 0)
    assert.isAbove(rate.take("10.0.39.16", 1), 0)
  })

  it("is off with 0, and for nobody", () => {
    const off = new SpawnRate(0)
    const one = new SpawnRate(1)
    for (let i = 0; i < 100; i++) assert.deepStrictEqual([off.take("192.0.2.1", 0), one.take(null, 0)], [0, 0])
  })
})
