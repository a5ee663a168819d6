/** A request as the router reads it. Node's IncomingMessage is one, so the hot path makes no object of its own. */
export interface RouterRequest {
  readonly method?: string | undefined
  /** The request target as received. */
  readonly url?: string | undefined
  /** Names and values in turn, as on the wire. */
  readonly rawHeaders: ReadonlyArray<string>
}

/** Every value of a header; `name` in lower case. */
export const headerValues = (request: RouterRequest, name: string): ReadonlyArray<string> => {
  const values: Array<string> = []
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const key = request.rawHeaders[i]
    const value = request.rawHeaders[i + 1]
    if (key !== undefined && value !== undefined && key.length === name.length && key.toLowerCase() === name) {
      values.push(value)
    }
  }
  return values
}

export const header = (request: RouterRequest, name: string): string | undefined => headerValues(request, name)[0]

export const isUpgrade = (request: RouterRequest): boolean =>
  header(request, "upgrade") !== undefined &&
  headerValues(request, "connection").some((value) => /(?:^|,)\s*upgrade\s*(?:,|$)/i.test(value))

/** A person's browser that loads a page: it can show one that reloads, a program can't. */
export const isNavigation = (request: RouterRequest): boolean => {
  if (request.method !== "GET" || isUpgrade(request)) return false
  const mode = header(request, "sec-fetch-mode")
  return (mode === undefined || mode === "navigate") && /\btext\/html\b/i.test(header(request, "accept") ?? "")
}
