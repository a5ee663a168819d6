/**
 * A deliberate defect of the plane or of what it trusts, and the promise that it breaks. It is a patch of the sources,
 * applied to a copy of them: no switch for it is in any program.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Invariant, Violation } from "../../src/testing/simulation/Journal.ts"
import type { Focus } from "../../src/testing/simulation/Profile.ts"

export interface Patch {
  /** Relative to the repository's root. */
  readonly file: string
  /** Stands in the file exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Mutant {
  readonly name: string
  /** What the simulation is to find violated. */
  readonly invariant: Invariant
  /** By which the same harm may be seen first: what was lost is missed at the next read, archive or deletion. */
  readonly or?: ReadonlyArray<Invariant>
  /** Set on top of each seed's profile: what makes the defect matter, where that is rare otherwise. */
  readonly focus?: Focus
  readonly patches: ReadonlyArray<Patch>
}

export const isCaughtBy = ({ invariant, or = [] }: Mutant, violation: Violation | null): boolean =>
  violation !== null && (violation.invariant === invariant || or.includes(violation.invariant))

/** The sources have changed and the patch has not: it is to be written anew. */
export class PatchFailed extends Schema.TaggedError<PatchFailed>()("PatchFailed", {
  file: Schema.String,
  find: Schema.String,
  occurrences: Schema.Int
}) {
  override get message() {
    return `a mutant's patch does not fit: ${this.file} has ${this.occurrences} times\n${this.find}`
  }
}

export const patched = (source: string, patch: Patch): Result.Result<string, PatchFailed> => {
  const [before, after, ...more] = source.split(patch.find)
  if (before === undefined || after === undefined || more.length > 0) {
    const occurrences = source.split(patch.find).length - 1
    return Result.fail(new PatchFailed({ file: patch.file, find: patch.find, occurrences }))
  }
  return Result.succeed(`${before}${patch.replace}${after}`)
}
