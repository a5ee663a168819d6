/** Programs of these benches as processes: TypeScript that tells its ports in its first line. */
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { failed } from "../harness/Bench.ts"
import type { Core } from "../harness/Machine.ts"
import { spawn } from "../harness/Pinned.ts"

const Told = Schema.fromJsonString(Schema.Struct({ port: Schema.Int, control: Schema.optionalKey(Schema.Int) }))
const decode = Schema.decodeEffect(Told)

/** `file`: beneath `bench/`. */
export const start = (
  file: string,
  env: Readonly<Record<string, string>>,
  options: { readonly core?: Core; readonly flags?: ReadonlyArray<string> } = {}
) =>
  Effect.gen(function* () {
    const path = fileURLToPath(new URL(`../${file}`, import.meta.url))
    const { core = "server", flags = [] } = options
    const started = yield* spawn({ name: file, core, command: [process.execPath, ...flags, path], env })
    const { control = 0, port } = yield* Effect.mapError(Effect.flatMap(started.line, decode), failed(file))
    return { ...started, port, control }
  })
