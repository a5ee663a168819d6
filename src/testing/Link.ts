/**
 * The way from one client to an outside system and back. By default there is none: a fake answers at once. A simulation
 * gives each instance its own, with latency, and cuts it when the instance dies.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

export type Peer = "database" | "fly" | "machine" | "r2"

/** Carries one request to where it is answered; a retry or a poll is a request of its own. */
export type Carry = (
  to: Peer,
  operation: string
) => <A, E, R>(request: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Read when a client's layer is built, so that each instance can have its own. */
export const Link = Context.Reference<Carry>("valet/testing/Link", { defaultValue: () => () => (request) => request })
