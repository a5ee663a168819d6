import type { ProjectId } from "../../domain/ProjectId.ts"

export interface Use {
  readonly project: ProjectId
  /** A request ends by itself; a connection (an upgrade) may stay for days. */
  readonly kind: "request" | "connection"
  /** Whom a spawn counts for; null: nobody, as for requests that come from this machine itself. */
  readonly client: string | null
}

export interface Target {
  readonly pid: number
  /** On 127.0.0.1. */
  readonly port: number
}

export interface Held {
  readonly target: Target
  /** Once, at the end of the use. */
  readonly release: () => void
}
