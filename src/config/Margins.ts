/**
 * Safety margins and the periods of the reconcilers, in milliseconds. They are long because Fly's answers are
 * eventually consistent and clocks differ; a test rig, a demonstration or a chaos run scales all of them down together.
 */
import * as Context from "effect/Context"

export interface MarginsValue {
  /** How long a route may be served from a cache without being read again; a machine that served outlives it. */
  readonly routeTtlMs: number
  /** Two answers of Fly that something is gone must lie this far apart. */
  readonly goneApartMs: number
  /** An object may still be written when its upload's URL expires: clocks differ, a PUT may be under way. */
  readonly urlMarginMs: number
  /** A row that is being provisioned renews its operation's lease; one this old without an owner is left over. */
  readonly abandonedMs: number
  /** A create whose answer was lost may still happen: how long until its absence from listings is believed. */
  readonly absentMs: number
  /** A stray at Fly is looked at twice, this far apart, before it is deleted. */
  readonly strayAgeMs: number
  /** Discard and recovery. */
  readonly reconcileEveryMs: number
  readonly observeEveryMs: number
  readonly reapEveryMs: number
}

export const defaultMargins: MarginsValue = {
  routeTtlMs: 60_000,
  goneApartMs: 60_000,
  urlMarginMs: 15 * 60_000,
  abandonedMs: 15 * 60_000,
  absentMs: 15 * 60_000,
  strayAgeMs: 60 * 60_000,
  reconcileEveryMs: 30_000,
  observeEveryMs: 60_000,
  reapEveryMs: 10 * 60_000
}

/** All of them by one factor, at least a second each: only for planes whose Fly is local. */
export const scaledMargins = (factor: number): MarginsValue => {
  const scale = (ms: number) => Math.max(1_000, Math.round(ms * factor))
  return {
    routeTtlMs: scale(defaultMargins.routeTtlMs),
    goneApartMs: scale(defaultMargins.goneApartMs),
    urlMarginMs: scale(defaultMargins.urlMarginMs),
    abandonedMs: scale(defaultMargins.abandonedMs),
    absentMs: scale(defaultMargins.absentMs),
    strayAgeMs: scale(defaultMargins.strayAgeMs),
    reconcileEveryMs: scale(defaultMargins.reconcileEveryMs),
    observeEveryMs: scale(defaultMargins.observeEveryMs),
    reapEveryMs: scale(defaultMargins.reapEveryMs)
  }
}

export const Margins = Context.Reference<MarginsValue>("valet/Margins", { defaultValue: () => defaultMargins })
