/** Parsers that need no server: they have to be total, and what they let through has to be what it says. */
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Redacted from "effect/Redacted"
import * as ProjectId from "../../../src/domain/ProjectId.ts"
import { formatDuration, parseDuration } from "../../../src/domain/Duration.ts"
import * as Target from "../../../src/http/router/Target.ts"
import { clientOf, isPrivate } from "../../../src/domain/ClientAddress.ts"
import * as Replay from "../../../src/local/edge/Replay.ts"
import * as AwsChunked from "../../../src/local/s3/AwsChunked.ts"
import * as Signature from "../../../src/local/s3/Signature.ts"
import * as S3Target from "../../../src/local/s3/Target.ts"
import { addressOf } from "../../../src/project-server/Address.ts"
import * as Frames from "../../../src/project-server/Frames.ts"
import { decodeCursor } from "../../../src/services/db/postgres/Cursor.ts"
import { pure } from "../FuzzTarget.ts"
import { hosts, nearIds } from "../generate/Http.ts"
import { broken, literal, object } from "../generate/Json.ts"
import { edited, edits, hostile } from "../generate/Text.ts"
import { isInternalByWhatwg } from "../Internal.ts"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

const ids = nearIds(["demo", "other"])

const pieces = fc.oneof(
  fc.constantFrom(
    "/",
    "//",
    "/..",
    "/.",
    "\\",
    "%2f",
    "%2e",
    "%69nternal",
    "internal",
    "projects",
    "/projects/demo",
    "?",
    "#"
  ),
  fc.constantFrom(
    ";x",
    "%25",
    "%00",
    "%20",
    "\t",
    "INTERNAL",
    "demo",
    "api",
    "x",
    "%5c",
    "http://",
    "@",
    ":80",
    "health"
  ),
  hostile.map((text) => text.slice(0, 100))
)
export const targets = fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join(""))

export const routing = pure({
  name: "routing",
  about: "targets and hosts of the router, addresses of the project server",
  share: 14,
  quick: 1_000,
  arbitrary: fc.record({
    method: fc.constantFrom("GET", "OPTIONS", "HEAD", "POST"),
    target: fc.oneof(
      targets,
      targets.map((path) => `/${path}`)
    ),
    hosts: fc.array(hosts("fly.valet.host", ids, "plane.example"), { maxLength: 2 }),
    domain: fc.constantFrom("fly.valet.host", null)
  }),
  check: (input) => {
    const found = Target.parse(input)
    addressOf(input.target, input.hosts[0], "demo")
    if (found._tag === "Project") {
      if (ProjectId.parse(found.projectId) === undefined) return `a project that is none: ${found.projectId}`
      if (isInternalByWhatwg(found.path)) return `${found.path} would reach the project's internal paths`
    }
    if (found._tag === "Plane" && isInternalByWhatwg(found.path)) return `${found.path} is taken for the plane's own`
    return undefined
  }
})

export const smallParsers = pure({
  name: "small-parsers",
  about: "ids, durations, addresses, cursors",
  share: 6,
  quick: 1_000,
  arbitrary: fc.oneof(
    hostile,
    ids,
    fc
      .tuple(fc.nat(), fc.constantFrom("s", "m", "h", "d", "ms", "", " s", "S", ".5h", "e3s"))
      .map((pair) => pair.join("")),
    fc.ipV6(),
    fc.ipV4(),
    fc.tuple(fc.ipV4(), hostile).map(([ip, more]) => `::ffff:${ip}${more.slice(0, 5)}`),
    fc.tuple(fc.integer(), ids).map(([at, id]) => Buffer.from(`${at}:${id}`).toString("base64url")),
    fc.base64String()
  ),
  check: (text) => {
    const id = ProjectId.parse(text)
    if (id !== undefined && !/^[a-z0-9][a-z0-9-]{0,62}$/.test(id)) return `an id that is none: ${id}`
    const ms = parseDuration(text, "s")
    if (ms !== undefined) {
      if (!Number.isSafeInteger(ms) || ms < 0) return `a duration of ${ms}`
      if (parseDuration(formatDuration(ms), "s") !== ms) return `${formatDuration(ms)} is not read back`
    }
    const client = clientOf(text)
    if (!/^(?:unknown|[\d.]+|[0-9a-f:]+\/64)$/.test(client)) return `a client ${client}`
    isPrivate(text)
    const cursor = decodeCursor(text)
    if (cursor !== undefined && !Number.isSafeInteger(cursor.createdAt)) return `a cursor at ${cursor.createdAt}`
    return undefined
  }
})

const field = fc.tuple(
  fc.constantFrom("app", "instance", "prefer_instance", "region", "state", "elsewhere", "timeout", "fallback", "x"),
  fc.oneof(fc.constantFrom("a", "true", "10s", "1ms", "prefer_self", '"a,b"', '"a\\"b"', "sjc,ams", '"'), hostile)
)
const names = fc.oneof(
  literal("x-a", "Connection", "fly-x", "Host", "a b", "x\r\ny"),
  hostile.map((text) => JSON.stringify(text))
)

export const replay = pure({
  name: "fly-replay",
  about: "fly-replay of the local edge, as a header and as JSON",
  share: 6,
  quick: 600,
  arbitrary: fc.oneof(
    fc.array(field, { maxLength: 5 }).map((fields) => ({
      json: false,
      text: fields.map((pair) => pair.join("=")).join(";")
    })),
    fc.tuple(fc.array(field, { maxLength: 3 }), edits(hostile)).map(([fields, changes]) => ({
      json: false,
      text: edited(fields.map((pair) => pair.join("=")).join(";"), changes)
    })),
    broken(
      object({
        optional: {
          app: literal("a", "a b"),
          instance: literal("m1"),
          timeout: literal("10s", "x"),
          fallback: literal("prefer_self", "x"),
          elsewhere: literal(true),
          transform: object({
            optional: {
              path: literal("/x", "x", "/\r\n", "/é", "/ "),
              delete_headers: names.map((name) => `[${name}]`),
              set_headers: fc.tuple(names, names).map(([name, value]) => `[{"name":${name},"value":${value}}]`)
            }
          })
        }
      })
    ).map((text) => ({ json: true, text }))
  ),
  check: ({ json, text }) => {
    const found = json ? Replay.parseJson(text) : Replay.parseHeader(text)
    if (Result.isFailure(found)) return undefined
    const { app, instance, preferInstance, region, state, timeoutMs, transform } = found.success
    const values = [app, instance, preferInstance, region, state, transform?.path]
    const set = transform?.setHeaders ?? []
    // oxlint-disable-next-line no-control-regex -- what must not be in a header
    const unsafe = /[\0-\x08\x0a-\x1f\x7f]|[^\0-\xff]/
    const bad = [
      ...values,
      ...set.flatMap(({ name, value }) => [name, value]),
      ...(transform?.deleteHeaders ?? [])
    ].find((value) => value !== undefined && unsafe.test(value))
    if (bad !== undefined) return `${JSON.stringify(bad)} would go into a header`
    if (set.some(({ name }) => /^(?:connection|transfer-encoding|content-length|fly-)/i.test(name)))
      return "framing set"
    return timeoutMs === undefined || (Number.isSafeInteger(timeoutMs) && timeoutMs >= 0)
      ? undefined
      : `${timeoutMs} ms`
  }
})

const credentials = {
  accessKeyId: "fuzz-access-key",
  secretAccessKey: Redacted.make("fuzz-secret-key-of-the-local-s3")
}
const signedDate = "20261122T000000Z"
const now = 1_795_305_600_000
const scope = "fuzz-access-key/20261122/us-east-1/s3/aws4_request"
const amzValue = (valid: string) =>
  fc.oneof({ weight: 5, arbitrary: fc.constant(valid) }, { weight: 1, arbitrary: hostile })
const signedHeaders = fc.oneof(
  fc.constantFrom("host", "host;x-amz-date", "host;toString", "host;__proto__;constructor", ";", "HOST", "host;host"),
  hostile
)
const signatures = fc.constantFrom("0".repeat(64), "", "é", "x".repeat(64))

const query = fc
  .record({
    algorithm: amzValue("AWS4-HMAC-SHA256"),
    credential: amzValue(scope),
    date: amzValue(signedDate),
    expires: fc.oneof(fc.constantFrom("60", "604800", "604801", "0", "-1", "1e3", "0x10", " 5 ", "NaN", ""), hostile),
    signed: signedHeaders,
    signature: signatures
  })
  .map(
    ({ algorithm, credential, date, expires, signature, signed }) =>
      `?X-Amz-Algorithm=${algorithm}&X-Amz-Credential=${encodeURIComponent(credential.toWellFormed())}&X-Amz-Date=${date}` +
      `&X-Amz-Expires=${expires}&X-Amz-SignedHeaders=${signed}&X-Amz-Signature=${signature}`
  )

const authorization = fc
  .tuple(amzValue(scope), signedHeaders, signatures, edits(hostile))
  .map(([credential, signed, signature, changes]) =>
    edited(`AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${signed},Signature=${signature}`, changes)
  )

export const signature = pure({
  name: "s3-signature",
  about: "request targets and signatures of the local S3 server",
  share: 5,
  quick: 600,
  arbitrary: fc.record({
    method: fc.constantFrom("GET", "PUT"),
    path: fc.oneof(
      fc.constantFrom("/valet-dormant/key", "/valet-dormant", "/", "/x/y"),
      targets.map((path) => `/${path}`)
    ),
    query: fc.oneof(
      fc.constant(""),
      query,
      hostile.map((text) => `?${text}`)
    ),
    headers: fc.record(
      {
        host: hostile,
        authorization,
        "x-amz-date": amzValue(signedDate),
        "x-amz-content-sha256": fc.constantFrom("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x")
      },
      { requiredKeys: [] }
    )
  }),
  check: ({ headers, method, path, query }) => {
    // Bytes never make half a surrogate.
    const parsed = S3Target.parse((path + query).toWellFormed())
    if (!S3Target.isTarget(parsed)) return undefined
    if (parsed.key?.includes("\0") === true) return "a key with NUL"
    const verified = Signature.verify({ method, target: parsed, headers, now }, credentials)
    return Signature.isVerified(verified) ? "a signature that nobody made is accepted" : undefined
  }
})

const chunk = fc.oneof(
  fc.constantFrom(
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
    "ffffffff\r\n",
    "-1\r\n",
    "5\nhello\n"
  ),
  fc.constant(`5;chunk-signature=${"0".repeat(64)}\r\nhello\r\n`),
  hostile
)

export const chunks = pure({
  name: "aws-chunked",
  about: "chunked uploads of the local S3 server, in any pieces",
  share: 4,
  quick: 200,
  arbitrary: fc.record({
    signed: fc.boolean(),
    parts: fc.array(chunk, { maxLength: 6 }),
    cuts: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 })
  }),
  check: ({ cuts, parts, signed }) => {
    const bytes = Buffer.from(parts.join(""))
    const decoder = () =>
      AwsChunked.decoder({
        payload: signed ? "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" : "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        signature: "0".repeat(64),
        scope,
        date: signedDate,
        signingKey: Buffer.from("key")
      })
    const pieces: Array<Uint8Array> = []
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const size = cuts[i % cuts.length] ?? 1
      pieces.push(bytes.subarray(at, at + size))
      at += size
    }
    const decode = (input: ReadonlyArray<Uint8Array>): string =>
      Effect.runSync(
        Stream.runCollect(decoder().decode(Stream.fromIterable(input))).pipe(
          Effect.map((out) => Buffer.concat([...out]).toString("latin1")),
          Effect.catch((failure) => Effect.succeed(`failed ${failure.code}`))
        )
      )
    const [whole, cut] = [decode([bytes]), decode(pieces)]
    // What ends in a failure may end in another one, by what was read first.
    return whole === cut || (whole.startsWith("failed") && cut.startsWith("failed")) ? undefined : `${whole} or ${cut}`
  }
})

const keys = fc.oneof(
  literal("a", "a/b", "x".repeat(512), "x".repeat(513), ""),
  hostile.map((text) => JSON.stringify(text))
)

/** A request of a WebSocket as text. */
export const message = broken(
  fc.oneof(
    object({
      required: { id: literal(1, "a"), op: literal("put"), key: keys, value: literal({ a: 1 }, "x", null, [1]) },
      optional: { if_version: literal(0, 1, 7) }
    }),
    object({
      required: { id: literal(2, 0.5), op: literal("get", "delete"), key: keys },
      optional: { if_version: literal(0, 2) }
    }),
    object({
      required: { id: literal(3), op: literal("list") },
      optional: { prefix: keys, after: keys, limit: literal(1, 100, 1000, 1001, 0) }
    }),
    object({ required: { id: literal(4), op: literal("subscribe", "unsubscribe"), prefix: keys } }),
    object({ required: { id: literal(5), op: literal("drop", "PUT", "", "toString", "__proto__") } })
  )
)

export const frames = pure({
  name: "documents",
  about: "requests of WebSockets as the project server reads them",
  share: 10,
  quick: 800,
  arbitrary: message,
  check: (text) => {
    const parsed = Frames.parse(text)
    const id: unknown = JSON.parse(parsed.id)
    if (id !== null && typeof id !== "string" && typeof id !== "number") return `an id ${parsed.id}`
    if (parsed._tag === "Invalid") {
      JSON.parse(Frames.failure(parsed.id, parsed.code, parsed.message))
      return parsed.message.length > 10_000 ? `a message of ${parsed.message.length}` : undefined
    }
    if (parsed._tag === "Command" && parsed.command.op === "put") {
      if (parsed.command.key.includes("\0") || !parsed.command.key.isWellFormed()) return "a key that SQLite would cut"
      JSON.parse(Frames.answer(parsed.id, { _tag: "Got", json: parsed.command.json, version: 1 }))
    }
    return undefined
  }
})
