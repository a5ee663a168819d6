/** A host in a temporary folder, and small servers as children of it. */
import { readFileSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type { OrchestratorConfigValue } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { defaults, OrchestratorConfig } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { OrchestratorFolder } from "../../../src/orchestrator/OrchestratorFolder.ts"
import { ProjectFolders } from "../../../src/orchestrator/ProjectFolders.ts"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import type { ServerProcess } from "../../../src/orchestrator/ServerHost.ts"
import { eventually } from "../../support/eventually.ts"

export const temporary = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.realPath(yield* fs.makeTempDirectoryScoped({ prefix: "valet-host-" }))
})

const services = Layer.merge(NodeServices.layer, SecureRandom.layerWebCrypto)

/** All that this part of an orchestrator is made of. */
export const layerAt = (dataDir: string, config: Partial<OrchestratorConfigValue> = {}) =>
  Layer.merge(ServerHost.layer, ProjectFolders.layer).pipe(
    Layer.provideMerge(OrchestratorFolder.layer),
    Layer.provideMerge(
      Layer.succeed(OrchestratorConfig, { ...defaults, command: ["server"], dataDir, stopGraceMs: 1_000, ...config })
    ),
    Layer.provideMerge(services)
  )

/** In a folder that goes with the test. */
export const hosted = <A, E, R>(
  body: (dataDir: string) => Effect.Effect<A, E, R>,
  config?: Partial<OrchestratorConfigValue>
) =>
  Effect.gen(function* () {
    const dataDir = yield* temporary
    return yield* Effect.provide(Effect.scoped(body(dataDir)), layerAt(dataDir, config))
  }).pipe(Effect.scoped, Effect.provide(services))

export const node = (code: string): ReadonlyArray<string> => [process.execPath, "-e", code]

/** A zombie only waits for its parent, but not before its last thread has ended. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return fields[0] !== "X" && !(fields[0] === "Z" && Number(fields[17]) <= 1)
  } catch {
    return false
  }
}

export const dies = (pid: number) => eventually(Effect.sync(() => !isAlive(pid)))

/** Once the child has written a line that begins like this: the rest of it. */
export const said = (server: ServerProcess, beginning: string) =>
  Effect.gen(function* () {
    let found = ""
    yield* eventually(
      Effect.map(server.output, (lines) => {
        const line = lines.find((line) => line.startsWith(beginning))
        found = line?.slice(beginning.length).trim() ?? ""
        return line !== undefined
      })
    )
    return found
  })
