/** What the machines of this bench restore, as their server files it: one kibibyte of documents. */
import { createHash } from "node:crypto"

export const bytesOf = (uid: string): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ uid, documents: [["kept", "x".repeat(1_000)]] }))

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")
