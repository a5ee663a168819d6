import { assert, describe, it } from "@effect/vitest"
import * as ProjectId from "../../../src/domain/ProjectId.ts"
import { isInternal } from "../../../src/proxy/InternalPath.ts"
import { lookedUp, route, type RouteInput } from "../../../src/orchestrator/Routes.ts"

const input = (target: string, more: Partial<RouteInput> = {}): RouteInput => ({
  method: "GET",
  target,
  host: "localhost:7000",
  upgrade: false,
  ...more
})

/** A route in one line. */
const shown = (target: string, more: Partial<RouteInput> = {}, domain = "localhost") => {
  const found = route(input(target, more), domain)
  switch (found._tag) {
    case "Project":
      return `${found.project} ${found.target} ${found.prefix ?? "-"}`
    case "Redirect":
      return `-> ${found.location}`
    case "Refused":
      return String(found.status)
    case "Lookup":
      return `? ${found.host}`
    case "Own":
      return "own"
  }
}

describe("routes by path", () => {
  it.for([
    ["/", "own"],
    ["/status", "own"],
    ["/internal/keep-awake", "own"],
    ["/projects", "own"],
    ["/Projects/a/", "own"],
    ["//projects/a/", "own"],
    ["/projects/", "404"],
    ["/projects/a/", "a / /projects/a"],
    ["/projects/a/x/y?q=%20&r=/projects/b/#f", "a /x/y?q=%20&r=/projects/b/#f /projects/a"],
    ["/projects/a//x/../%2e%2e/./\\y;z", "a //x/../%2e%2e/./\\y;z /projects/a"],
    ["/projects/a/docs/internal/x", "a /docs/internal/x /projects/a"],
    ["/projects/a/x?/../internal/y", "a /x?/../internal/y /projects/a"],
    ["/projects/a", "-> /projects/a/"],
    ["/projects/a?q=1", "-> /projects/a/?q=1"],
    ["/projects/A/", "404"],
    ["/projects/a%61/", "404"],
    ["/projects/../x", "404"],
    ["/projects/./x", "404"],
    ["/projects/a_b/", "404"],
    ["/projects/-a/", "404"],
    ["/projects/admin/", "404"],
    ["/projects/a\\x/", "404"],
    ["/projects/a;x/", "404"],
    [`/projects/${"a".repeat(64)}/`, "404"],
    ["*", "400"],
    ["example.com:443", "400"],
    ["http://localhost/projects/a/", "400"],
    ["", "400"]
  ])("%s is %s", ([target = "", expected]) => assert.strictEqual(shown(target), expected))

  it("without a slash behind the id only what loads a page is redirected", () => {
    assert.strictEqual(shown("/projects/a?q", { method: "HEAD" }), "-> /projects/a/?q")
    assert.strictEqual(shown("/projects/a?q", { method: "POST" }), "a /?q /projects/a")
    assert.strictEqual(shown("/projects/a", { upgrade: true }), "a / /projects/a")
  })
})

describe("routes by host", () => {
  it.for([
    ["a.localhost", "a /projects/b/x?y -"],
    ["a.localhost:7000", "a /projects/b/x?y -"],
    ["A.LocalHost.:1", "a /projects/b/x?y -"],
    ["localhost", "b /x?y /projects/b"],
    ["localhost.", "b /x?y /projects/b"],
    ["127.0.0.1:7000", "b /x?y /projects/b"],
    ["[::1]:7000", "b /x?y /projects/b"],
    ["8.8.8.8", "b /x?y /projects/b"],
    ["example.com:80", "? example.com"],
    ["Example.COM.", "? example.com"],
    ["a.b.localhost", "? a.b.localhost"],
    ["www.localhost", "? www.localhost"],
    ["notlocalhost", "? notlocalhost"],
    ["", "400"],
    ["a b", "400"],
    ["a@localhost", "400"],
    ["a,b", "400"],
    ["a/b", "400"],
    [".localhost", "400"],
    ["a.localhost:x", "400"],
    ["a.localhost:80:80", "400"],
    ["[::1", "400"],
    ["[1.2.3.4]", "400"],
    ["ä.localhost", "400"],
    [`${"a".repeat(300)}.localhost`, "400"]
  ])("%s is %s", ([host = "", expected]) => assert.strictEqual(shown("/projects/b/x?y", { host }), expected))

  it("a client without Host is routed by path", () =>
    assert.strictEqual(shown("/projects/b/", { host: null }), "b / /projects/b"))

  it("the domain may be any", () => {
    assert.strictEqual(shown("/", { host: "a.apps.example.com" }, "apps.example.com"), "a / -")
    assert.strictEqual(shown("/", { host: "apps.example.com" }, "apps.example.com"), "own")
    assert.strictEqual(shown("/", { host: "a.localhost" }, "apps.example.com"), "? a.localhost")
  })

  it("a looked up host is its project, else the paths of the orchestrator; a name under the domain is nobody's", () => {
    const project = ProjectId.ProjectId.make("b")
    const found = (host: string, of: ProjectId.ProjectId | undefined, target = "/projects/a/x") =>
      lookedUp(of, host, input(target), "localhost")
    assert.deepStrictEqual(found("example.com", project), {
      _tag: "Project",
      project,
      target: "/projects/a/x",
      prefix: null
    })
    assert.strictEqual(found("example.com", undefined)._tag, "Project")
    assert.strictEqual(found("example.com", undefined, "/x")._tag, "Own")
    assert.strictEqual(found("www.localhost", undefined)._tag, "Refused")
    assert.strictEqual(found("example.com", project, "/internal/x")._tag, "Refused")
  })
})

const hostile = [
  "/internal",
  "/internal/configure",
  "/internal?x",
  "/internal#x",
  "/internal/../x",
  "/INTERNAL/configure",
  "//internal/configure",
  "///internal",
  "/./internal",
  "/.//./internal",
  "/x/../internal",
  "/x/y/../../internal",
  "/x/%2e%2e/internal",
  "/x/.%2E/internal",
  "/%69nternal/configure",
  "/%49nternal",
  "/%2569nternal",
  "/%252569nternal",
  "/%25252569nternal",
  "/%2525252525252569nternal",
  "/%2finternal",
  "/%2f%2finternal",
  "/%5cinternal",
  "/\\internal",
  "\\internal",
  "/\\/internal",
  "/a%2fb/../internal",
  "/a\\..\\internal",
  "/a/..%5cinternal",
  "//host/internal/configure",
  "/\\host/internal/configure",
  "/%2fhost/internal",
  "/internal;x/configure",
  "/;x/internal",
  "/.;x/internal",
  "/a/..;/internal",
  "/a/..;x=y/internal",
  "/internal%3bx",
  "/internal%3fx",
  "/internal%23x",
  "/internal%00x",
  "/internal%20",
  "/%20internal",
  "/%09internal",
  "/in%0aternal",
  "/%00/internal",
  "/%2e/internal",
  "/projects/a/internal/configure",
  "/projects/a/../a/internal",
  "/projects/a/projects/a/internal",
  "//projects/a/internal",
  "/Projects/a/internal",
  "/projects/%61/internal"
]

describe("a project's own /internal", () => {
  it.for(hostile)("%s is out of reach, by host and by path", (path) => {
    assert.strictEqual(shown(path, { host: "a.localhost" }), path.startsWith("/") ? "404" : "400")
    assert.strictEqual(shown(`/projects/a${path}`), "404")
  })

  it.for([
    "/",
    "/internals",
    "/internal-docs/",
    "/xinternal",
    "/docs/internal/x",
    "/docs//internal",
    "/docs/./internal",
    "/docs/%69nternal",
    "/docs%2finternal",
    "/a/../b",
    "/%",
    "/%zz",
    "/%ff%fe",
    "/a;b/c",
    "/projects",
    "/projects/a",
    "/projects/internal"
  ])("%s is an ordinary path", (path) => assert.isFalse(isInternal(path)))

  it("a path encoded without end is none", () => assert.isTrue(isInternal(`/%${"25".repeat(5000)}69nternal`)))
})
