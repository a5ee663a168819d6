/**
 * What a project's machine knows of itself, and what each call of the machine protocol makes of it: pure decisions, so
 * that the rule "nothing older than the newest generation has an effect" stands in one place.
 *
 * The fields are the state file's. `ready` is recorded once, before anything is served, and is never taken back: from
 * then on the volume is the truth and nothing is restored onto it.
 */
import * as Schema from "effect/Schema"
import type * as Protocol from "../contract/MachineProtocol.ts"

const Generation = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

export const MachineState = Schema.Struct({
  /** Null: never configured. */
  project: Schema.NullOr(Schema.String),
  uid: Schema.String,
  deploy_key: Schema.String,
  newest_generation: Generation,
  last_unseal_generation: Generation,
  /** Of the archive that sealed it; 0 while it is not sealed. An unseal must be newer. */
  sealed_generation: Generation,
  sealed: Schema.Boolean,
  ready: Schema.Boolean,
  restored_bytes: Schema.Int,
  idle_timeout_seconds: Schema.NullOr(Schema.Int),
  router_app: Schema.NullOr(Schema.String)
})
export type MachineState = typeof MachineState.Type

export const unconfigured: MachineState = {
  project: null,
  uid: "",
  deploy_key: "",
  newest_generation: 0,
  last_unseal_generation: 0,
  sealed_generation: 0,
  sealed: false,
  ready: false,
  restored_bytes: 0,
  idle_timeout_seconds: null,
  router_app: null
}

/** The database may be open. */
export const serves = (state: MachineState): boolean => state.ready && !state.sealed

export type Stale = { readonly _tag: "Stale" }
/** Nothing to do: it was done before. */
export type Done = { readonly _tag: "Done" }
export type Refused = { readonly _tag: "Refused"; readonly detail: string }
const stale: Stale = { _tag: "Stale" }
const done: Done = { _tag: "Done" }
const refused = (detail: string): Refused => ({ _tag: "Refused", detail })

const unsealed = (state: MachineState, generation: number): MachineState => ({
  ...state,
  newest_generation: generation,
  last_unseal_generation: generation,
  sealed_generation: 0,
  sealed: false
})

export type Configured =
  | Stale
  | Done
  | Refused
  /** The volume's own data is served under the new generation, also where it was sealed before. */
  | { readonly _tag: "Serve"; readonly next: MachineState }
  /** Restore, or make an empty database, then record `ready`. */
  | { readonly _tag: "Prepare"; readonly next: MachineState }

/**
 * `databasePresent`: a database lies on the volume. Without a state file nobody knows whose it is: it is served where
 * nothing is to be restored, and never overwritten.
 */
export const configure = (
  state: MachineState,
  databasePresent: boolean,
  request: Protocol.ConfigureRequest
): Configured => {
  const { generation } = request
  const known = state.project !== null
  if (known && (state.project !== request.project_id || state.uid !== request.project_uid)) return stale
  if (generation < state.newest_generation) return stale
  const told: MachineState = {
    ...state,
    project: request.project_id,
    uid: request.project_uid,
    deploy_key: request.deploy_key,
    newest_generation: generation,
    idle_timeout_seconds: request.idle_timeout_seconds ?? state.idle_timeout_seconds,
    router_app: request.router_app ?? state.router_app
  }
  if (state.ready) {
    if (generation === state.newest_generation) return state.sealed ? stale : done
    if (request.restore !== undefined) return refused("this volume already holds the project's data")
    return { _tag: "Serve", next: unsealed(told, generation) }
  }
  if (!known && databasePresent) {
    return request.restore === undefined
      ? { _tag: "Serve", next: { ...unsealed(told, generation), ready: true } }
      : refused("this volume already holds a database")
  }
  return { _tag: "Prepare", next: told }
}

export type Archived =
  | Stale
  | Refused
  /** Stop serving; once the file is at rest, `seal` is recorded and the upload begins. */
  | { readonly _tag: "Seal"; readonly next: MachineState }
  /** Sealed already, by this call before a restart or by an older one: the file did not change since. */
  | { readonly _tag: "Upload"; readonly next: MachineState }

export const archive = (state: MachineState, request: Protocol.ArchiveRequest): Archived => {
  const { generation } = request
  if (state.project === null || state.uid !== request.project_uid) return stale
  if (generation < state.newest_generation || generation <= state.last_unseal_generation) return stale
  if (!state.ready) return refused("the project was never made ready here")
  const next = { ...state, newest_generation: generation }
  return state.sealed ? { _tag: "Upload", next: { ...next, sealed_generation: generation } } : { _tag: "Seal", next }
}

/** Undefined: a newer call came since, and this one must not seal any more. */
export const seal = (state: MachineState, generation: number): MachineState | undefined =>
  state.newest_generation === generation && generation > state.last_unseal_generation
    ? { ...state, sealed: true, sealed_generation: generation }
    : undefined

/** An archive that failed gives up its own seal; that of another call stays. */
export const giveUpSeal = (state: MachineState, generation: number): MachineState | undefined =>
  state.sealed && state.sealed_generation === generation && state.newest_generation === generation
    ? { ...state, sealed: false, sealed_generation: 0 }
    : undefined

/** A configuration's last step; undefined where a newer call came since. */
export const ready = (state: MachineState, generation: number, restoredBytes: number): MachineState | undefined =>
  state.newest_generation === generation && !state.ready
    ? { ...unsealed(state, generation), ready: true, restored_bytes: restoredBytes }
    : undefined

export type Unsealed = Stale | Done | { readonly _tag: "Open"; readonly next: MachineState }

export const unseal = (state: MachineState, request: Protocol.UnsealRequest): Unsealed => {
  const { generation } = request
  if (!state.ready || state.uid !== request.project_uid) return stale
  if (generation < state.newest_generation) return stale
  if (state.sealed && generation <= state.sealed_generation) return stale
  if (!state.sealed && generation === state.last_unseal_generation) return done
  return { _tag: "Open", next: unsealed(state, generation) }
}

export type Applied = Stale | { readonly _tag: "Apply"; readonly next: MachineState }

export const settings = (state: MachineState, request: Protocol.SettingsRequest): Applied =>
  state.project === null || state.uid !== request.project_uid || request.generation < state.newest_generation
    ? stale
    : {
        _tag: "Apply",
        next: {
          ...state,
          newest_generation: request.generation,
          idle_timeout_seconds: request.idle_timeout_seconds
        }
      }
