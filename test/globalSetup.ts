/**
 * One PostgreSQL for a run of the tests, started by the first test that asks this broker for a database. Each request
 * creates a fresh one and answers its URL.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type { TestProject } from "vitest/node"
import { EmbeddedPostgres } from "../src/local/postgres/EmbeddedPostgres.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** Where POST creates a database. */
    postgresBroker: string
  }
}

const layer = Layer.unwrap(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "valet-test-postgres-" })
    return EmbeddedPostgres.layer({ folder, durable: false })
  })
).pipe(Layer.provide([NodeServices.layer, SecureRandom.layerWebCrypto]))

let created = 0

const createDatabase = Effect.gen(function* () {
  const server = yield* EmbeddedPostgres
  const name = `test_${++created}`
  const connection = yield* PgConnection.make({ url: server.url })
  yield* connection.query(`CREATE DATABASE ${name}`)
  yield* connection.query(`ALTER DATABASE ${name} SET valet.shifted_clock = 'on'`)
  return Redacted.value(server.urlOf(name))
}).pipe(Effect.scoped)

export default async (project: TestProject) => {
  // The runtime builds its layer with the first effect that it runs.
  const runtime = ManagedRuntime.make(layer)
  const broker = createServer((_, response) => {
    void runtime.runPromiseExit(createDatabase).then((exit) => {
      response.statusCode = Exit.isSuccess(exit) ? 201 : 500
      response.end(Exit.isSuccess(exit) ? exit.value : String(exit.cause))
    })
  })
  await new Promise<void>((resolve) => broker.listen(0, "127.0.0.1", resolve))
  const { port } = broker.address() as AddressInfo
  project.provide("postgresBroker", `http://127.0.0.1:${port}`)
  return async () => {
    broker.closeAllConnections()
    await new Promise((resolve) => broker.close(resolve))
    await runtime.dispose()
  }
}
