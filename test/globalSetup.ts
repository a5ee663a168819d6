/**
 * One PostgreSQL for a run of the tests, started by the first test that asks this broker for a database. Each request
 * creates a fresh one and answers its URL.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type { TestProject } from "vitest/node"
import { EmbeddedPostgres } from "../src/local/postgres/EmbeddedPostgres.ts"
import { Database } from "../src/services/db/Database.ts"
import { Migrations } from "../src/services/db/Migrations.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** POST `/empty` or `/migrated` creates a database and answers its URL. */
    postgresBroker: string
  }
}

const server = Layer.unwrap(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "valet-test-postgres-" })
    return EmbeddedPostgres.layer({ folder, durable: false })
  })
)

const layer = Layer.suspend(() => Layer.provideMerge(Template.layer, server)).pipe(
  Layer.provide([NodeServices.layer, SecureRandom.layerWebCrypto])
)

let created = 0

/** Migrated once; copying it is much faster than migrating each database. */
const template = "valet_template"

class Template extends Context.Service<Template, string>()("valet/test/Template") {
  static readonly layer = Layer.effect(
    Template,
    Effect.gen(function* () {
      const server = yield* EmbeddedPostgres
      yield* administer(`CREATE DATABASE ${template}`)
      const url = server.urlOf(template)
      const migrations = Migrations.layer.pipe(Layer.provide(Database.layerUrls({ url, directUrl: url })))
      yield* Effect.flatMap(Migrations, ({ migrate }) => migrate).pipe(Effect.provide(migrations))
      return template
    })
  )
}

const administer = (statement: string) =>
  Effect.gen(function* () {
    const server = yield* EmbeddedPostgres
    const connection = yield* PgConnection.make({ url: server.url })
    yield* connection.query(statement)
  }).pipe(Effect.scoped)

const createDatabase = (from: string) =>
  Effect.gen(function* () {
    const server = yield* EmbeddedPostgres
    const name = `test_${++created}`
    yield* administer(`CREATE DATABASE ${name} TEMPLATE ${from} STRATEGY FILE_COPY`)
    yield* administer(`ALTER DATABASE ${name} SET valet.shifted_clock = 'on'`)
    return Redacted.value(server.urlOf(name))
  })

const answer = (path: string | undefined) =>
  path === "/empty" ? createDatabase("template0") : Effect.flatMap(Template, createDatabase)

export default async (project: TestProject) => {
  // The runtime builds its layer with the first effect that it runs.
  const runtime = ManagedRuntime.make(layer)
  const broker = createServer((request, response) => {
    void runtime.runPromiseExit(answer(request.url)).then((exit) => {
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
