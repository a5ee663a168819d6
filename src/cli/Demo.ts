/** `valet demo`: a project's life on a plane of its own, step by step with times. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { json } from "./Flags.ts"
import { ownCommands } from "./OwnCommands.ts"

export const demoCommand = Command.make(
  "demo",
  {
    instances: Flag.Int("instances").pipe(Flag.withDescription("Control planes"), Flag.withDefault(1)),
    json
  },
  Effect.fnUntraced(function* (flags) {
    const { demo } = yield* Effect.promise(() => import("../demo/Demo.ts"))
    const say = (line: string) => (flags.json ? Effect.void : Console.log(line))
    yield* say("\nA project's life, on a plane of its own:\n")
    const { dev } = yield* ownCommands
    const result = yield* demo({ dev, instances: flags.instances, say }).pipe(
      Effect.provide(NodeHttpClient.layerUndici)
    )
    yield* flags.json ? Console.log(JSON.stringify(result)) : say("\nEvery step was as it should be.\n")
  })
).pipe(Command.withDescription("Show a project's whole life on a plane of its own, in half a minute"))
