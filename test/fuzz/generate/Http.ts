/** Requests as bytes: valid ones, and what becomes of them when parts are replaced by what is almost right. */
import * as fc from "fast-check"
import { injected } from "../Oracle.ts"
import { edited, edits, hostile } from "./Text.ts"

export type Header = readonly [name: string, value: string]

export interface Request {
  readonly method: string
  readonly target: string
  readonly headers: ReadonlyArray<Header>
  readonly body: string
  /** `lies`: the length given is not the body's. */
  readonly framing: "none" | "length" | "chunked" | "both" | "lies"
}

export interface Parts {
  readonly methods?: fc.Arbitrary<string>
  /** Paths, `:id` for an id. */
  readonly paths: ReadonlyArray<string>
  readonly ids: fc.Arbitrary<string>
  readonly queries?: fc.Arbitrary<string>
  readonly hosts: fc.Arbitrary<string>
  /** Beside those that any server gets. */
  readonly headers?: ReadonlyArray<fc.Arbitrary<Header>>
  readonly bodies: fc.Arbitrary<string>
}

const methods = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS") },
  { weight: 1, arbitrary: fc.constantFrom("PROPFIND", "TRACE", "CONNECT", "get", "PURGE", "SEARCH", "QUERY", "X") }
)

const inPath = fc.oneof(
  fc.constantFrom(
    "/",
    "//",
    "/.",
    "/..",
    "/../",
    "%2e%2e/",
    "%2f",
    "%5c",
    "\\",
    "%00",
    "%0d%0a",
    "%252e",
    "%c0%ae",
    "%ff",
    "%",
    "%zz",
    ";a=b",
    "?",
    "#",
    "internal/",
    "/internal",
    "/%69nternal/configure",
    "/INTERNAL/",
    "/projects/",
    "/api/",
    "/health",
    "@",
    ":",
    "é",
    "*"
  ),
  hostile.map((text) => text.slice(0, 300))
)

/** What an id could be taken for. */
export const nearIds = (valid: ReadonlyArray<string>): fc.Arbitrary<string> => {
  const first = valid[0] ?? "demo"
  return fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...valid) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        first.toUpperCase(),
        `${first}-`,
        `-${first}`,
        `${first}.`,
        `.${first}`,
        `${first}%00`,
        `${first}%20`,
        `%64${first.slice(1)}`,
        `${first}..${first}`,
        "no-such-project",
        "api",
        "internal",
        "www",
        "xn--a",
        "__proto__",
        "constructor",
        "a".repeat(63),
        "a".repeat(64),
        "0"
      )
    },
    { weight: 1, arbitrary: hostile.map((text) => text.slice(0, 200)) }
  )
}

const addresses = fc.constantFrom(
  "127.0.0.1",
  "::1",
  "203.0.113.7",
  "10.0.0.1",
  "::ffff:127.0.0.1",
  "2001:db8::1",
  "[::1]:80",
  "1.2.3.4, 127.0.0.1",
  "unknown",
  "_hidden",
  "999.1.1.1",
  "1.2.3.4:99999",
  ","
)

const header = (name: string, values: fc.Arbitrary<string>): fc.Arbitrary<Header> =>
  fc.tuple(
    fc.constantFrom(name, name.toUpperCase(), name),
    fc.oneof({ weight: 5, arbitrary: values }, { weight: 1, arbitrary: hostile })
  )

export const bearers = (valid: ReadonlyArray<string>): fc.Arbitrary<Header> => {
  const [first = "secret"] = valid
  return header(
    "authorization",
    fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...valid.map((secret) => `Bearer ${secret}`)) },
      {
        weight: 3,
        arbitrary: fc.constantFrom(
          "Bearer",
          "Bearer ",
          "Bearer dk_",
          "Bearer wrong-secret-wrong-secret-wrong-secret",
          `bearer   ${first}`,
          `Bearer ${first} x`,
          `Basic ${first}`,
          `Bearer\t${first}`,
          `Bearer ${first.slice(1)}`,
          `Bearer ${"x".repeat(9_000)}`
        )
      }
    )
  )
}

const common: ReadonlyArray<fc.Arbitrary<Header>> = [
  header(
    "content-type",
    fc.constantFrom(
      "application/json",
      "application/json; charset=utf-8",
      "application/json;charset=utf-16",
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data",
      "multipart/form-data; boundary=x",
      "application/octet-stream",
      "application/problem+json",
      "APPLICATION/JSON",
      "json"
    )
  ),
  header("fly-client-ip", addresses),
  header("x-forwarded-for", addresses),
  header("x-forwarded-proto", fc.constantFrom("https", "http", "wss", "javascript", "https,http")),
  header("x-forwarded-host", fc.constantFrom("plane.example", "evil.example", "localhost", `a"b`, "a/b")),
  header("forwarded", fc.constantFrom("for=127.0.0.1", "for=unknown;host=evil")),
  header(
    "fly-replay-src",
    fc.constantFrom(
      "instance=1;region=sjc;t=1;state=stale",
      "state=stale",
      "state=,state=stale",
      "instance=m-demo, state=stale",
      "state=other",
      ";;;"
    )
  ),
  header("fly-replay-failed", fc.constantFrom("1", "instance=m-demo", "")),
  header("origin", fc.constantFrom("https://a.example", "null", "http://plane.example", "file://")),
  header("access-control-request-headers", fc.constantFrom("authorization", "x".repeat(4_000), "*")),
  header("access-control-request-method", fc.constantFrom("DELETE", "X")),
  header("accept", fc.constantFrom("text/html", "application/json", "*/*;q=0.1", "text/event-stream")),
  header("accept-encoding", fc.constantFrom("gzip", "identity;q=0", "br")),
  header("user-agent", fc.constantFrom("googlebot", "curl/8", "")),
  header("sec-fetch-mode", fc.constantFrom("navigate", "cors")),
  header("expect", fc.constantFrom("100-continue", "200-ok")),
  header("upgrade", fc.constantFrom("websocket", "h2c", "tls/1.0", "websocket, h2c")),
  header("connection", fc.constantFrom("upgrade", "keep-alive", "close, upgrade", "host", "content-length, te")),
  header("sec-websocket-key", fc.constantFrom("dGhlIHNhbXBsZSBub25jZQ==", "short")),
  header("sec-websocket-version", fc.constantFrom("13", "8")),
  header("idempotency-key", fc.constantFrom("one", "two", "x".repeat(255), "x".repeat(256))),
  header("if-match", fc.constantFrom('"1"', "*", 'W/"1"', '"1", "2"', '"999999999999999999"', "1")),
  header("if-none-match", fc.constantFrom("*", '"1"', 'W/"1", "2"', ",")),
  header("range", fc.constantFrom("bytes=0-9", "bytes=-1", "bytes=9-0", "lines=1")),
  header("content-encoding", fc.constantFrom("gzip", "identity", "br")),
  header("transfer-encoding", fc.constantFrom("chunked", "gzip, chunked", "identity", "chunked, chunked")),
  header("x-http-method-override", fc.constantFrom("DELETE")),
  header("via", fc.constantFrom("1.1 proxy")),
  header("cookie", fc.constantFrom("a=b")),
  header("date", fc.constantFrom("now")),
  fc.tuple(fc.constantFrom("__proto__", "constructor", "x".repeat(200), "a b", "", injected), hostile)
]

const queries = fc.oneof(
  { weight: 3, arbitrary: fc.constant("") },
  {
    weight: 2,
    arbitrary: fc
      .array(
        fc.tuple(
          fc.constantFrom(
            "limit",
            "cursor",
            "state",
            "force",
            "prefix",
            "after",
            "domain",
            "lines",
            "__proto__",
            "a[]"
          ),
          fc.oneof(
            fc.constantFrom("1", "200", "201", "0", "true", "active", "dormant", "NaN", "1e3", "", "MTox", "%E0%A4%A"),
            hostile.map((text) => encodeURIComponent(text.toWellFormed())),
            hostile
          )
        ),
        { maxLength: 3 }
      )
      .map((pairs) => `?${pairs.map((pair) => pair.join("=")).join("&")}`)
  }
)

interface Switching {
  readonly headers: ReadonlyArray<Header>
  /** Bytes behind the request, which nobody may ever read. */
  readonly behind: number
}

const switching: fc.Arbitrary<Switching> = fc.oneof(
  { weight: 20, arbitrary: fc.constant({ headers: [], behind: 0 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom("websocket", "h2c"), fc.constantFrom(0, 10, 100_000)).map(([to, behind]) => ({
      headers: [
        ["connection", "upgrade"],
        ["upgrade", to]
      ] as const,
      behind
    }))
  }
)

const targetOf = (parts: Parts): fc.Arbitrary<string> => {
  const path = fc.tuple(fc.constantFrom(...parts.paths), parts.ids).map(([path, id]) => path.replaceAll(":id", id))
  const changed = fc.oneof(
    { weight: 3, arbitrary: path },
    { weight: 2, arbitrary: fc.tuple(path, edits(inPath)).map(([path, changes]) => edited(path, changes)) }
  )
  const origin = fc.tuple(changed, parts.queries ?? queries).map(([path, query]) => path + query)
  return fc.oneof(
    { weight: 16, arbitrary: origin },
    { weight: 1, arbitrary: fc.tuple(parts.hosts, origin).map(([host, path]) => `http://${host}${path}`) },
    {
      weight: 1,
      arbitrary: fc.constantFrom("*", "plane.example:443", "", "http://", "//evil.example/x", "?", "#", "/")
    }
  )
}

export const request = (parts: Parts): fc.Arbitrary<Request> => {
  const others = fc.array(fc.oneof(...common), { maxLength: 4 })
  const own = (parts.headers ?? []).map((header) => fc.option(header, { nil: undefined, freq: 2 }))
  const hosts = fc.oneof(
    { weight: 12, arbitrary: parts.hosts.map((host): ReadonlyArray<Header> => [["host", host]]) },
    { weight: 1, arbitrary: fc.constant<ReadonlyArray<Header>>([]) },
    {
      weight: 1,
      arbitrary: fc.tuple(parts.hosts, parts.hosts).map(([one, two]): ReadonlyArray<Header> => [
        ["host", one],
        ["Host", two]
      ])
    }
  )
  return fc
    .record({
      method: parts.methods ?? methods,
      target: targetOf(parts),
      host: hosts,
      own: fc.tuple(...own),
      others,
      switching,
      body: fc.oneof({ weight: 1, arbitrary: fc.constant("") }, { weight: 2, arbitrary: parts.bodies }),
      json: fc.boolean(),
      framing: fc.constantFrom("length", "length", "length", "length", "length", "chunked", "none", "both", "lies")
    })
    .map(({ body, framing, host, json, method, others, own, switching, target }) => ({
      method,
      target,
      body: body + " ".repeat(switching.behind),
      framing: body === "" && framing === "length" ? "none" : framing,
      headers: [
        ...host,
        ...own.filter((header) => header !== undefined),
        ...(json && body !== "" ? [["content-type", "application/json"] as const] : []),
        ...others,
        ...switching.headers
      ]
    }))
}

/** Hosts of a plane or an orchestrator and what is almost one. */
export const hosts = (domain: string, ids: fc.Arbitrary<string>, own: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constant(own) },
    { weight: 4, arbitrary: ids.map((id) => `${id}.${domain}`) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(
          ids,
          fc.constantFrom(
            ":80",
            ":99999",
            ":x",
            ".",
            "..",
            ":",
            "@evil.example",
            "/x",
            " ",
            "\t",
            ".evil.example",
            "%00"
          )
        )
        .map(([id, more]) => `${id}.${domain}${more}`)
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        domain,
        `.${domain}`,
        `a.b.${domain}`,
        domain.toUpperCase(),
        "",
        "127.0.0.1",
        "[::1]",
        "[::1",
        "localhost",
        "evil.example",
        "a".repeat(300),
        "user@host",
        "xn--a.example",
        "é.example"
      )
    },
    { weight: 1, arbitrary: hostile.map((text) => text.slice(0, 300)) }
  )

/** A character a byte, so that every byte can be said; what needs more than a byte goes as UTF-8. */
const head = (text: string): Buffer =>
  [...text].every((char) => (char.codePointAt(0) ?? 0) < 256) ? Buffer.from(text, "latin1") : Buffer.from(text)

export interface Rendered {
  readonly bytes: Buffer
  /** The request says of itself where it ends, and all of it is there. */
  readonly honest: boolean
}

export const render = ({ body, framing, headers, method, target }: Request): Rendered => {
  const bytes = Buffer.from(body)
  const length = (size: number): Header => ["content-length", String(size)]
  const framed: Readonly<Record<Request["framing"], ReadonlyArray<Header>>> = {
    none: [],
    length: [length(bytes.length)],
    chunked: [["transfer-encoding", "chunked"]],
    both: [length(bytes.length), ["transfer-encoding", "chunked"]],
    lies: [length(bytes.length + 5)]
  }
  const chunks =
    framing === "chunked" || framing === "both"
      ? Buffer.concat([
          ...(bytes.length === 0 ? [] : [Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]),
          Buffer.from("0\r\n\r\n")
        ])
      : bytes
  const lines = [...headers, ...framed[framing]].map(([name, value]) => `${name}: ${value}\r\n`)
  const text = `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n`
  const plain = (value: string) => /^[\x20-\x7e]*$/.test(value)
  const framesItself = headers.some(([name]) => /^(?:transfer-encoding|content-length|connection|upgrade)$/i.test(name))
  const honest =
    (framing === "none" ? body === "" : framing === "length" || framing === "chunked") &&
    !framesItself &&
    /^\S+$/.test(target) &&
    plain(target) &&
    headers.every(([name, value]) => /^[\w-]+$/.test(name) && plain(value)) &&
    headers.filter(([name]) => name.toLowerCase() === "host").length === 1
  return { bytes: Buffer.concat([head(text), chunks]), honest }
}
