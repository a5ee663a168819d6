/** The whole orchestrator as the subject of a suite; the server of each project hands on to the test's own. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { orchestrator, temporaryFolder } from "../e2e/Running.ts"
import { Subject } from "./Subject.ts"

const relay = fileURLToPath(new URL("relay.mjs", import.meta.url))

/** Inodes of a process's TCP sockets that do not listen (state 0A), as Linux tells them. */
const tcpSockets = (pid: number): number => {
  const inodes = new Set(
    ["tcp", "tcp6"].flatMap((family) =>
      readFileSync(`/proc/${pid}/net/${family}`, "utf8")
        .split("\n")
        .slice(1)
        .map((line) => line.trim().split(/\s+/))
        .filter((columns) => columns[3] !== "0A")
        .map((columns) => `socket:[${columns[9]}]`)
    )
  )
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return inodes.has(readlinkSync(`/proc/${pid}/fd/${fd}`))
    } catch {
      // Closed meanwhile.
      return false
    }
  }).length
}

/** Of `/proc/<pid>/status`, in bytes. */
const memory = (pid: number, name: "VmRSS" | "VmHWM"): number => {
  const text = readFileSync(`/proc/${pid}/status`, "utf8")
  return Number(new RegExp(`${name}:\\s*(\\d+) kB`).exec(text)?.[1] ?? Number.NaN) * 1024
}

export const layerOrchestrator = (flags: ReadonlyArray<string> = []): Layer.Layer<Subject> =>
  Layer.effect(
    Subject,
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const command = ["--", process.execPath, relay]
      const running = yield* orchestrator(folder, ["--health-path", "/relay-health", ...flags, ...command])
      const { pid } = running
      const held = Effect.gen(function* () {
        const { servers } = yield* running.status
        const busy = servers.filter(({ connections, state }) => state !== "idle" && connections === 0).length
        return {
          sockets: tcpSockets(pid),
          inUse: busy + servers.reduce((sum, { connections }) => sum + connections, 0),
          rss: memory(pid, "VmRSS"),
          maxRss: memory(pid, "VmHWM")
        }
      })
      return Subject.of({
        port: Number(new URL(running.url).port),
        held: Effect.orDie(held),
        log: Effect.sync(running.logs),
        running: Effect.sync(() => running.child.exitCode === null && running.child.signalCode === null)
      })
    })
  ).pipe(Layer.provide(NodeServices.layer), Layer.orDie)
