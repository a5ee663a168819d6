/** What Node's parser lets through, but servers behind it may read in different ways. */
import type { IncomingMessage } from "node:http"
import { values } from "../../proxy/Headers.ts"

/** Undefined where the header is there more than once, null where it is not there. */
const single = ({ rawHeaders }: IncomingMessage, name: string) => {
  const found = values(rawHeaders, name)
  return found.length > 1 ? undefined : (found[0] ?? null)
}

/** It does not say clearly for which host it is, or where its body ends. */
export const isAmbiguous = (request: IncomingMessage): boolean => {
  // Node's parser takes 0.9 and 2.0 too.
  if (request.httpVersion !== "1.1" && request.httpVersion !== "1.0") return true
  const host = single(request, "host")
  const encoding = single(request, "transfer-encoding")
  const length = single(request, "content-length")
  if (host === undefined || encoding === undefined || length === undefined) return true
  if (host === null && request.httpVersion !== "1.0") return true
  if (encoding === null) return length !== null && !/^\d{1,15}$/.test(length)
  return length !== null || request.httpVersion === "1.0" || encoding.toLowerCase() !== "chunked"
}

/**
 * Any protocol but those in which a client could ask a server for paths that nobody here would see: HTTP itself over the
 * same connection, or TLS within it.
 */
export const mayUpgrade = ({ headers }: IncomingMessage): boolean =>
  !/(?:^|[\s,])(?:h2c?|h3|https?|tls)(?:$|[\s,/])/i.test(headers.upgrade ?? "")
