/** What clients saw beside documents: answers that refuse, and those that never came. */
import type { Outcome, Refusal } from "./Documents.ts"

export const make = () => {
  const meant = new Map<string, number>()
  const unexpected: Array<string> = []
  const hung: Array<string> = []
  /** Wrong in themselves: an existing project that is not found, a deleted one that answers, … */
  const wrong: Array<string> = []
  let resting = false

  /** A 5xx is meant while something is broken if it is 502, 503 or 504 and says when to come back or is the edge's own. */
  const refused = (what: string, refusal: Refusal) => {
    const { code, status } = refusal
    const allowed = !resting && (status === 0 || (status >= 502 && status <= 504)) && refusal.meant
    if (allowed) meant.set(`${status} ${code}`, (meant.get(`${status} ${code}`) ?? 0) + 1)
    else if (status >= 500) unexpected.push(`${what}: ${status} ${code}`)
    else wrong.push(`${what}: ${status} ${code}`)
  }

  return {
    refused,
    saw: (what: string, outcome: Outcome): void => {
      if (outcome._tag === "Hung") hung.push(what)
      else if (outcome._tag !== "Done" && outcome.refusal !== undefined) refused(what, outcome.refusal)
    },
    isWrong: (what: string): void => void wrong.push(what),
    /** From now on no 5xx is meant. */
    atRest: (): void => {
      resting = true
    },
    meant: () => Object.fromEntries([...meant].toSorted(([a], [b]) => a.localeCompare(b))),
    unexpected: (): ReadonlyArray<string> => unexpected,
    hung: (): ReadonlyArray<string> => hung,
    wrong: (): ReadonlyArray<string> => wrong
  }
}

export type Tally = ReturnType<typeof make>
