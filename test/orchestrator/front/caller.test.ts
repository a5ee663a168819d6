import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { callerOf, hostName, trusted, type CallerInput } from "../../../src/orchestrator/Caller.ts"

const nobody = Result.getOrThrow(trusted([]))
const proxies = Result.getOrThrow(trusted(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "127.0.0.1"]))

const caller = (headers: ReadonlyArray<string>, more: Partial<CallerInput> = {}) =>
  callerOf({ peer: "127.0.0.1", headers, loopbackOnly: true, trusted: nobody, ...more })

describe("the client's address", () => {
  it.for([
    ["an untrusted peer is believed nothing", "8.8.8.8", ["1.1.1.1"], "8.8.8.8"],
    ["a trusted one is", "10.1.2.3", ["1.1.1.1"], "1.1.1.1"],
    ["the rightmost that is not trusted", "10.1.2.3", ["6.6.6.6, 1.1.1.1, 10.9.9.9, 192.0.2.7"], "1.1.1.1"],
    ["over several headers", "10.1.2.3", ["6.6.6.6", "1.1.1.1", "10.9.9.9"], "1.1.1.1"],
    ["of trusted ones alone the leftmost", "10.1.2.3", ["10.5.5.5, 10.9.9.9"], "10.5.5.5"],
    ["no entry: the peer", "10.1.2.3", [], "10.1.2.3"],
    ["an entry that is no address: who wrote it", "10.1.2.3", ["1.1.1.1, unknown, 10.9.9.9"], "10.9.9.9"],
    ["an empty entry", "10.1.2.3", ["1.1.1.1,"], "10.1.2.3"],
    ["with a port", "10.1.2.3", ["1.1.1.1:4711"], "1.1.1.1"],
    ["IPv6 with a port", "10.1.2.3", ["[2001:db8::1]:4711"], "2001:db8::1"],
    ["IPv6", "fd00::1", ["2001:db8::1"], "2001:db8::1"],
    ["IPv4 in IPv6", "::ffff:10.1.2.3", ["::ffff:1.1.1.1"], "1.1.1.1"],
    ["a zone", "fe80::1%eth0", ["1.1.1.1"], "fe80::1"]
  ] as const)("%s", ([, peer, entries, expected]) => {
    const headers = ["Host", "x", ...entries.flatMap((entry) => ["X-Forwarded-For", entry])]
    assert.strictEqual(caller(headers, { peer, trusted: proxies }).address, expected)
  })

  it("scheme and host are a trusted proxy's last word, and nobody else's", () => {
    const headers = [
      "Host",
      "inner:7000",
      "X-Forwarded-Proto",
      "http, HTTPS",
      "X-Forwarded-Host",
      "evil.example",
      "X-Forwarded-Host",
      "app.example:8443"
    ]
    const believed = caller(headers, { peer: "10.0.0.1", trusted: proxies })
    assert.deepStrictEqual([believed.proto, believed.host], ["https", "app.example:8443"])
    const not = caller(headers, { peer: "8.8.8.8", trusted: proxies })
    assert.deepStrictEqual([not.proto, not.host], ["http", "inner:7000"])
    const silent = caller(["Host", "inner:7000"], { peer: "10.0.0.1", trusted: proxies })
    assert.deepStrictEqual([silent.proto, silent.host], ["http", "inner:7000"])
  })
})

describe("a local caller", () => {
  it.for([
    ["loopback all over", ["Host", "localhost:7000"], {}, true],
    ["a project's host", ["Host", "a.localhost:7000"], {}, true],
    ["an address", ["Host", "127.0.0.1:7000"], {}, true],
    ["an IPv6 address", ["Host", "[::1]:7000"], { peer: "::1" }, true],
    ["its own page", ["Host", "localhost:7000", "Origin", "http://localhost:7000"], {}, true],
    ["a listener for others", ["Host", "localhost:7000"], { loopbackOnly: false }, false],
    ["another peer", ["Host", "localhost:7000"], { peer: "192.168.0.9" }, false],
    ["no peer", ["Host", "localhost:7000"], { peer: undefined }, false],
    ["a name that may point anywhere", ["Host", "rebound.example:7000"], {}, false],
    ["a name that only begins so", ["Host", "localhost.evil.example"], {}, false],
    ["no Host", [], {}, false],
    ["another site's page", ["Host", "localhost:7000", "Origin", "https://evil.example"], {}, false],
    ["another port's page", ["Host", "localhost:7000", "Origin", "http://localhost:3000"], {}, false],
    ["a page of nowhere", ["Host", "localhost:7000", "Origin", "null"], {}, false],
    ["two origins", ["Host", "localhost", "Origin", "http://localhost", "origin", "http://evil.example"], {}, false],
    ["X-Forwarded-For", ["Host", "localhost:7000", "X-Forwarded-For", "127.0.0.1"], {}, false],
    ["x_forwarded_for", ["Host", "localhost:7000", "x_forwarded_for", "127.0.0.1"], {}, false],
    ["Forwarded", ["Host", "localhost:7000", "Forwarded", "for=127.0.0.1"], {}, false],
    ["Via", ["Host", "localhost:7000", "Via", "1.1 x"], {}, false],
    ["X-Real-IP", ["Host", "localhost:7000", "X-Real-IP", "127.0.0.1"], {}, false],
    ["a trusted proxy", ["Host", "localhost", "X-Forwarded-For", "127.0.0.1"], { trusted: proxies }, false],
    ["somebody beside a trusted proxy", ["Host", "localhost"], { trusted: proxies }, true]
  ] as const)("%s", ([, headers, more, expected]) => assert.strictEqual(caller(headers, more).local, expected))
})

it.for(["", "x", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.0/8/8", "10.0.0/8", "10.0.0.0/", "1.1.1.1/x"])(
  "%j is no range of proxies",
  (range) => assert.isTrue(Result.isFailure(trusted(["10.0.0.1", range])))
)

it("a range of one family holds nothing of the other, and no nonsense", () => {
  const all = Result.getOrThrow(trusted(["0.0.0.0/0"]))
  assert.deepStrictEqual(["1.1.1.1", "::1", "", "x"].map(all), [true, false, false, false])
})

it.for([
  ["A.Example.:80", "a.example"],
  ["[::1]:80", "::1"],
  ["[::1%25eth0]", null],
  ["x:123456", null],
  ["a..", "a."],
  ["a\u0000b", null]
] as const)("the name in the host %j is %j", ([host, expected]) => assert.strictEqual(hostName(host), expected))
