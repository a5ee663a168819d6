import { assert, describe, it } from "@effect/vitest"
import * as Target from "../../src/http/router/Target.ts"

const domain = "fly.valet.host"
const parse = (target: string, host: string | ReadonlyArray<string> | undefined = "plane.example", method = "GET") =>
  Target.parse({
    method,
    target,
    hosts: host === undefined ? [] : typeof host === "string" ? [host] : host,
    domain
  })
const summary = (target: Target.Target): string => {
  switch (target._tag) {
    case "Project":
      return `${target.projectId} ${target.path}`
    case "Refused":
      return String(target.status)
    default:
      return target._tag
  }
}

describe("who a request is for", () => {
  it.each([
    // by path
    ["/projects/demo", "plane.example", "demo /"],
    ["/projects/demo/", "plane.example", "demo /"],
    ["/projects/demo/ws?x=/projects/other", "plane.example", "demo /ws"],
    ["/projects/demo/a/b", "127.0.0.1:7000", "demo /a/b"],
    ["/projects/demo/a", "[::1]:7000", "demo /a"],
    ["/projects/demo/a", undefined, "demo /a"],
    ["/projects/demo/a", "", "demo /a"],
    ["/projects", "plane.example", "Plane"],
    ["/projects/", "plane.example", "Plane"],
    ["/projects//x", "plane.example", "Plane"],
    ["/projects/Demo/x", "plane.example", "NoProject"],
    ["/projects/admin/x", "plane.example", "NoProject"],
    ["/projects/-demo/x", "plane.example", "NoProject"],
    [`/projects/${"a".repeat(64)}/x`, "plane.example", "NoProject"],
    ["/projects/demo%2f/x", "plane.example", "NoProject"],
    ["/projects/demo/../other/x", "plane.example", "400"],
    ["/projects/demo/%2e%2e/other/x", "plane.example", "400"],
    ["/projects/demo/..%2fother/x", "plane.example", "400"],
    ["/projects/demo/a/../b", "plane.example", "demo /a/../b"],
    // by host
    ["/x?y", "demo.fly.valet.host", "demo /x"],
    ["/x", "DEMO.Fly.Valet.Host", "demo /x"],
    ["/x", "demo.fly.valet.host.", "demo /x"],
    ["/x", "demo.fly.valet.host:8443", "demo /x"],
    ["/x", "demo.fly.valet.host.:8443", "demo /x"],
    ["/projects/other/x", "demo.fly.valet.host", "demo /projects/other/x"],
    ["/api/projects", "demo.fly.valet.host", "demo /api/projects"],
    ["", "demo.fly.valet.host", "demo /"],
    ["/x", "a.b.fly.valet.host", "400"],
    ["/x", ".fly.valet.host", "400"],
    ["/x", "www.fly.valet.host", "NoProject"],
    ["/x", "xn--80ak6aa92e.fly.valet.host", "NoProject"],
    ["/x", "dé.fly.valet.host", "NoProject"],
    ["/x", "fly.valet.host", "Plane"],
    ["/x", "evilfly.valet.host", "Plane"],
    ["/x", "fly.valet.host.evil.example", "Plane"],
    ["/x", "::1", "Plane"],
    ["/x", `demo.fly.valet.host@evil.example`, "400"],
    ["/x", ["demo.fly.valet.host", "other.fly.valet.host"], "400"],
    // absolute form: the target's authority is the host
    ["http://demo.fly.valet.host/x?y", "plane.example", "demo /x"],
    ["HTTP://demo.fly.valet.host", "plane.example", "demo /"],
    ["https://a.b.fly.valet.host/", "plane.example", "400"],
    ["ftp://demo.fly.valet.host/", "plane.example", "400"],
    ["nonsense", "plane.example", "400"],
    ["*", "plane.example", "400"],
    ["/%zz%", "plane.example", "Plane"],
    // the plane
    ["/", "plane.example", "Plane"],
    ["/api/projects?limit=1", "plane.example", "Plane"],
    ["//projects/demo/x", "plane.example", "Plane"],
    // first of all
    ["/health", "demo.fly.valet.host", "Health"],
    ["/health?deep", "a.b.fly.valet.host", "Health"],
    ["/health/", "demo.fly.valet.host", "demo /health/"],
    ["/health/ready", "plane.example", "Plane"]
  ] as const)("%s on %s", (target, host, expected) => {
    assert.strictEqual(summary(parse(target, host)), expected)
  })

  it("refuses a host of ten kilobytes", () => {
    assert.strictEqual(summary(parse("/x", "a".repeat(10_000))), "400")
    assert.strictEqual(summary(parse("/x", `${"a".repeat(10_000)}.fly.valet.host`)), "400")
  })

  it("answers OPTIONS before it looks at anything but /health", () => {
    assert.strictEqual(parse("*", "a.b.fly.valet.host", "OPTIONS")._tag, "Preflight")
    assert.strictEqual(parse("/health", undefined, "OPTIONS")._tag, "Health")
  })

  it("knows no project hosts without a domain", () => {
    const target = Target.parse({ method: "GET", target: "/x", hosts: ["demo.fly.valet.host"], domain: null })
    assert.strictEqual(target._tag, "Plane")
  })

  it.each([
    "/internal",
    "/internal/",
    "/internal/configure",
    "/INTERNAL/configure",
    "//internal/configure",
    "/./internal/configure",
    "/x/../internal/configure",
    "/x/..//internal",
    "/%69nternal/configure",
    "/%2569nternal/configure",
    "/%25252569nternal/configure",
    "/%252525252525252569nternal/configure",
    "/%2e/internal",
    "/x/%2e%2e/internal",
    "/x%2f..%2finternal",
    "/%2finternal",
    "/\\internal",
    "/%5cinternal",
    "/internal;x=1/configure",
    "/internal%2fconfigure",
    "/internal%3b/configure",
    "/internal%00",
    "/%69nternal%3fx",
    "/internal%23/configure",
    "/%09internal",
    "/inter%0anal/configure",
    "/internal/../health2",
    "/projects/demo/internal/configure",
    "/projects/demo//internal/configure",
    "/projects/demo/%69nternal/configure",
    "/projects/demo/../../internal/configure",
    "/projects/x/../demo/internal",
    "http://demo.fly.valet.host/internal/configure"
  ])("hides %s on every host", (target) => {
    for (const host of ["demo.fly.valet.host", "plane.example", undefined]) {
      assert.strictEqual(summary(parse(target, host)), "404")
    }
  })

  it.each(["/internals", "/a/internal", "/docs/internal/x", "/projects/demo/a/internal", "/x?/internal"])(
    "leaves %s to the project",
    (target) => {
      assert.strictEqual(parse(target, "demo.fly.valet.host")._tag, "Project")
    }
  )

  it("has an answer for whatever bytes come", () => {
    const leaks: Array<string> = []
    let seed = 1
    const next = (bound: number) => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed % bound
    }
    const bits = [
      "/",
      "projects",
      "%2e",
      "%",
      "..",
      ".",
      "\\",
      "internal",
      "demo",
      "?",
      "#",
      ";",
      "@",
      ":",
      "[",
      "\u0000",
      "ü",
      "http://"
    ]
    const random = () => Array.from({ length: next(9) }, () => bits[next(bits.length)]).join("")
    for (let i = 0; i < 20_000; i++) {
      const target = parse(random(), [random()])
      if (target._tag === "Project" && Target.isInternal(target.path)) leaks.push(target.path)
    }
    assert.deepStrictEqual(leaks, [])
  })
})
