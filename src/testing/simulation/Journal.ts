/**
 * What happened in one run: a line each, hashed as they come, the last of them kept for a reader. The first violation
 * ends the run; what comes after it proves nothing.
 */
import { createHash } from "node:crypto"
import type { VirtualTime } from "./VirtualTime.ts"

export const invariants = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12"] as const
export type Invariant = (typeof invariants)[number]

export interface Violation {
  readonly invariant: Invariant
  /** Milliseconds since the run began. */
  readonly at: number
  readonly detail: string
  /** Whose history tells more; null where it is nobody's. */
  readonly projectId: string | null
}

/** Lines kept of the newest. */
const kept = 200
/** Lines hashed at once. */
const batch = 256

export class Journal {
  readonly counts = new Map<string, number>()
  violation: Violation | null = null
  readonly #time: VirtualTime
  readonly #startAt: number
  readonly #hash = createHash("sha256")
  readonly #tell: ((line: string) => void) | null
  #unhashed: Array<string> = []
  #last: Array<string> = []
  #lines = 0

  /** `tell` hears every line at once. */
  constructor(time: VirtualTime, tell: ((line: string) => void) | null = null) {
    this.#time = time
    this.#startAt = time.clock.currentTimeMillisUnsafe()
    this.#tell = tell
  }

  get now(): number {
    return this.#time.clock.currentTimeMillisUnsafe() - this.#startAt
  }

  note(what: string): void {
    const line = `${(this.now / 1_000).toFixed(3)} ${what}`
    this.#lines += 1
    this.#unhashed.push(line)
    if (this.#unhashed.length >= batch) this.#digest()
    this.#tell?.(line)
  }

  count(counter: string, by = 1): void {
    this.counts.set(counter, (this.counts.get(counter) ?? 0) + by)
  }

  violate(invariant: Invariant, detail: string, projectId: string | null = null): void {
    if (this.violation !== null) return
    this.note(`VIOLATION ${invariant} ${projectId ?? ""} ${detail}`)
    this.violation = { invariant, at: this.now, detail, projectId }
  }

  get last(): ReadonlyArray<string> {
    return [...this.#last, ...this.#unhashed].slice(-kept)
  }

  /** SHA-256 of all lines: two runs of one seed are the same to the byte. */
  digest(): string {
    this.#digest()
    return this.#hash.copy().digest("hex")
  }

  get lines(): number {
    return this.#lines
  }

  #digest(): void {
    if (this.#unhashed.length === 0) return
    this.#hash.update(`${this.#unhashed.join("\n")}\n`)
    this.#last = [...this.#last, ...this.#unhashed].slice(-kept)
    this.#unhashed = []
  }
}
