/**
 * Object storage in memory, with the faults that a bucket can have. Deterministic: time is the Clock's, and chance is
 * whatever the installed fault function makes of it.
 *
 * One state serves both sides: `R2` for the plane, `MemoryR2` for machine servers (presigned `memory:` URLs) and tests.
 */
import { createHash, createHmac } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { R2, R2Error, type PresignedUrl } from "../services/r2/R2.ts"
import { Link } from "./Link.ts"

export type Operation = "presignPut" | "presignGet" | "head" | "checksum" | "delete" | "list" | "put" | "get"

export interface Fault {
  readonly latencyMs?: number
  /**
   * `unavailable` before anything happened, `unavailable_after` with the effect done; `denied`; on `put`: `not_stored`
   * (answered 200), `corrupt` and `short` (stored so); on `get` and `checksum`: `corrupt` and `short` (read so, once).
   */
  readonly outcome?: "unavailable" | "unavailable_after" | "denied" | "not_stored" | "corrupt" | "short"
}

/** Asked once for every call; `{}` lets it through. */
export type FaultFor = (operation: Operation, key: string) => Effect.Effect<Fault>

export interface Upload {
  readonly headers?: Readonly<Record<string, string>>
  readonly body: Uint8Array
  /** What the sender announced, where the body was cut on its way. */
  readonly contentLength?: number
}

export class MemoryR2 extends Context.Service<
  MemoryR2,
  {
    /** As over HTTP: 200, 400 (cut body), 403 (signature, method, key, expiry), 412 (exists), 503. */
    put(url: string, upload: Upload): Effect.Effect<{ readonly status: number }>
    /** 200, 403, 404, 503; the body is empty but for 200. */
    get(url: string): Effect.Effect<{ readonly status: number; readonly body: Uint8Array }>
    /** The plane's side, past every link. */
    readonly plane: R2["Service"]
    setFaults(faultFor: FaultFor): Effect.Effect<void>
    readonly clearFaults: Effect.Effect<void>
    readonly objects: Effect.Effect<ReadonlyMap<string, Uint8Array>>
    /** What is stored under the key at this moment. */
    readonly peek: (key: string) => Uint8Array | undefined
    /** Puts an object past all rules; null removes it. */
    overwrite(key: string, body: Uint8Array | null): Effect.Effect<void>
    /** Flips one bit of a stored object. */
    corrupt(key: string): Effect.Effect<void>
    /** Cuts a stored object to half its length. */
    truncate(key: string): Effect.Effect<void>
  }
>()("valet/MemoryR2") {}

const ORIGIN = "memory://r2/"
const NOTHING = new Uint8Array(0)
const SECRET = "memory"

const signatureOf = (method: string, key: string, expiresAt: number) =>
  createHmac("sha256", SECRET).update(`${method}\n${key}\n${expiresAt}`).digest("hex")

const flipped = (body: Uint8Array, bit = 1): Uint8Array => {
  const copy = Uint8Array.from(body)
  copy[0] = (copy[0] ?? 0) ^ bit
  return copy.length === 0 ? Uint8Array.of(1) : copy
}
const halved = (body: Uint8Array): Uint8Array => body.slice(0, Math.floor(body.length / 2))
/** On its way out another bit than on its way in: two errors do not make it whole again. */
const damaged = (body: Uint8Array, { outcome }: Fault, bit = 1): Uint8Array =>
  outcome === "corrupt" ? flipped(body, bit) : outcome === "short" ? halved(body) : body

/** The key that the URL opens for the method now, or null. */
const opened = (method: string, url: string, now: number): string | null => {
  // By hand: a URL parser would resolve the dots that a key may hold.
  const [path = "", query = ""] = url.split("?")
  if (!path.startsWith(ORIGIN)) return null
  const parameters = new URLSearchParams(query)
  const key = decodeURIComponent(path.slice(ORIGIN.length))
  const expiresAt = Number(parameters.get("expires"))
  const signed = parameters.get("signature") === signatureOf(method, key, expiresAt)
  return signed && now < expiresAt ? key : null
}

const make = Effect.sync(() => {
  const stored = new Map<string, Uint8Array>()
  const none: FaultFor = () => Effect.succeed({})
  let faultFor = none

  /** Draws the fault and spends its latency. */
  const draw = (operation: Operation, key: string) =>
    Effect.tap(
      Effect.suspend(() => faultFor(operation, key)),
      ({ latencyMs = 0 }) => (latencyMs > 0 ? Effect.sleep(latencyMs) : Effect.void)
    )

  const call = Effect.fnUntraced(function* <A>(
    operation: Operation,
    key: string,
    effect: (fault: Fault) => Effect.Effect<A, R2Error>
  ) {
    const fault = yield* draw(operation, key)
    const failure = (reason: R2Error["reason"]) => new R2Error({ operation, reason, detail: "injected" })
    if (fault.outcome === "unavailable") return yield* failure("Unavailable")
    if (fault.outcome === "denied") return yield* failure("Denied")
    const result = yield* effect(fault)
    if (fault.outcome === "unavailable_after") return yield* failure("Unavailable")
    return result
  })

  const presign = (operation: "presignPut" | "presignGet", method: "PUT" | "GET", key: string, seconds: number) =>
    call(operation, key, () =>
      Effect.map(Clock.currentTimeMillis, (now): PresignedUrl => {
        // Whole seconds, as in a signature's date.
        const expiresAt = (Math.floor(now / 1000) + seconds) * 1000
        const path = key.split("/").map(encodeURIComponent).join("/")
        return {
          url: `${ORIGIN}${path}?expires=${expiresAt}&signature=${signatureOf(method, key, expiresAt)}`,
          headers: method === "PUT" ? { "if-none-match": "*" } : {},
          expiresAt
        }
      })
    )

  const r2 = R2.of({
    presignPut: (key, seconds) => presign("presignPut", "PUT", key, seconds),
    presignGet: (key, seconds) => presign("presignGet", "GET", key, seconds),
    head: (key) =>
      call("head", key, () =>
        Effect.sync(() => Option.map(Option.fromUndefinedOr(stored.get(key)), ({ length }) => ({ size: length })))
      ),
    checksum: (key, onBytes = () => Effect.void) =>
      call(
        "checksum",
        key,
        Effect.fnUntraced(function* (fault) {
          const body = stored.get(key)
          if (body === undefined)
            return yield* new R2Error({ operation: "checksum", reason: "Missing", detail: "NoSuchKey (404)" })
          const seen = damaged(body, fault, 2)
          yield* onBytes(seen.length)
          return { size: seen.length, sha256: createHash("sha256").update(seen).digest("hex") }
        })
      ),
    delete: (key) => call("delete", key, () => Effect.sync(() => void stored.delete(key))),
    list: (prefix) =>
      call("list", prefix, () =>
        Effect.sync(() =>
          [...stored]
            .filter(([key]) => key.startsWith(prefix))
            .map(([key, { length }]) => ({ key, size: length }))
            .toSorted((a, b) => (a.key < b.key ? -1 : 1))
        )
      )
  })

  const put = Effect.fnUntraced(function* (url: string, upload: Upload) {
    const key = opened("PUT", url, yield* Clock.currentTimeMillis)
    if (key === null || upload.headers?.["if-none-match"] !== "*") return { status: 403 }
    const fault = yield* draw("put", key)
    if (fault.outcome === "unavailable") return { status: 503 }
    if (fault.outcome === "denied") return { status: 403 }
    if ((upload.contentLength ?? upload.body.length) !== upload.body.length) return { status: 400 }
    // Looked at after the latency, as a store does when the body is in.
    if (stored.has(key)) return { status: 412 }
    if (fault.outcome !== "not_stored") stored.set(key, damaged(Uint8Array.from(upload.body), fault))
    return { status: fault.outcome === "unavailable_after" ? 503 : 200 }
  })

  const get = Effect.fnUntraced(function* (url: string) {
    const key = opened("GET", url, yield* Clock.currentTimeMillis)
    if (key === null) return { status: 403, body: NOTHING }
    const fault = yield* draw("get", key)
    if (fault.outcome === "unavailable" || fault.outcome === "unavailable_after") return { status: 503, body: NOTHING }
    if (fault.outcome === "denied") return { status: 403, body: NOTHING }
    const body = stored.get(key)
    return body === undefined ? { status: 404, body: NOTHING } : { status: 200, body: damaged(body, fault, 2) }
  })

  const change = (key: string, how: (body: Uint8Array) => Uint8Array) =>
    Effect.sync(() => {
      const body = stored.get(key)
      if (body !== undefined) stored.set(key, how(body))
    })

  const memory = MemoryR2.of({
    put,
    get,
    plane: r2,
    setFaults: (next) => Effect.sync(() => void (faultFor = next)),
    clearFaults: Effect.sync(() => void (faultFor = none)),
    objects: Effect.sync(() => new Map(stored)),
    peek: (key) => stored.get(key),
    overwrite: (key, body) => Effect.sync(() => void (body === null ? stored.delete(key) : stored.set(key, body))),
    corrupt: (key) => change(key, (body) => flipped(body)),
    truncate: (key) => change(key, halved)
  })

  return Context.make(R2, r2).pipe(Context.add(MemoryR2, memory))
})

export const layer: Layer.Layer<R2 | MemoryR2> = Layer.effectContext(make)

/** The bucket as one more client sees it, over its own link. */
export const layerClient: Layer.Layer<R2, never, MemoryR2> = Layer.effect(
  R2,
  Effect.gen(function* () {
    const { plane } = yield* MemoryR2
    const link = yield* Link
    return R2.of({
      presignPut: (key, seconds) => plane.presignPut(key, seconds),
      presignGet: (key, seconds) => plane.presignGet(key, seconds),
      head: (key) => link("r2", "head")(plane.head(key)),
      checksum: (key, onBytes) => link("r2", "checksum")(plane.checksum(key, onBytes)),
      delete: (key) => link("r2", "delete")(plane.delete(key)),
      list: (prefix) => link("r2", "list")(plane.list(prefix))
    })
  })
)
