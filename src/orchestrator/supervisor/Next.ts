/** What becomes of a project whose process is gone, or was never there. */
import type { ServerExit } from "../ServerHost.ts"
import type { StartFailed } from "../Starter.ts"
import { crashLimit, delayMs, failedMs } from "./Backoff.ts"
import type { Unavailable } from "./Unavailable.ts"

export type Ending =
  /** Nobody used it for its idle time. */
  | { readonly _tag: "Idle" }
  /** Another project needed its place. */
  | { readonly _tag: "Evicted" }
  | { readonly _tag: "Stopped" }
  | { readonly _tag: "Drained" }
  | { readonly _tag: "Restarted" }
  | { readonly _tag: "LifetimeOver" }
  | { readonly _tag: "Replaced"; readonly detail: string }
  | { readonly _tag: "Exited"; readonly exit: ServerExit }
  | { readonly _tag: "StartFailed"; readonly error: StartFailed }
  /** Nothing was started: it may not have a server, or there is no place for one. */
  | { readonly _tag: "Refused"; readonly error: Unavailable }

export type Next =
  | { readonly _tag: "Gone" }
  | { readonly _tag: "Start"; readonly restart: boolean }
  /** `restart`: it is started at that time, whoever comes; else somebody has to come, then or later. */
  | { readonly _tag: "Backoff"; readonly retryAt: number; readonly restart: boolean }
  | { readonly _tag: "Failed"; readonly retryAt: number }

export interface Circumstances {
  readonly ending: Ending
  /** When it ended: a connection, a request or a lease. */
  readonly wasInUse: boolean
  /** Somebody waits for it now. */
  readonly awaited: boolean
  /** In a row, this one included; only looked at where it is one. */
  readonly crashes: number
  readonly now: number
}

/** A process that ends with code 0 while nobody uses it has stopped itself, as scaling to zero wants it. */
export const isCrash = ({ ending, wasInUse, awaited }: Omit<Circumstances, "crashes" | "now">): boolean =>
  ending._tag === "StartFailed" || (ending._tag === "Exited" && (ending.exit.code !== 0 || wasInUse || awaited))

/** Started again without giving its place away: it is only replaced by its like. */
export const keepsPlace = (ending: Ending, wasInUse: boolean): boolean =>
  ending._tag === "Restarted" || (wasInUse && (ending._tag === "Replaced" || ending._tag === "LifetimeOver"))

export const next = (circumstances: Circumstances): Next => {
  const { ending, wasInUse, awaited, crashes, now } = circumstances
  if (ending._tag === "Drained" || ending._tag === "Refused") return { _tag: "Gone" }
  if (isCrash(circumstances)) {
    if (crashes >= crashLimit) return { _tag: "Failed", retryAt: now + failedMs }
    const wait = delayMs(crashes)
    const restart = wasInUse || awaited
    if (wait === 0 && restart) return { _tag: "Start", restart: true }
    return { _tag: "Backoff", retryAt: now + wait, restart }
  }
  if (keepsPlace(ending, wasInUse)) return { _tag: "Start", restart: true }
  return awaited ? { _tag: "Start", restart: false } : { _tag: "Gone" }
}

/** As the operator reads it. */
export const describe = (ending: Ending): string => {
  switch (ending._tag) {
    case "Idle":
      return "idle"
    case "Evicted":
      return "evicted"
    case "Stopped":
      return "stopped"
    case "Drained":
      return "drained"
    case "Restarted":
      return "restarted"
    case "LifetimeOver":
      return "its lifetime is over"
    case "Exited": {
      const { signal, code } = ending.exit
      return signal === null ? `exited with code ${code}` : `ended by ${signal}`
    }
    case "Replaced":
      return ending.detail
    case "StartFailed":
    case "Refused":
      return ending.error.detail
  }
}
