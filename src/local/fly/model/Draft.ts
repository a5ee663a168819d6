/**
 * One operation on the state. An operation reads and replaces `draft.state`; if it refuses, everything it did is
 * dropped. From outside it is a function: state × operation × time → state, answer and what the host must do.
 */
import * as Result from "effect/Result"
import type { FlyState, HostAction, Machine, Params, Volume } from "./FlyState.ts"
import type { Refusal } from "./Refusal.ts"

export interface Draft {
  readonly now: number
  readonly params: Params
  state: FlyState
  readonly actions: Array<HostAction>
  /** Records that were copied for this draft alone, and so may be written to. */
  readonly own: WeakSet<object>
}

export const draftOf = (state: FlyState, params: Params, now: number, actions: Array<HostAction> = []): Draft => ({
  now,
  params,
  state,
  actions,
  own: new WeakSet()
})

export type Op<A> = (draft: Draft) => Result.Result<A, Refusal>

export interface Step<A> {
  readonly state: FlyState
  readonly answer: Result.Result<A, Refusal>
  readonly actions: ReadonlyArray<HostAction>
}

export const runOp = <A>(state: FlyState, params: Params, now: number, op: Op<A>): Step<A> => {
  const draft = draftOf(state, params, now)
  const answer = op(draft)
  return Result.isSuccess(answer)
    ? { state: draft.state, answer, actions: draft.actions }
    : { state, answer, actions: [] }
}

/** One copy for each draft, however often it writes. */
const written = <A>(draft: Draft, record: Readonly<Record<string, A>>, key: string, value: A) => {
  if (draft.own.has(record)) return Object.assign(record, { [key]: value })
  const copy = { ...record, [key]: value }
  draft.own.add(copy)
  return copy
}

export const putMachine = (draft: Draft, machine: Machine): Machine => {
  draft.state = { ...draft.state, machines: written(draft, draft.state.machines, machine.id, machine) }
  return machine
}

export const putVolume = (draft: Draft, volume: Volume): Volume => {
  draft.state = { ...draft.state, volumes: written(draft, draft.state.volumes, volume.id, volume) }
  return volume
}

/** Mulberry32: the next number in [0, 1) and the generator's next state. */
export const nextRandom = (seed: number): readonly [value: number, seed: number] => {
  const next = (seed + 0x6d2b79f5) >>> 0
  let t = next
  t = Math.imul(t ^ (t >>> 15), t | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return [((t ^ (t >>> 14)) >>> 0) / 4_294_967_296, next]
}

export const random = (draft: Draft): number => {
  const [value, seed] = nextRandom(draft.state.seed)
  draft.state = { ...draft.state, seed }
  return value
}

const chars = (draft: Draft, alphabet: string, length: number): string => {
  let text = ""
  for (let i = 0; i < length; i++) text += alphabet.charAt(Math.floor(random(draft) * alphabet.length))
  return text
}

const hex = "0123456789abcdef"
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
const base36 = "0123456789abcdefghijklmnopqrstuvwxyz"

const unused = (taken: Readonly<Record<string, unknown>>, make: () => string): string => {
  let id = make()
  while (taken[id] !== undefined) id = make()
  return id
}

export const machineId = (draft: Draft) => unused(draft.state.machines, () => chars(draft, hex, 14))
export const volumeId = (draft: Draft) => unused(draft.state.volumes, () => `vol_${chars(draft, base36, 17)}`)
export const snapshotId = (draft: Draft) => unused(draft.state.snapshots, () => `vs_${chars(draft, base36, 16)}`)
export const nonce = (draft: Draft) => chars(draft, hex, 12)
export const appId = (draft: Draft) => chars(draft, base36, 16)
export const word = (draft: Draft) => chars(draft, base36, 8)

/** A made-up 6PN address: a /112 per machine inside fdaa::/16. */
export const privateIp = (draft: Draft) => `fdaa:0:${[4, 4, 4, 4].map((n) => chars(draft, hex, n)).join(":")}:0:2`

/** 26 characters: time, then chance. Versions (`instance_id`) and events are named so. */
export const ulid = (draft: Draft): string => {
  let time = ""
  let left = draft.now
  for (let i = 0; i < 10; i++) {
    time = crockford.charAt(left % 32) + time
    left = Math.floor(left / 32)
  }
  return time + chars(draft, crockford, 16)
}
