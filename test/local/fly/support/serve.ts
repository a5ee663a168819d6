// A local Fly as a process of its own, to be killed: serves from the folder it is given and prints its address.
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { LocalFly } from "../../../../src/local/fly/LocalFly.ts"
import { layerAt } from "./fixture.ts"

const tell = Layer.effectDiscard(Effect.flatMap(LocalFly, ({ url }) => Console.log(`url ${url}`)))

Layer.launch(tell.pipe(Layer.provide(layerAt(process.argv[2] ?? "")))).pipe(NodeRuntime.runMain)
