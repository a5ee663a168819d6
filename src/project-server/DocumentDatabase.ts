/**
 * The documents in SQLite: one connection, write-ahead log, `synchronous=FULL`, so that a COMMIT that returned is on
 * disk. Synchronous as `node:sqlite` is; `DocumentStore` decides when it runs. Every function throws what SQLite throws.
 */
import { DatabaseSync } from "node:sqlite"
import type { KeyList } from "../contract/Documents.ts"

/** "VALT": tells a database of ours from any other SQLite file. */
const applicationId = 0x56414c54
const formatVersion = 1
/** Nobody else writes while this connection does, and waiting would hold up the event loop. */
const busyTimeoutMs = 100

const schema = `
  CREATE TABLE IF NOT EXISTS documents (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    version INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS counters (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT;
  INSERT OR IGNORE INTO counters VALUES ('version', 0);
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${formatVersion};
`

export interface DocumentDatabase {
  readonly begin: () => void
  /** Records the counter with the writes that it numbered. */
  readonly commit: (counter: number) => void
  /** A statement that fails for want of disk or memory may have ended the transaction by itself. */
  readonly rollback: () => void
  readonly inTransaction: () => boolean
  readonly counter: () => number
  readonly version: (key: string) => number
  readonly get: (key: string) => { readonly json: string; readonly version: number } | undefined
  readonly put: (key: string, json: string, version: number) => void
  readonly delete: (key: string) => void
  readonly list: (prefix: string, after: string, limit: number) => KeyList
  /** Copies the log into the database and empties it; false where a reader was in the way. */
  readonly checkpoint: () => boolean
  readonly close: () => void
}

const numberOf = (value: unknown): number => (typeof value === "number" ? value : 0)
const textOf = (value: unknown): string => (typeof value === "string" ? value : "")

const before = (a: string, b: string): boolean => Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0

/** SQLITE_FULL: the log could not grow, so the commit is not in it. Anything else leaves that open. */
export const isDiskFull = (cause: unknown): boolean =>
  cause instanceof Error && "errcode" in cause && typeof cause.errcode === "number" && (cause.errcode & 0xff) === 13

export const open = (path: string): DocumentDatabase => {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs })
  try {
    return prepare(database)
  } catch (cause) {
    database.close()
    throw cause
  }
}

const prepare = (database: DatabaseSync): DocumentDatabase => {
  const setting = (name: string) => Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  const pragma = (name: string) => numberOf(setting(name))
  if (pragma("user_version") > formatVersion) throw new Error("the database was written by a newer server")
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF")
  // A file system without shared memory keeps another journal, silently.
  if (setting("journal_mode") !== "wal" || setting("synchronous") !== 2)
    throw new Error("no durable log can be kept here")
  if (pragma("application_id") !== applicationId || pragma("user_version") !== formatVersion) {
    database.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`)
  }
  const selectVersion = database.prepare("SELECT version FROM documents WHERE key = ?")
  const select = database.prepare("SELECT value, version FROM documents WHERE key = ?")
  const upsert = database.prepare(
    "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version"
  )
  const remove = database.prepare("DELETE FROM documents WHERE key = ?")
  const from = database.prepare("SELECT key, version FROM documents WHERE key >= ? ORDER BY key")
  const behind = database.prepare("SELECT key, version FROM documents WHERE key > ? ORDER BY key")
  const selectCounter = database.prepare("SELECT value FROM counters WHERE name = 'version'")
  const updateCounter = database.prepare("UPDATE counters SET value = ? WHERE name = 'version'")

  return {
    begin: () => database.exec("BEGIN IMMEDIATE"),
    commit: (counter) => {
      updateCounter.run(counter)
      database.exec("COMMIT")
    },
    rollback: () => {
      if (database.isTransaction) database.exec("ROLLBACK")
    },
    inTransaction: () => database.isTransaction,
    counter: () => numberOf(selectCounter.get()?.["value"]),
    version: (key) => numberOf(selectVersion.get(key)?.["version"]),
    get: (key) => {
      const row = select.get(key)
      return row === undefined ? undefined : { json: textOf(row["value"]), version: numberOf(row["version"]) }
    },
    put: (key, json, version) => {
      upsert.run(key, json, version)
    },
    delete: (key) => {
      remove.run(key)
    },
    list: (prefix, after, limit) => {
      const keys: Array<KeyList["keys"][number]> = []
      for (const row of before(after, prefix) || after === "" ? from.iterate(prefix) : behind.iterate(after)) {
        const key = textOf(row["key"])
        if (!key.startsWith(prefix)) break
        if (keys.length === limit) return { keys, next: keys[limit - 1]?.key ?? null }
        keys.push({ key, version: numberOf(row["version"]) })
      }
      return { keys, next: null }
    },
    checkpoint: () => {
      const row = database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()
      return numberOf(row?.["busy"]) === 0 && numberOf(row?.["log"]) === 0
    },
    close: () => database.close()
  }
}
