/** Everything that is fuzzed. */
import type { FuzzTarget } from "./FuzzTarget.ts"
import { api } from "./targets/Api.ts"
import { commandLine, environment } from "./targets/Configuration.ts"
import { machineProtocol } from "./targets/MachineProtocol.ts"
import { front, orchestratorRouting, ownEndpoints, valetJson } from "./targets/Orchestrator.ts"
import * as parsers from "./targets/Parsers.ts"
import { projectServer } from "./targets/ProjectServer.ts"
import { router } from "./targets/Router.ts"
import { webSocketFrames, webSocketMessages } from "./targets/WebSockets.ts"

export const targets: ReadonlyArray<FuzzTarget> = [
  api,
  router,
  projectServer,
  webSocketFrames,
  webSocketMessages,
  machineProtocol,
  environment,
  commandLine,
  front,
  ownEndpoints,
  orchestratorRouting,
  valetJson,
  parsers.routing,
  parsers.smallParsers,
  parsers.frames,
  parsers.replay,
  parsers.signature,
  parsers.chunks
]
