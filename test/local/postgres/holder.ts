/** Runs a server in the folder that its argument names until it is killed, and tells its port. */
import { argv, stdout } from "node:process"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { startPostgres } from "../../../src/local/postgres/EmbeddedPostgres.ts"

await Effect.runPromise(
  Effect.gen(function* () {
    const { port } = yield* startPostgres({ folder: argv[2] ?? "", durable: false })
    stdout.write(`${port}\n`)
    return yield* Effect.never
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeServices.layer, SecureRandom.layerWebCrypto)))
)
