/**
 * Work on a database file that may take long: in a worker thread with a connection of its own, so that the event loop
 * goes on answering. Small files are done in place: starting a thread takes longer than checking them.
 */
import * as Fs from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { limits } from "../contract/Documents.ts"
import { DatabaseError } from "./DocumentStore.ts"

interface Work {
  /** A path, or a `file:` URL with SQLite's own parameters. */
  readonly database: string
  readonly readOnly: boolean
  readonly statements: ReadonlyArray<{ readonly sql: string; readonly parameters: ReadonlyArray<string | number> }>
}

/** Runs here or, as its own text, in a worker: it may use nothing but its arguments. Returns the last statement's rows. */
const perform = (Database: typeof DatabaseSync, work: Work): ReadonlyArray<ReadonlyArray<unknown>> => {
  const database = new Database(work.database.startsWith("file:") ? new URL(work.database) : work.database, {
    readOnly: work.readOnly,
    timeout: 5000
  })
  try {
    let rows: ReadonlyArray<ReadonlyArray<unknown>> = []
    for (const { sql, parameters } of work.statements) {
      rows = database
        .prepare(sql)
        .all(...parameters)
        .map((row) => Object.values(row))
    }
    return rows
  } finally {
    database.close()
  }
}

const script = `
  const { parentPort, workerData } = require("node:worker_threads")
  const { DatabaseSync } = require("node:sqlite")
  const perform = ${perform.toString()}
  try {
    parentPort.postMessage({ rows: perform(DatabaseSync, workerData) })
  } catch (cause) {
    parentPort.postMessage({ error: String(cause && cause.message) })
  }
`

const Message = Schema.Union([
  Schema.Struct({ rows: Schema.Array(Schema.Array(Schema.Unknown)) }),
  Schema.Struct({ error: Schema.String })
])
const decodeMessage = Schema.decodeUnknownEffect(Message)

const inWorker = (work: Work) =>
  Effect.callback<unknown, DatabaseError>((resume) => {
    const worker = new Worker(script, { eval: true, workerData: work, env: {}, execArgv: [] })
    const fail = (detail: string) => resume(Effect.fail(new DatabaseError({ detail })))
    worker.once("message", (message) => resume(Effect.succeed(message)))
    worker.once("error", (error) => fail(error.message))
    worker.once("exit", () => fail("the worker ended"))
    // SQLite can't be cut: this returns once the statement that runs has ended. What only reads need not be waited for.
    const ended = Effect.promise(() => worker.terminate())
    return work.readOnly ? Effect.asVoid(Effect.forkDetach(ended)) : Effect.asVoid(ended)
  }).pipe(
    Effect.flatMap(decodeMessage),
    Effect.mapError((error) => (error._tag === "SchemaError" ? new DatabaseError({ detail: "no answer" }) : error)),
    Effect.flatMap((message) =>
      "rows" in message ? Effect.succeed(message.rows) : Effect.fail(new DatabaseError({ detail: message.error }))
    )
  )

const inPlace = (work: Work) =>
  Effect.try({
    try: () => perform(DatabaseSync, work),
    catch: (cause) => new DatabaseError({ detail: cause instanceof Error ? cause.message : "unknown failure" })
  })

/** About 10 ms of an integrity check. */
const smallBytes = 4 * 1024 * 1024

/** A file that nobody writes: read without its log and without locks, and nothing is left beside it. */
const atRest = (path: string): string => `${pathToFileURL(path).href}?immutable=1`

const statement = (sql: string, ...parameters: ReadonlyArray<string | number>) => ({ sql, parameters })

/** Of a file at rest. */
export const checkIntegrity = Effect.fn("DatabaseWork.checkIntegrity")(function* (path: string) {
  const size = yield* Effect.try({
    try: () => Fs.statSync(path).size,
    catch: () => new DatabaseError({ detail: "the file is gone" })
  })
  const work = { database: atRest(path), readOnly: true, statements: [statement("PRAGMA integrity_check(1)")] }
  const rows = yield* size <= smallBytes ? inPlace(work) : inWorker(work)
  if (rows[0]?.[0] !== "ok") return yield* new DatabaseError({ detail: "the integrity check failed" })
})

/** A consistent copy of a database in use, compacted and without a log. */
export const copy = (from: string, to: string) =>
  inWorker({ database: from, readOnly: false, statements: [statement("VACUUM INTO ?", to)] })

const badDocument = `
  SELECT count(*) FROM source.documents WHERE
    typeof(key) <> 'text' OR length(key) = 0 OR octet_length(key) > ${limits.maxKeyBytes} OR instr(key, char(0)) > 0
    OR typeof(value) <> 'text' OR octet_length(value) > ${limits.maxValueBytes} OR NOT json_valid(value)`

/** That a file at rest, from anywhere, holds documents that this server could have written. */
export const checkDocuments = Effect.fn("DatabaseWork.checkDocuments")(function* (path: string) {
  const source = atRest(path)
  const columns = `
    SELECT group_concat(columns.name) FROM sqlite_schema AS tables, pragma_table_xinfo('documents') AS columns
    WHERE tables.name = 'documents' AND tables.type = 'table' AND columns.hidden = 0`
  const tables = yield* inWorker({ database: source, readOnly: true, statements: [statement(columns)] })
  const names = String(tables[0]?.[0] ?? "").split(",")
  if (!names.includes("key") || !names.includes("value")) {
    return yield* new DatabaseError({ detail: "the file has no documents" })
  }
  const bad = yield* inWorker({
    database: ":memory:",
    readOnly: false,
    statements: [
      statement("PRAGMA trusted_schema = OFF"),
      statement("ATTACH ? AS source", source),
      statement(badDocument)
    ]
  })
  if (bad[0]?.[0] !== 0) {
    return yield* new DatabaseError({ detail: "the file has documents with invalid keys or values" })
  }
})

/**
 * Replaces all documents by those of a file that was checked, in one transaction. Each gets a new version, so that none
 * comes back with another value.
 */
export const replaceDocuments = Effect.fn("DatabaseWork.replaceDocuments")(function* (path: string, from: string) {
  const rows = yield* inWorker({
    database: path,
    readOnly: false,
    statements: [
      statement("PRAGMA synchronous = FULL"),
      statement("PRAGMA trusted_schema = OFF"),
      statement("ATTACH ? AS source", atRest(from)),
      statement("BEGIN IMMEDIATE"),
      statement("DELETE FROM main.documents"),
      statement(`
        INSERT INTO main.documents
        SELECT key, value, row_number() OVER (ORDER BY key) + (SELECT value FROM main.counters WHERE name = 'version')
        FROM source.documents`),
      statement(`
        UPDATE main.counters SET value = value + (SELECT count(*) FROM main.documents) WHERE name = 'version'`),
      statement("COMMIT"),
      statement("SELECT count(*) FROM main.documents")
    ]
  })
  const count = rows[0]?.[0]
  return typeof count === "number" ? count : 0
})
