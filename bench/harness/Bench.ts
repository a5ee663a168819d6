/** What a bench is, and what it finds out. */
import type * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"

/** It could not be run. A goal that is missed is no failure. */
export class BenchFailed extends Schema.TaggedError<BenchFailed>()("BenchFailed", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** Of the ratio to the base; of the value where it says so. */
export interface Goal {
  readonly of?: "ratio" | "value"
  readonly atLeast?: number
  readonly atMost?: number
}

/** One line of the result. What could not be measured is null. */
export interface Figure {
  readonly name: string
  /** The median of the rounds. */
  readonly value: number | null
  readonly unit: string
  /** What it is compared with, in the same run; null where it stands for itself. */
  readonly base: string | null
  readonly baseValue: number | null
  /** Value to base: the median of the ratios within each round. */
  readonly ratio: number | null
  /** How wide the middle half of the ratios lies, as a part of their median; of the values where there is no base. */
  readonly spread: number | null
  readonly goal: Goal | null
  readonly met: boolean | null
  /** Why there is no value, or what else has to be known of it. */
  readonly note?: string
}

export type Needs = Scope.Scope | FileSystem.FileSystem | ChildProcessSpawner

export interface Bench {
  readonly name: string
  /** For the list of benches: half a line. */
  readonly summary: string
  /** `quick`: less exact, and in less than a minute. */
  run(options: { readonly quick: boolean }): Effect.Effect<ReadonlyArray<Figure>, BenchFailed, Needs>
}

export const isMet = (goal: Goal | null, value: number | null, ratio: number | null): boolean | null => {
  const seen = goal?.of === "value" ? value : ratio
  if (goal === null || seen === null) return null
  return seen >= (goal.atLeast ?? Number.NEGATIVE_INFINITY) && seen <= (goal.atMost ?? Number.POSITIVE_INFINITY)
}

/** Also of the harness itself: what stops a bench, as one of its failures. */
export const failed = (what: string) => (cause: unknown) =>
  new BenchFailed({ detail: `${what}: ${cause instanceof Error ? cause.message : String(cause)}` })
