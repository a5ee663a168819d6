/**
 * A bounded map that forgets what was not used lately: two generations of half the capacity each. A full young one
 * becomes the old one, and what is read in the old one moves over. Reads allocate nothing; eviction is the dropping of
 * a whole generation, so it costs nothing per entry.
 */
export class GenerationalMap<V> {
  #young = new Map<string, V>()
  #old = new Map<string, V>()
  readonly #half: number

  constructor(capacity: number) {
    this.#half = Math.max(1, Math.floor(capacity / 2))
  }

  get(key: string): V | undefined {
    const value = this.#young.get(key)
    if (value !== undefined) return value
    const kept = this.#old.get(key)
    if (kept !== undefined) this.set(key, kept)
    return kept
  }

  set(key: string, value: V): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }

  delete(key: string): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  clear(): void {
    this.#young.clear()
    this.#old.clear()
  }

  /** Entries held, counting one that is in both generations twice: never above the capacity. */
  get size(): number {
    return this.#young.size + this.#old.size
  }
}
