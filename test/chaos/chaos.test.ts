/** Half a minute of chaos on real parts: every fault happens, and nothing is lost, left or stuck. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { ownCommands } from "../../src/cli/OwnCommands.ts"
import { processesNaming } from "../e2e/Platform.ts"
import { eventually } from "../support/eventually.ts"
import { kinds } from "./Calamities.ts"
import { chaos } from "./Chaos.ts"

describe("chaos", () => {
  it.live(
    "comes to rest with every acknowledged write, and leaves no process",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { dev } = yield* ownCommands
        const dataDir = yield* fs.makeTempDirectoryScoped({ prefix: "valet-chaos-test-" })
        const told: Array<string> = []
        const result = yield* chaos({
          dev,
          dataDir,
          seed: 1,
          forMs: 25_000,
          projects: 5,
          gapMs: 1_500,
          restWithinMs: 240_000,
          say: (line) => Effect.sync(() => void told.push(line))
        })
        assert.deepStrictEqual(result.problems, [], told.join("\n"))
        assert.isTrue(result.ok)
        assert.isAbove(result.acknowledged_writes, 0)
        assert.isAbove(result.wakes, 0)
        assert.isAbove(result.archives, 0)
        for (const kind of kinds) assert.isAbove(result.faults[kind] ?? 0, 0, `${kind}\n${told.join("\n")}`)
        yield* eventually(Effect.map(processesNaming(dataDir), (pids) => pids.length === 0))
      }).pipe(Effect.scoped, Effect.provide([NodeServices.layer, NodeHttpClient.layerUndici])),
    600_000
  )
})
