/** The reference project server over HTTP, managed: documents, export and import, what belongs to the machine. */
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import { configOf, deployKey, secret, startConfigured, temporaryFolder } from "../../project-server/harness.ts"
import { target } from "../FuzzTarget.ts"
import { bearers, hosts, nearIds, request, type Request } from "../generate/Http.ts"
import { anyJson, broken, literal, object } from "../generate/Json.ts"
import { hostile } from "../generate/Text.ts"
import { httpCheck } from "../HttpCheck.ts"
import { type Answer, ask, expectStatus } from "../Wire.ts"

const ids = nearIds(["demo", "other"])
const secrets = [secret, deployKey]

const keys = fc.oneof(
  fc.constantFrom("a", "b/c", "%61", "x".repeat(512), "%F0%9F%92%A9", "a%00b", "%ED%A0%80"),
  hostile.map((text) => encodeURIComponent(text.toWellFormed()).slice(0, 900))
)

/** What comes through Fly's proxy, or without the machine's secret, sees none of the machine's own calls. */
const toldOfTheMachine = (request: Request, answer: Answer): string | undefined =>
  request.target.toLowerCase().includes("internal") &&
  answer.status < 300 &&
  /newest_generation|ready/.test(answer.body)
    ? "the machine protocol answered"
    : undefined

export const projectServer = target({
  name: "project-server",
  about: "documents, export, import and health of the reference server",
  share: 6,
  quick: 80,
  arbitrary: request({
    paths: [
      "/documents/:id",
      "/documents/:id",
      "/documents/:id",
      "/projects/demo/documents/:id",
      "/documents",
      "/projects/:id",
      "/",
      "/export",
      "/import",
      "/ws",
      "/health",
      "/internal/configure",
      "/internal/unseal",
      "/projects/demo/internal/archive-to-r2"
    ],
    ids: fc.oneof(keys, ids),
    hosts: hosts("example.com", ids, "demo.example.com"),
    headers: [bearers([deployKey, "not-the-secret", "dk_other"])],
    bodies: broken(
      fc.oneof(
        anyJson,
        object({ required: { project_id: literal("demo"), project_uid: literal("u1"), generation: literal(1, 9) } }),
        fc.constant("SQLite format 3\0"),
        fc.constantFrom(1_048_577, 2_000).map((size) => JSON.stringify("x".repeat(size)))
      )
    )
  }),
  open: Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const server = yield* startConfigured(configOf(folder, { comparesAddress: true }))
    const { port } = server
    const probeHost = { host: "demo.example.com" }
    let version = 0
    const check = httpCheck({
      port,
      secrets: () => secrets,
      statuses: [200, 201, 204, 304, 307, 308, 400, 401, 404, 405, 412, 413, 426, 503],
      // An export or import at a time; a body that is no database, a request that is not for this server.
      codes: { 503: ["sealed", "busy", "internal"] },
      also: toldOfTheMachine
    })
    return {
      check,
      probe: Effect.gen(function* () {
        const body = JSON.stringify({ version: ++version })
        const put = yield* ask(port, { method: "PUT", path: "/documents/probe", headers: probeHost, body })
        if (put.status !== 201) yield* expectStatus("put", 200)(put)
        const got = yield* Effect.flatMap(
          ask(port, { path: "/documents/probe", headers: probeHost }),
          expectStatus("get", 200)
        )
        yield* expectStatus(`get ${body}`, got.body === body ? 200 : 0)(got)
      }),
      secrets: () => secrets
    }
  })
})
