import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { parseHeader, parseJson, type Replay } from "../../../src/local/edge/Replay.ts"

const nothing: Replay = {
  app: undefined,
  instance: undefined,
  preferInstance: undefined,
  region: undefined,
  state: undefined,
  elsewhere: false,
  timeoutMs: undefined,
  fallback: undefined,
  transform: undefined
}

describe("the header form", () => {
  it.each<[string, Partial<Replay>]>([
    ["instance=abc123;app=projects", { instance: "abc123", app: "projects" }],
    [
      "instance=a;app=p;timeout=10s;fallback=prefer_self;state=x.y-z==",
      { instance: "a", app: "p", timeoutMs: 10_000, fallback: "prefer_self", state: "x.y-z==" }
    ],
    ["timeout=800ms;prefer_instance=b", { timeoutMs: 800, preferInstance: "b" }],
    ["timeout=1.5s", { timeoutMs: 1500 }],
    ['region="iad,ord,us,any";elsewhere=true', { region: "iad,ord,us,any", elsewhere: true }],
    ['state="a;b, \\"c\\" \\\\"', { state: 'a;b, "c" \\' }],
    [" app = p ; instance = i ", { app: "p", instance: "i" }],
    ["app=p;", { app: "p" }]
  ])("%s", (header, expected) => {
    assert.deepStrictEqual(parseHeader(header), Result.succeed({ ...nothing, ...expected }))
  })

  it.each([
    "",
    ";",
    "app",
    "app=",
    "app=p instance=i",
    "region=iad,ord",
    'region="iad',
    "app=p;app=q",
    "colour=red",
    "elsewhere=maybe",
    "timeout=soon",
    "timeout=-1s",
    "fallback=self",
    "app=../etc",
    "instance=a/b",
    "app=p,instance=i"
  ])("%j is malformed", (header) => {
    assert.isTrue(Result.isFailure(parseHeader(header)))
  })

  it("long nonsense is refused at once", () => {
    assert.isTrue(Result.isFailure(parseHeader(`state="${"\\".repeat(16_000)}`)))
    assert.isTrue(Result.isFailure(parseHeader(`app=${" ".repeat(16_000)}`)))
  })
})

describe("the JSON form", () => {
  it("carries a transform", () => {
    const body = {
      app: "p",
      region: "iad,us",
      state: "s",
      cache: { prefix: "/x/*", ttl: 60 },
      transform: { path: "/new?x=1", delete_headers: ["Cookie"], set_headers: [{ name: "X-User", value: "ann" }] }
    }
    assert.deepStrictEqual(
      parseJson(JSON.stringify(body)),
      Result.succeed({
        ...nothing,
        app: "p",
        region: "iad,us",
        state: "s",
        transform: { path: "/new?x=1", deleteHeaders: ["cookie"], setHeaders: [{ name: "X-User", value: "ann" }] }
      })
    )
  })

  it.each([
    "",
    "[]",
    "{",
    '{"app":1}',
    '{"colour":"red"}',
    '{"state":"a\\r\\nx: y"}',
    '{"transform":{"path":"relative"}}',
    '{"transform":{"path":"/a b"}}',
    '{"transform":{"set_headers":[{"name":"fly-client-ip","value":"1.2.3.4"}]}}',
    '{"transform":{"set_headers":[{"name":"Content-Length","value":"1"}]}}',
    '{"transform":{"set_headers":[{"name":"a b","value":"1"}]}}',
    '{"transform":{"set_headers":[{"name":"a","value":"1\\n2"}]}}',
    '{"transform":{"delete_headers":["transfer-encoding"]}}'
  ])("%s is malformed", (body) => {
    assert.isTrue(Result.isFailure(parseJson(body)))
  })
})
