/**
 * Group commit. Clients offer themselves as sources; once per turn of the event loop the store takes their commands in
 * order, carries them out in one transaction, and answers after its COMMIT returned. So each client sees its own order,
 * no answer shows what is not on disk, and concurrent writers share one fsync.
 *
 * A batch that can't be committed is rolled back and answered with `internal`; if what the failed COMMIT left in the log
 * can't be cleared, the outcome is unknown and the server stops without answering.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import type { ErrorCode, KeyList } from "../contract/Documents.ts"
import * as DocumentDatabase from "./DocumentDatabase.ts"

/** A version that a document must have, 0 for none; any of several; or any but 0. */
export type Condition = ReadonlyArray<number> | "exists"

export type Command =
  | { readonly op: "put"; readonly key: string; readonly json: string; readonly condition: Condition | undefined }
  | { readonly op: "get"; readonly key: string }
  | { readonly op: "delete"; readonly key: string; readonly condition: Condition | undefined }
  | { readonly op: "list"; readonly prefix: string; readonly after: string; readonly limit: number }
  /** Keeps the place of something that the source did itself. */
  | { readonly op: "none" }

export type Outcome =
  | { readonly _tag: "Put"; readonly version: number; readonly created: boolean }
  | { readonly _tag: "Got"; readonly json: string | null; readonly version: number }
  | { readonly _tag: "Deleted"; readonly version: number }
  | { readonly _tag: "Listed"; readonly list: KeyList }
  | { readonly _tag: "None" }
  | { readonly _tag: "Failed"; readonly code: ErrorCode; readonly message: string }

export interface Task {
  readonly command: Command
  readonly answer: (outcome: Outcome) => void
}

export interface Source {
  /** The next command, or undefined where there is none or no room for its answer. */
  readonly take: () => Task | undefined
  /** Characters of an answer that will follow the commit. */
  readonly reserve: (size: number) => void
}

export interface Change {
  readonly event: "put" | "delete"
  readonly key: string
  readonly json: string | null
  readonly version: number
}

/** What SQLite said; its messages name no data. */
export class DatabaseError extends Schema.TaggedError<DatabaseError>()("DatabaseError", { detail: Schema.String }) {
  override get message() {
    return `database: ${this.detail}`
  }
}

/** A batch ends at either bound, so that one turn of the event loop stays short and its answers fit in memory. */
const maxBatch = 1024
const maxBatchAnswers = 8 * 1024 * 1024
/** From one source in a row. */
const maxTurn = 64

const detailOf = (cause: unknown): string => (cause instanceof Error ? cause.message : "unknown failure")
const attempt = <A>(run: () => A) =>
  Effect.try({ try: run, catch: (cause) => new DatabaseError({ detail: detailOf(cause) }) })

const failed = (code: ErrorCode, message: string): Outcome => ({ _tag: "Failed", code, message })
const notWritten = (cause: unknown): Outcome =>
  failed("internal", DocumentDatabase.isDiskFull(cause) ? "the disk is full" : "the database could not carry this out")
const closedText = "the server gives its data away or stops; try again"
const closed = failed("sealed", closedText)

/** Nothing may be written any more. */
export class Closed extends Schema.TaggedError<Closed>()("Closed", {}) {
  override get message() {
    return closedText
  }
}

export class DocumentStore extends Context.Service<
  DocumentStore,
  {
    open(path: string): Effect.Effect<void, DatabaseError>
    readonly isOpen: () => boolean
    /** After what runs (a batch, a change by `exclusively`): checkpoint, close. False: the log is not empty. */
    readonly close: Effect.Effect<boolean, DatabaseError>
    readonly submit: (source: Source) => void
    readonly run: (command: Command) => Effect.Effect<Outcome>
    /** Holds every command, and closing, back while another connection changes the open database. */
    exclusively<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Closed, R>
    /** Called after each commit with what it changed, in the order of versions. One listener. */
    readonly listen: (listener: (changes: ReadonlyArray<Change>) => void) => void
    /** Fails when the database can't be trusted any more. */
    readonly broken: Effect.Effect<never, DatabaseError>
  }
>()("valet/DocumentStore") {
  static readonly layer = Layer.effect(
    DocumentStore,
    Effect.gen(function* () {
      const broken = yield* Deferred.make<never, DatabaseError>()
      const log = Effect.runForkWith(yield* Effect.context<never>())
      const ready = new Set<Source>()
      /** Closing and a change by another connection keep out of each other's way. */
      const turn = yield* Semaphore.make(1)
      let database: DocumentDatabase.DocumentDatabase | undefined
      let counter = 0
      let scheduled = false
      let held = false
      let dead = false
      let listener: (changes: ReadonlyArray<Change>) => void = () => {}

      const execute = (open: DocumentDatabase.DocumentDatabase, command: Command, changes: Array<Change>): Outcome => {
        switch (command.op) {
          case "none":
            return { _tag: "None" }
          case "get": {
            const found = open.get(command.key)
            return { _tag: "Got", json: found?.json ?? null, version: found?.version ?? 0 }
          }
          case "list":
            return { _tag: "Listed", list: open.list(command.prefix, command.after, command.limit) }
          case "put":
          case "delete": {
            const current = open.version(command.key)
            const { condition } = command
            if (condition !== undefined && !(condition === "exists" ? current > 0 : condition.includes(current))) {
              return failed("conflict", `the document has version ${current}`)
            }
            if (command.op === "delete" && current === 0) return { _tag: "Deleted", version: 0 }
            if (!open.inTransaction()) {
              open.begin()
              counter = open.counter()
            }
            const version = counter + 1
            if (command.op === "put") open.put(command.key, command.json, version)
            else open.delete(command.key)
            counter = version
            const json = command.op === "put" ? command.json : null
            changes.push({ event: command.op, key: command.key, json, version })
            return command.op === "put"
              ? { _tag: "Put", version, created: current === 0 }
              : { _tag: "Deleted", version }
          }
        }
      }

      /** False: nobody knows what is on disk. */
      const undo = (open: DocumentDatabase.DocumentDatabase, cause: unknown): boolean => {
        try {
          open.rollback()
          if (DocumentDatabase.isDiskFull(cause)) return true
          // A COMMIT that failed may have left complete frames in the log, which a recovery would take for committed.
          return open.checkpoint()
        } catch {
          return false
        }
      }

      const flush = () => {
        scheduled = false
        if (held || dead) return
        const open = database
        const batch: Array<{ readonly task: Task; outcome: Outcome }> = []
        const changes: Array<Change> = []
        let answers = 0
        let failure: unknown
        const failBatch = (cause: unknown) => {
          for (const entry of batch) entry.outcome = notWritten(cause)
          changes.length = 0
        }
        for (const source of ready) {
          if (batch.length >= maxBatch || answers >= maxBatchAnswers) break
          ready.delete(source)
          let taken = 0
          for (; taken < maxTurn; taken++) {
            const task = source.take()
            if (task === undefined) break
            const entry = { task, outcome: closed }
            batch.push(entry)
            if (open === undefined) continue
            try {
              entry.outcome = execute(open, task.command, changes)
            } catch (cause) {
              failure = cause
              entry.outcome = notWritten(cause)
              if (!open.inTransaction()) failBatch(cause)
            }
            const size = entry.outcome._tag === "Got" ? (entry.outcome.json?.length ?? 0) : 64
            source.reserve(size)
            answers += size
          }
          if (taken === maxTurn) ready.add(source)
        }
        try {
          if (open?.inTransaction() === true) open.commit(counter)
        } catch (cause) {
          failure = cause
          failBatch(cause)
          if (open !== undefined && !undo(open, cause)) {
            dead = true
            Deferred.doneUnsafe(broken, Effect.fail(new DatabaseError({ detail: detailOf(cause) })))
            return
          }
        }
        if (failure !== undefined) log(Effect.logError(`database: ${detailOf(failure)}`))
        for (const { task, outcome } of batch) task.answer(outcome)
        if (changes.length > 0) listener(changes)
        if (ready.size > 0) schedule()
      }

      const schedule = () => {
        if (scheduled || held || dead) return
        scheduled = true
        setImmediate(flush)
      }

      const submit = (source: Source) => {
        ready.add(source)
        schedule()
      }

      const close = Effect.gen(function* () {
        const open = database
        if (open === undefined) return true
        database = undefined
        const empty = yield* Effect.exit(attempt(open.checkpoint))
        yield* attempt(open.close)
        return yield* empty
      }).pipe(turn.withPermits(1))

      yield* Effect.addFinalizer(() =>
        close.pipe(
          Effect.flatMap((empty) => (empty ? Effect.void : Effect.logWarning("the log was not empty at the end"))),
          Effect.catch((error) => Effect.logError(error.message))
        )
      )

      return DocumentStore.of({
        open: Effect.fnUntraced(function* (path: string) {
          if (database !== undefined) return
          yield* attempt(() => {
            database = DocumentDatabase.open(path)
          })
        }),
        isOpen: () => database !== undefined,
        close,
        submit,
        run: (command) =>
          Effect.callback((resume) => {
            let waiting = true
            submit({
              take: () => {
                if (!waiting) return undefined
                waiting = false
                return { command, answer: (outcome) => resume(Effect.succeed(outcome)) }
              },
              reserve: () => {}
            })
          }),
        exclusively: (effect) =>
          Effect.acquireUseRelease(
            Effect.suspend(() => {
              if (database === undefined) return new Closed()
              held = true
              return Effect.void
            }),
            () => effect,
            () =>
              Effect.sync(() => {
                held = false
                schedule()
              })
          ).pipe(turn.withPermits(1)),
        listen: (next) => {
          listener = next
        },
        broken: Deferred.await(broken)
      })
    })
  )
}
