/**
 * Stands for an orchestrator that is to be killed: holds the folder that its first argument names, launches the commands
 * of its second (JSON), tells the pids of their leaders, and stays.
 */
import { argv, stdout } from "node:process"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import { layerAt } from "../process/support.ts"

const Commands = Schema.fromJsonString(Schema.Array(Schema.Array(Schema.String)))

await Effect.runPromise(
  Effect.gen(function* () {
    const [, , dataDir = "", json = "[]"] = argv
    const host = yield* ServerHost
    for (const [index, command] of (yield* Schema.decodeEffect(Commands)(json)).entries()) {
      const { pid } = yield* host.launch({ name: `server-${index}`, command, cwd: dataDir, env: {} })
      stdout.write(`pid ${pid}\n`)
    }
    stdout.write("up\n")
    // A timer: `never` holds no process, and with no servers nothing else does.
    return yield* Effect.forever(Effect.sleep("1 hour"))
  }).pipe(Effect.scoped, Effect.provide(layerAt(argv[2] ?? "")))
)
