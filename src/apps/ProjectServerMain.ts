/** The project server as a program of its own: what is started often is bundled from here. */
import * as Effect from "effect/Effect"
import { runMain } from "../cli/RunMain.ts"
import { layerJsonLogs } from "./Logs.ts"
import { runFromEnvironment } from "./ProjectServer.ts"

runMain(Effect.provide(runFromEnvironment, layerJsonLogs), { name: "project-server", server: true })
