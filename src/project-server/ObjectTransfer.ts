/**
 * A database to and from the object store, by presigned URL. Errors never contain the URL: whoever has it has the data.
 * A transfer that moves no byte for `stallMs` has failed; failures that may pass are retried a bounded number of times.
 */
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import { open } from "node:fs/promises"
import * as Http from "node:http"
import * as Https from "node:https"
import { pipeline } from "node:stream/promises"
import type { Readable } from "node:stream"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Disk from "./Disk.ts"

export class TransferError extends Schema.TaggedError<TransferError>()("TransferError", {
  detail: Schema.String,
  /** Of an answer that was not 2xx. */
  status: Schema.NullOr(Schema.Int),
  retryable: Schema.Boolean
}) {
  override get message() {
    return this.detail
  }
}

/** 5 attempts in about 8 seconds. */
const retries = Schedule.exponential("500 millis").pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 4 }),
  Schedule.setInputType<TransferError>(),
  Schedule.while(({ input }) => input.retryable)
)

const transient = new Set([408, 425, 429, 500, 502, 503, 504])
const answered = (status: number): TransferError =>
  new TransferError({ detail: `the object store answered ${status}`, status, retryable: transient.has(status) })

const failed = (cause: unknown): TransferError => {
  if (cause instanceof TransferError) return cause
  const code = Disk.codeOf(cause)
  const disk = code === "ENOSPC" || code === "EDQUOT"
  return new TransferError({
    detail: disk ? "the disk is full" : `the transfer broke off (${code})`,
    status: null,
    retryable: !disk
  })
}

/** Resolves with the response's head. The caller's signal cuts the connection. */
const request = (
  url: string,
  options: { readonly method: string; readonly headers: Readonly<Record<string, string>> },
  stallMs: number,
  signal: AbortSignal,
  send: (request: Http.ClientRequest) => void
) =>
  new Promise<Http.IncomingMessage>((resolve, reject) => {
    if (!URL.canParse(url) || !/^https?:/.test(url)) {
      reject(new TransferError({ detail: "the URL is not one", status: null, retryable: false }))
      return
    }
    const secure = url.startsWith("https:")
    const client = (secure ? Https : Http).request(url, { ...options, signal, agent: false })
    client.setTimeout(stallMs, () => {
      client.destroy(new TransferError({ detail: "the transfer stalled", status: null, retryable: true }))
    })
    client.once("response", resolve)
    client.on("error", reject)
    send(client)
  })

export interface Moved {
  readonly size: number
  /** Hexadecimal. */
  readonly sha256: string
}

/**
 * What passes is counted by the source itself: with a stage of its own between source and sink an archive of 100 MiB took
 * a sixth longer (`bench/`, `archive`). Whoever sends more than was recorded is cut.
 */
const counted = (source: Readable, most: number, onPiece: (piece: Buffer, bytes: number) => void) => {
  let bytes = 0
  source.on("data", (piece: Buffer) => {
    bytes += piece.length
    onPiece(piece, bytes)
    if (bytes > most) {
      source.destroy(
        new TransferError({ detail: "the object is larger than recorded", status: null, retryable: false })
      )
    }
  })
}

const chunk = { highWaterMark: 256 * 1024 } as const

/** Into a new file, fsynced. One attempt leaves nothing that the next one would read. */
export const download = Effect.fn("ObjectTransfer.download")(function* (
  url: string,
  path: string,
  expected: Moved,
  stallMs: number,
  onBytes: (bytes: number) => void
) {
  const once = Effect.tryPromise({
    try: async (signal) => {
      // A new file each time: a cut attempt may have a write under way in its own.
      Fs.rmSync(path, { force: true })
      const response = await request(url, { method: "GET", headers: {} }, stallMs, signal, (client) => client.end())
      if (response.statusCode !== 200) {
        response.destroy()
        throw answered(response.statusCode ?? 0)
      }
      const hash = createHash("sha256")
      let size = 0
      counted(response, expected.size, (piece, bytes) => {
        hash.update(piece)
        onBytes((size = bytes))
      })
      await pipeline(response, Fs.createWriteStream(path, { ...chunk, flags: "wx", flush: true }), { signal })
      if (size !== expected.size) {
        throw new TransferError({ detail: "the object is shorter than recorded", status: null, retryable: true })
      }
      if (hash.digest("hex") !== expected.sha256) {
        throw new TransferError({ detail: "the object has another checksum", status: null, retryable: false })
      }
    },
    catch: failed
  })
  yield* Effect.retry(once, retries)
})

/**
 * The file as the body of a PUT. A 412 means that the key is taken: by an earlier attempt of ours whose answer was lost,
 * where there can have been one; whoever asked for the upload reads the object back anyway.
 */
export const upload = Effect.fn("ObjectTransfer.upload")(function* (
  target: { readonly url: string; readonly headers: Readonly<Record<string, string>> },
  file: { readonly path: string; readonly size: number },
  attemptedBefore: boolean,
  stallMs: number,
  onBytes: (bytes: number) => void
) {
  let attempts = attemptedBefore ? 1 : 0
  const headers = {
    ...Object.fromEntries(Object.entries(target.headers).filter(([name]) => name.toLowerCase() !== "content-length")),
    "content-length": String(file.size)
  }
  const once = Effect.tryPromise({
    try: async (signal) => {
      attempts++
      // An answer may come before the whole body was sent; then the rest is not.
      const body = Fs.createReadStream(file.path, chunk)
      try {
        const response = await request(target.url, { method: "PUT", headers }, stallMs, signal, (client) => {
          counted(body, file.size, (_piece, bytes) => onBytes(bytes))
          pipeline(body, client, { signal }).catch((cause: unknown) => client.destroy(failed(cause)))
        })
        response.resume()
        const status = response.statusCode ?? 0
        if (status < 200 || status > 299) throw answered(status)
      } finally {
        body.destroy()
      }
    },
    catch: failed
  }).pipe(
    Effect.catchIf(
      (error) => error.status === 412 && attempts > 1,
      () => Effect.void
    )
  )
  yield* Effect.retry(once, retries)
})

/** Of a file at rest. All of it passes one buffer: a new one for each piece is garbage faster than it is collected. */
export const digest = Effect.fn("ObjectTransfer.digest")(function* (path: string) {
  return yield* Effect.tryPromise({
    try: async (signal): Promise<Moved> => {
      const hash = createHash("sha256")
      const piece = Buffer.allocUnsafe(chunk.highWaterMark)
      let size = 0
      const file = await open(path)
      try {
        for (;;) {
          signal.throwIfAborted()
          const { bytesRead } = await file.read(piece, 0, piece.length, null)
          if (bytesRead === 0) return { size, sha256: hash.digest("hex") }
          size += bytesRead
          hash.update(piece.subarray(0, bytesRead))
        }
      } finally {
        await file.close()
      }
    },
    catch: failed
  })
})
