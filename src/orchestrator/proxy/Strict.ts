/** What Node's parser lets through, but servers behind it may read in different ways. */
import type { IncomingMessage } from "node:http"

/** It does not say clearly for which host it is, or where its body ends. */
export const isAmbiguous = ({ httpVersion, rawHeaders }: IncomingMessage): boolean => {
  // Node's parser takes 0.9 and 2.0 too.
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return true
  let host = false
  let encoding: string | undefined
  let length: string | undefined
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ""
    const value = rawHeaders[at + 1] ?? ""
    // Nearly all names are told apart by their lengths.
    if (name.length === 4 && name.toLowerCase() === "host") {
      if (host) return true
      host = true
    } else if (name.length === 14 && name.toLowerCase() === "content-length") {
      if (length !== undefined) return true
      length = value
    } else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
      if (encoding !== undefined) return true
      encoding = value
    }
  }
  if (!host && httpVersion !== "1.0") return true
  if (encoding === undefined) return length !== undefined && !/^\d{1,15}$/.test(length)
  return length !== undefined || httpVersion === "1.0" || encoding.toLowerCase() !== "chunked"
}

/**
 * Any protocol but those in which a client could ask a server for paths that nobody here would see: HTTP itself over the
 * same connection, or TLS within it.
 */
export const mayUpgrade = ({ headers }: IncomingMessage): boolean =>
  !/(?:^|[\s,])(?:h2c?|h3|https?|tls)(?:$|[\s,/])/i.test(headers.upgrade ?? "")
