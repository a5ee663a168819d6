/**
 * Things under way, in no order. Not a Set: V8 gives a Set that was used for long a new table again and again, and each
 * old one refers to its successor. Once one of them is in the old generation, all that later tables held (requests,
 * fibers) outlives its use until the next full collection.
 */

/**
 * A class, not a literal: what a literal makes V8 may put into the old generation at once, with the same consequence.
 */
export class UnderWay {
  /** Where it stands in its list; -1: in none. */
  at = -1
}

export class InFlight<A extends UnderWay> {
  readonly #all: Array<A> = []

  add(one: A): void {
    one.at = this.#all.length
    this.#all.push(one)
  }

  /** Where it is not in it any more, nothing. */
  delete(one: A): void {
    if (this.#all[one.at] !== one) return
    const last = this.#all.pop()
    if (last !== undefined && last !== one) {
      last.at = one.at
      this.#all[one.at] = last
    }
    one.at = -1
  }

  /** As they are now: who leaves meanwhile disturbs nobody. */
  all(): ReadonlyArray<A> {
    return [...this.#all]
  }
}
