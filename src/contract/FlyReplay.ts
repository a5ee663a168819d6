/**
 * `fly-replay` as a response header, and what Fly's proxy adds to a request that it replays or gives back.
 * Fields and meanings: https://fly.io/docs/networking/dynamic-request-routing/
 */

export interface Replay {
  readonly app: string
  readonly timeoutMs: number
  /** `off`: the instance and the app alone, without a limit or a way back. */
  readonly fallback: "prefer_self" | "force_self" | "off"
}

const duration = (ms: number): string => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`)

/** The header for each machine. A router keeps one for every route, so it is put together from as few parts as can be. */
export const replayHeader = (replay: Replay): ((machineId: string) => string) => {
  const rest =
    `;app=${replay.app}` +
    (replay.fallback === "off" ? "" : `;timeout=${duration(replay.timeoutMs)};fallback=${replay.fallback}`)
  return (machineId) => `instance=${machineId}${rest}`
}

/** With this state a project server sends back what is not its own, or what came while it was sealed. */
export const staleState = "stale"

/** The header that such a server answers with. */
export const staleHeader = (routerApp: string): string => `app=${routerApp};state=${staleState}`

/** `state` of `fly-replay-src`. Fly's own documents separate its fields by semicolons in one place, commas in another. */
export const stateOf = (replaySrc: string): string | undefined =>
  /(?:^|[;,])\s*state=([^;,]*)/.exec(replaySrc)?.[1]?.trim()
