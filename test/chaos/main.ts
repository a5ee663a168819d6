/**
 * `npm run chaos -- [--minutes M] [--seed N] [--json]`: a whole platform on real parts, used and broken on purpose. Ends
 * with 1 where something was lost, left or stuck; its data folder is then kept. The seed decides which fault comes when;
 * whom it hits in the middle of what is up to real time.
 */
import { parseArgs } from "node:util"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { ownCommands } from "../../src/cli/OwnCommands.ts"
import { runMain } from "../../src/cli/RunMain.ts"
import type { ChaosResult } from "./Chaos.ts"
import { chaos } from "./Chaos.ts"
import { described } from "./Plan.ts"

const restWithinMs = 120_000

class Usage extends Schema.TaggedError<Usage>()("Usage", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

class NotOk extends Schema.TaggedError<NotOk>()("NotOk", { problems: Schema.Int }) {
  override get message() {
    return `${this.problems} problems`
  }
}

const read = Effect.try({
  try: () =>
    parseArgs({
      options: { minutes: { type: "string" }, seed: { type: "string" }, json: { type: "boolean", default: false } }
    }).values,
  catch: (cause) => new Usage({ detail: cause instanceof Error ? cause.message : String(cause) })
})

const number = (name: string, text: string | undefined, otherwise: number, valid: (value: number) => boolean) => {
  const value = text === undefined ? otherwise : text.trim() === "" ? Number.NaN : Number(text)
  return valid(value) ? Effect.succeed(value) : Effect.fail(new Usage({ detail: `--${name} can't be ${text}` }))
}

const summary = (result: ChaosResult): string => `
${result.ok ? "Nothing was lost, left or stuck." : "NOT OK."}

  seed                  ${result.seed}, ${result.minutes} minutes of faults
  acknowledged writes   ${result.acknowledged_writes}, lost ${result.lost_writes}; ${result.reads} reads
  projects              ${result.creates} created, ${result.deletes} deleted
  wakes, archives       ${result.wakes}, ${result.archives}
  faults                ${Object.entries(result.faults)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(", ")}
  refused meanwhile     ${Object.entries(result.meant_refusals)
    .map(([what, count]) => `${what}: ${count}`)
    .join(", ")}
  at rest after         ${result.rest_ms} ms: ${result.stuck} stuck, ${result.orphans} orphans
  unexpected 5xx        ${result.unexpected_5xx}
`

const main = Effect.gen(function* () {
  const flags = yield* read
  const minutes = yield* number("minutes", flags.minutes, 10, (value) => value > 0 && value <= 24 * 60)
  const chance = yield* Random.nextIntBetween(1, 2 ** 31 - 1)
  const seed = yield* number("seed", flags.seed, chance, Number.isSafeInteger)
  const fs = yield* FileSystem.FileSystem
  const { dev } = yield* ownCommands
  const say = (line: string) => Console.error(line)
  yield* say(`seed ${seed}: the same one gives the same schedule of faults; real time makes the rest vary`)
  yield* say(described())
  yield* say(`after ${minutes} minutes of faults everything has to be at rest within ${restWithinMs / 1_000} s`)
  const result = yield* Effect.acquireUseRelease(
    fs.makeTempDirectory({ prefix: "valet-chaos-" }),
    (dataDir) =>
      chaos({ dev, dataDir, seed, forMs: minutes * 60_000, projects: 20, gapMs: 4_000, restWithinMs, say }).pipe(
        Effect.tap((result) => (result.ok ? Effect.void : say(`logs and data are kept in ${dataDir}`)))
      ),
    (dataDir, exit) =>
      Exit.isSuccess(exit) && !exit.value.ok ? Effect.void : Effect.ignore(fs.remove(dataDir, { recursive: true }))
  )
  yield* Effect.forEach(result.problems, say, { discard: true })
  yield* flags.json ? say(summary(result)) : Console.log(summary(result))
  if (flags.json) yield* Console.log(JSON.stringify(result))
  if (!result.ok) return yield* new NotOk({ problems: result.problems.length })
}).pipe(Effect.provide([NodeServices.layer, NodeHttpClient.layerUndici]))

runMain(main, { name: "chaos", server: false })
