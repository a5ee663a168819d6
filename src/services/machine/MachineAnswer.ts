/** What an answer of a project server means: status and body against the protocol, without any I/O. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Protocol from "../../contract/MachineProtocol.ts"
import { ArchiveFailed, Busy, type MachineError, Refused, RestoreFailed, Stale, Unreachable } from "./MachineClient.ts"

export type Reason = MachineError["reason"]

/**
 * `boot`: nothing listens at the address (yet), and nothing was sent. `again`: it may or may not have arrived. `no`: the
 * machine has spoken.
 */
export class Failure {
  readonly _tag = "Failure"
  readonly reason: Reason
  readonly retry: "boot" | "again" | "no"
  constructor(reason: Reason, retry: "boot" | "again" | "no") {
    this.reason = reason
    this.retry = retry
  }
}

export type Answer<A> =
  | { readonly _tag: "Done"; readonly value: A }
  /** 202: bytes moved so far; the same call polls. */
  | { readonly _tag: "Moving"; readonly bytes: number }

export interface Call<A> {
  readonly name: string
  readonly method: "GET" | "POST"
  readonly path: string
  /** Moves a whole database, and so may answer 202. */
  readonly long: boolean
  /** Reads a 200. */
  readonly decode: (body: string) => Effect.Effect<A, Schema.SchemaError>
  /** Reads a 422; null where the call has none. */
  readonly decodeFailure: ((body: string) => Effect.Effect<Reason, Schema.SchemaError>) | null
}

const json = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) =>
  Schema.decodeUnknownEffect(Schema.fromJsonString(schema))

const progress = json(Protocol.Progress)
const conflict = json(Schema.Union([Protocol.Stale, Protocol.Busy]))
const restoreFailed = json(Protocol.RestoreFailed)
const archiveFailed = json(Protocol.ArchiveFailed)

export const calls = {
  configure: {
    name: "configure",
    method: "POST",
    path: "/internal/configure",
    long: true,
    decode: json(Protocol.ConfigureResponse),
    decodeFailure: (body) => Effect.map(restoreFailed(body), ({ detail }) => new RestoreFailed({ detail }))
  } satisfies Call<Protocol.ConfigureResponse>,
  archiveToR2: {
    name: "archive-to-r2",
    method: "POST",
    path: "/internal/archive-to-r2",
    long: true,
    decode: json(Protocol.ArchiveResponse),
    decodeFailure: (body) => Effect.map(archiveFailed(body), ({ detail }) => new ArchiveFailed({ detail }))
  } satisfies Call<Protocol.ArchiveResponse>,
  unseal: {
    name: "unseal",
    method: "POST",
    path: "/internal/unseal",
    long: false,
    decode: () => Effect.void,
    decodeFailure: null
  } satisfies Call<void>,
  settings: {
    name: "settings",
    method: "POST",
    path: "/internal/settings",
    long: false,
    decode: () => Effect.void,
    decodeFailure: null
  } satisfies Call<void>,
  health: {
    name: "health",
    method: "GET",
    path: "/health",
    long: false,
    decode: json(Protocol.Health),
    decodeFailure: null
  } satisfies Call<Protocol.Health>
} as const

const refused = (status: number, detail: string) => new Failure(new Refused({ status, detail }), "no")

const conflictReason = (body: string): Effect.Effect<Reason, Schema.SchemaError> =>
  Effect.map(conflict(body), (answer) =>
    answer.error === "stale"
      ? new Stale({
          detail: `it has seen generation ${answer.newest_generation}`,
          newestGeneration: answer.newest_generation
        })
      : new Busy({
          detail: `${answer.connections} connections, idle for ${answer.idle_seconds} s`,
          connections: answer.connections,
          idleSeconds: answer.idle_seconds
        })
  )

/** Statuses of a server or proxy that may do better in a moment. */
const passing = new Set([408, 425, 429, 502, 503, 504])

export const interpret = <A>(call: Call<A>, status: number, body: string): Effect.Effect<Answer<A>, Failure> => {
  const unknown = () => refused(status, "its answer is not the protocol's")
  const spoken = (reason: Effect.Effect<Reason, Schema.SchemaError>) =>
    Effect.flatMap(Effect.mapError(reason, unknown), (reason) => Effect.fail(new Failure(reason, "no")))

  if (status === 200) {
    return call.decode(body).pipe(
      Effect.map((value): Answer<A> => ({ _tag: "Done", value })),
      Effect.mapError(unknown)
    )
  }
  if (status === 202) {
    return progress(body).pipe(
      Effect.map(({ progress }): Answer<A> => ({ _tag: "Moving", bytes: progress.bytes })),
      Effect.mapError(unknown)
    )
  }
  if (status === 409) return spoken(conflictReason(body))
  if (status === 422 && call.decodeFailure !== null) return spoken(call.decodeFailure(body))
  if (status === 401 || status === 403) return Effect.fail(refused(status, "it does not know our secret"))
  if (passing.has(status)) return Effect.fail(new Failure(new Unreachable({ detail: `answered ${status}` }), "again"))
  return Effect.fail(
    status >= 500
      ? new Failure(new Refused({ status, detail: "it failed" }), "again")
      : refused(status, "its answer is not the protocol's")
  )
}
