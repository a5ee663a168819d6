import { assert, describe, it } from "@effect/vitest"
import { clientAddress, clientOf, isPrivate } from "../../src/domain/ClientAddress.ts"

describe("the address that a client is counted under", () => {
  it.each([
    ["203.0.113.9", "203.0.113.9"],
    ["::ffff:203.0.113.9", "203.0.113.9"],
    ["::ffff:cb00:7109", "203.0.113.9"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:0db8:0001:0002:ffff::1", "2001:db8:1:2::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["64:ff9b::203.0.113.9", "64:ff9b:0:0::/64"],
    ["203.0.113.9, 1.2.3.4", "unknown"],
    ["nonsense", "unknown"],
    ["", "unknown"],
    [undefined, "unknown"]
  ])("%s is %s", (address, expected) => {
    assert.strictEqual(clientOf(address), expected)
  })

  it("is what Fly says on Fly only", () => {
    const input = { flyClientIp: "203.0.113.9", peer: "172.19.0.1" }
    assert.strictEqual(clientAddress({ ...input, onFly: true }), "203.0.113.9")
    assert.strictEqual(clientAddress({ ...input, onFly: false }), "172.19.0.1")
    assert.strictEqual(clientAddress({ onFly: true, flyClientIp: undefined, peer: "fdaa::1" }), "fdaa:0:0:0::/64")
  })
})

describe("a private address", () => {
  it.each([
    ["127.0.0.1", true],
    ["::1", true],
    ["::ffff:10.0.0.1", true],
    ["10.1.2.3", true],
    ["172.16.0.1", true],
    ["172.32.0.1", false],
    ["192.168.1.1", true],
    ["fdaa:0:1::3", true],
    ["fe80::1%eth0", true],
    ["2001:db8::1", false],
    ["203.0.113.9", false],
    ["::ffff:203.0.113.9", false],
    [undefined, false]
  ])("%s: %s", (address, expected) => {
    assert.strictEqual(isPrivate(address), expected)
  })
})
