/**
 * Holds idle WebSocket connections through an orchestrator and says what one costs and what is left when all are closed:
 *   node test/orchestrator/hold-connections.ts [--connections 2000] [--projects 20] [--seconds 60] [--json]
 * Exit code 1 where memory or descriptors do not come back.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { hold } from "./e2e/Hold.ts"

const { values } = parseArgs({
  options: {
    connections: { type: "string", default: "2000" },
    projects: { type: "string", default: "20" },
    seconds: { type: "string", default: "60" },
    json: { type: "boolean", default: false }
  }
})

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "valet-hold-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

NodeRuntime.runMain(
  Effect.gen(function* () {
    const held = yield* hold({
      dataDir: yield* folder,
      connections: Number(values.connections),
      projects: Number(values.projects),
      seconds: Number(values.seconds),
      progress: (text) => (values.json ? Effect.void : Console.error(text))
    })
    const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`
    yield* Console.log(
      values.json
        ? JSON.stringify(held)
        : [
            `${held.connections} connections over ${held.projects} projects, held for ${held.seconds} s; of the orchestrator:`,
            `  a connection      ${kib(held.heapPerConnection)} heap and buffers, ${kib(held.rssPerConnection)} resident`,
            `  heap              ${kib(held.before.heap)} before, ${kib(held.during.heap)} with them, ${kib(held.after.heap)} after`,
            `  resident          ${kib(held.before.rss)} before, ${kib(held.during.rss)} with them, ${kib(held.after.rss)} after`,
            `  descriptors       ${held.before.descriptors} before, ${held.during.descriptors} with them, ${held.after.descriptors} after`,
            `  still connected   ${held.alive} of ${held.connections} at the end of the time`,
            `  leak              ${held.leaked ? "YES" : "none"}`
          ].join("\n")
    )
    if (held.leaked || held.alive < held.connections) yield* Effect.sync(() => (process.exitCode = 1))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
