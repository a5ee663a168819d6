/** The `valet` command. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { valet } from "./cli/Commands.ts"
import { runMain } from "./cli/RunMain.ts"
import { version } from "./process/Version.ts"

const servers = new Set(["serve", "dev", "project-server", "orchestrator"])

runMain(Effect.provide(Command.run(valet, { version }), NodeServices.layer), {
  name: "valet",
  server: servers.has(process.argv.slice(2).find((argument) => !argument.startsWith("-")) ?? "")
})
