/** Chance of one simulated world. All of it comes from one generator, so that one seed is one run. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

export class Dice {
  readonly #next: () => number

  constructor(next: () => number) {
    this.#next = next
  }

  /** From [0, 1). */
  next(): number {
    return this.#next()
  }

  chance(probability: number): boolean {
    return probability > 0 && this.#next() < probability
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1))
  }

  /** Of that mean, at most ten times as much. */
  exponential(mean: number): number {
    return Math.min(-Math.log(1 - this.#next()), 10) * mean
  }

  /** Evenly over the orders of magnitude. */
  magnitude(least: number, most: number): number {
    return least * (most / least) ** this.#next()
  }

  pick<A>(from: ReadonlyArray<A>): A | undefined {
    return from[Math.floor(this.#next() * from.length)]
  }
}

export const dice: Effect.Effect<Dice> = Effect.map(
  Random.Random,
  (random) => new Dice(() => random.nextDoubleUnsafe())
)
