/**
 * Calls of the machine protocol in any order, with any generation and hostile fields, against a model of what must be so
 * whatever comes: the generation never goes back, an older call has no effect, sealed data is neither read nor written,
 * and what was acknowledged is there when the server serves again, also after a restart.
 */
import { writeFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as fc from "fast-check"
import {
  archiveBody,
  configOf,
  configureBody,
  objectStore,
  readDatabase,
  secret,
  start,
  type Response,
  type Server,
  type Store,
  temporaryFolder
} from "../../project-server/harness.ts"
import { target } from "../FuzzTarget.ts"
import { hostile } from "../generate/Text.ts"
import { excerpt, Violation } from "../Violation.ts"

type Call =
  | {
      readonly call: "configure" | "archive" | "unseal" | "settings"
      readonly generation: number
      readonly with: Fields
    }
  /** Any body to any path. */
  | { readonly call: "raw"; readonly path: string; readonly body: string; readonly bearer: boolean }
  | { readonly call: "write" }
  | { readonly call: "restart" }

type Fields = Readonly<Record<string, unknown>>

/** Relative to the newest that the server has said, so that both sides of every comparison come up. */
const generations = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: -2, max: 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(100, 2 ** 31, 2 ** 52) }
)

const text = fc.oneof({ weight: 2, arbitrary: hostile }, { weight: 1, arbitrary: fc.constantFrom("demo", "u1", "u2") })
const sometimes = (fields: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<Fields> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constant({}) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(...Object.keys(fields))
        .chain((name) => (fields[name] ?? fc.constant(null)).map((value) => ({ [name]: value })))
    }
  )
const seconds = fc.constantFrom(0, 1, 300, 2 ** 31, 2 ** 53, 1e15, -1, 0.5, "300", null)
const url = fc.oneof(
  fc.constantFrom(
    "",
    "x",
    "file:///etc/passwd",
    "http://",
    "http://[",
    "http://127.0.0.1:1/?X-Amz-Signature=presigned",
    "ftp://a/b"
  ),
  hostile.map((path) => `http://127.0.0.1:1/${path}?X-Amz-Signature=presigned`)
)
const headers = fc.oneof(
  fc.constantFrom(
    { "if-none-match": "*\r\nx-injected: 1" },
    { "a b": "c" },
    { "content-length": "1" },
    { host: "evil" }
  ),
  fc.constantFrom({ "transfer-encoding": "chunked" }, { expect: "100-continue" }, { "": "" }, { "x-a": "é\u0100" }),
  fc.tuple(hostile, hostile).map(([name, value]) => ({ [name]: value }))
)
const restore = fc.oneof(
  url.map((download_url) => ({ r2_key: "k", r2_checksum: "0".repeat(64), size: 1, download_url })),
  fc.constantFrom(
    { r2_key: "k", r2_checksum: "x", size: 1, download_url: "http://127.0.0.1:1/" },
    { r2_key: "k", r2_checksum: "0".repeat(64), size: -1, download_url: "http://127.0.0.1:1/" },
    null,
    []
  )
)

const call = (
  name: "configure" | "archive" | "unseal" | "settings",
  fields: fc.Arbitrary<Fields>
): fc.Arbitrary<Call> => fc.record({ call: fc.constant(name), generation: generations, with: fields })

const calls: fc.Arbitrary<Call> = fc.oneof(
  {
    weight: 4,
    arbitrary: call(
      "configure",
      sometimes({
        project_id: text,
        project_uid: text,
        deploy_key: text,
        router_app: text,
        idle_timeout_seconds: seconds,
        restore,
        generation: fc.constantFrom(0, -1, 1.5, 2 ** 53, "1", null)
      })
    )
  },
  {
    weight: 3,
    arbitrary: call(
      "archive",
      sometimes({
        project_uid: text,
        r2_key: text,
        upload_url: url,
        headers,
        idle_window_seconds: seconds,
        force: fc.constantFrom(true, false, "true")
      })
    )
  },
  { weight: 3, arbitrary: call("unseal", sometimes({ project_uid: text })) },
  { weight: 1, arbitrary: call("settings", sometimes({ project_uid: text, idle_timeout_seconds: seconds })) },
  { weight: 4, arbitrary: fc.constant<Call>({ call: "write" }) },
  { weight: 1, arbitrary: fc.constant<Call>({ call: "restart" }) },
  {
    weight: 1,
    arbitrary: fc.record({
      call: fc.constant("raw" as const),
      path: fc.constantFrom("configure", "archive-to-r2", "unseal", "settings", "", "x", "../health", "configure/"),
      body: fc.oneof(
        fc.constantFrom("", "null", "[]", '{"__proto__":1}', "{".repeat(30_000), "x".repeat(70_000)),
        hostile
      ),
      bearer: fc.boolean()
    })
  }
)

const fails = (detail: string) => Effect.fail(new Violation({ detail }))

const statuses = new Set([200, 202, 400, 401, 404, 405, 409, 413, 422])
const paths = { configure: "configure", archive: "archive-to-r2", unseal: "unseal", settings: "settings" } as const

/** Of a call that was answered. */
const answerProblem = (answer: Response): string | undefined => {
  if (!statuses.has(answer.status)) return `status ${answer.status}: ${excerpt(answer.text)}`
  const said = answer.text + JSON.stringify(answer.headers)
  if (said.includes(secret) || said.includes("presigned")) return `a secret in ${excerpt(said)}`
  if (/valet-server-|\n\s+at |\.ts:\d/.test(said)) return `an inside in ${excerpt(said)}`
  if ("x-injected" in answer.headers) return `a header was injected: ${excerpt(said)}`
  if (answer.status === 202 || answer.status >= 400) {
    const kind = typeof answer.json === "object" && answer.json !== null ? answer.json : {}
    if (!("error" in kind) && !("code" in kind) && !("progress" in kind)) return `no reason: ${excerpt(answer.text)}`
  }
  return undefined
}

interface Health {
  readonly project: string | null
  readonly generation: number
  readonly sealed: boolean
}

const healthOf = (server: Server): Effect.Effect<Health, Violation> =>
  server.send("GET", "/health").pipe(
    Effect.mapError(() => new Violation({ detail: "no health" })),
    Effect.flatMap(({ json, status }) => {
      const health: Readonly<Record<string, unknown>> = typeof json === "object" && json !== null ? { ...json } : {}
      const { generation, project_id, sealed } = health
      return status === 200 && typeof generation === "number" && typeof sealed === "boolean"
        ? Effect.succeed({ generation, sealed, project: typeof project_id === "string" ? project_id : null })
        : fails(`health answered ${status}`)
    })
  )

const lost = (error: Error) => new Violation({ detail: `no answer: ${error.message}` })

/** One server's life. */
const life = (
  calls: ReadonlyArray<Call>,
  store: Store,
  freshKey: () => number
): Effect.Effect<void, Violation, Scope.Scope> =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const config = configOf(folder, { longCallMs: 30, stallMs: 500 })
    const started = start(config).pipe(
      Effect.catchCause((cause) => fails(`it does not start: ${excerpt(String(cause))}`))
    )
    let server = yield* started
    let newest = 0
    let acknowledged: number | undefined
    let written = 0
    let key = 0

    const send = (name: string, body: string, bearer = true) =>
      Effect.gen(function* () {
        const answer = yield* server
          .send("POST", `/internal/${name}`, { headers: bearer ? { authorization: `Bearer ${secret}` } : {}, body })
          .pipe(Effect.mapError(lost))
        const problem = answerProblem(answer)
        if (problem !== undefined) return yield* fails(`${name}: ${problem}`)
        return answer
      })

    const write = Effect.gen(function* () {
      const value = ++written
      const before = yield* healthOf(server)
      const answer = yield* server
        .send("PUT", "/documents/written", { body: JSON.stringify(value) })
        .pipe(Effect.mapError(lost))
      if (answer.status === 200 || answer.status === 201) {
        // A failed upload may have opened it in between, but nothing seals it again by itself.
        if (before.sealed && (yield* healthOf(server)).sealed)
          return yield* fails("a write was acknowledged while sealed")
        acknowledged = value
        return
      }
      if (answer.status !== 307 && answer.status !== 503)
        return yield* fails(`a write: ${answer.status} ${answer.text}`)
    })

    const read = Effect.gen(function* () {
      const { sealed } = yield* healthOf(server)
      const answer = yield* server.send("GET", "/documents/written").pipe(Effect.mapError(lost))
      if (answer.status === 307 || answer.status === 503) return
      if (sealed && (yield* healthOf(server)).sealed) return yield* fails(`sealed, and read: ${answer.status}`)
      if (acknowledged !== undefined && answer.text !== String(acknowledged)) {
        return yield* fails(
          `${answer.status} ${excerpt(answer.text)} in place of ${acknowledged}, which was acknowledged`
        )
      }
    })

    for (const step of calls) {
      if (step.call === "write") yield* write
      else if (step.call === "restart") {
        yield* server.stop
        server = yield* started
      } else if (step.call === "raw") yield* send(step.path, step.body, step.bearer)
      else {
        const generation = Math.max(1, newest + step.generation)
        const bodies = {
          configure: () => configureBody(generation, step.with),
          archive: () =>
            archiveBody(generation, store, { upload_url: `${store.url}/${(key = freshKey())}`, ...step.with }),
          unseal: () => ({ project_uid: "u1", generation, ...step.with }),
          settings: () => ({ project_uid: "u1", generation, idle_timeout_seconds: 60, ...step.with })
        }
        const stale = !("generation" in step.with) && generation < newest
        const answer = yield* send(paths[step.call], JSON.stringify(bodies[step.call]()))
        if (stale && (answer.status === 200 || answer.status === 202)) {
          return yield* fails(`${step.call} of generation ${generation} below ${newest} was answered ${answer.status}`)
        }
        if (step.call === "archive" && answer.status === 200) {
          if (!(yield* healthOf(server)).sealed) return yield* fails("archived and not sealed")
          const object = store.objects.get(`/${key}`)
          if (object !== undefined && acknowledged !== undefined) yield* archived(folder, object, acknowledged)
        }
      }
      const { generation } = yield* healthOf(server)
      if (generation < newest) return yield* fails(`the generation went from ${newest} to ${generation}`)
      newest = generation
      yield* read
    }
    yield* server.stop
    server = yield* started
    if ((yield* healthOf(server)).generation < newest) return yield* fails("a restart lost the generation")
    yield* read
    // Whatever happened, the next generation can open it again, unless there is none.
    if (newest > 0 && newest < Number.MAX_SAFE_INTEGER) {
      const opened = yield* send("unseal", JSON.stringify({ project_uid: "u1", generation: newest + 1 }))
      yield* read
      if (acknowledged !== undefined && opened.status === 200) {
        const found = yield* server.send("GET", "/documents/written").pipe(Effect.mapError(lost))
        if (found.text !== String(acknowledged)) {
          return yield* fails(`unsealed: ${found.status} ${excerpt(found.text)} in place of ${acknowledged}`)
        }
      }
    }
    yield* server.stop
  })

const archived = (folder: string, object: Buffer, acknowledged: number) =>
  Effect.gen(function* () {
    const path = `${folder}/looked-at.db`
    const found = yield* Effect.try({
      try: () => {
        writeFileSync(path, object)
        return readDatabase(path).get("written")
      },
      catch: (error) => new Violation({ detail: `the archive is no database: ${String(error)}` })
    })
    if (found !== acknowledged) return yield* fails(`the archive has ${String(found)} in place of ${acknowledged}`)
  })

export const machineProtocol = target({
  name: "machine-protocol",
  about: "calls of the machine protocol in any order, with restarts",
  share: 2,
  quick: 30,
  arbitrary: fc.array(calls, { minLength: 1, maxLength: 14 }),
  weight: (calls) => calls.length,
  averageWeight: 6,
  open: Effect.map(objectStore, (store) => {
    let keys = 0
    return {
      check: (calls: ReadonlyArray<Call>) => Effect.scoped(life(calls, store, () => ++keys)),
      probe: Effect.void,
      secrets: () => [secret, "presigned"]
    }
  })
})
