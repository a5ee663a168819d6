/** The list of commands. What a command does is loaded when it runs. */
import * as Command from "effect/cli/Command"
import { demoCommand } from "./Demo.ts"
import { devCommand } from "./Dev.ts"
import { doctorCommand } from "./Doctor.ts"
import { migrateCommand } from "./Migrate.ts"
import { orchestratorCommand } from "./Orchestrator.ts"
import { projectServerCommand } from "./ProjectServer.ts"
import { projectsCommand } from "./Projects.ts"
import { serveCommand } from "./Serve.ts"
import { statusCommand } from "./Status.ts"

/** Exit codes: 0 done, or ended by SIGTERM after a clean drain; 1 failed; 2 configuration; 130 interrupted. */
export const valet = Command.make("valet").pipe(
  Command.withDescription("A server per project that costs nothing while nobody uses it"),
  Command.withSubcommands([
    devCommand,
    demoCommand,
    serveCommand,
    orchestratorCommand,
    projectServerCommand,
    projectsCommand,
    statusCommand,
    migrateCommand,
    doctorCommand
  ])
)
