/**
 * What clients remember of their projects: each acknowledged write, and which values a document may have where an
 * answer was lost. Held against every later answer.
 */
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { Journal } from "./Journal.ts"

/** What a document may be read as; one value once a write or a read of it was acknowledged. Null: absent. */
export type Possible = Set<string | null>

export interface Known {
  readonly id: ProjectId
  readonly uid: string
  readonly deployKey: string
  readonly documents: Map<string, Possible>
  /** The machine that acknowledged last, and those before it. */
  servedBy: string | null
  readonly servedBefore: Set<string>
  /** Milliseconds since the epoch of the last acknowledged request; and which boot of its machine acknowledged it. */
  usedAt: number
  usedBoot: number
  /** A client asked for its sleep, idle or not. */
  forcedAt: number
  deletion: "none" | "asked" | "done"
  /** Machine and volume were lost together; until an operator decided, nothing may be answered but what was written. */
  unavailable: boolean
  /** An operator decided to go on without what was lost; there may be no archive then. */
  recovered: boolean
  /** Milliseconds since the epoch; null: not deleted. */
  deletedAt: number | null
}

export class Witness {
  readonly #journal: Journal
  readonly projects = new Map<ProjectId, Known>()
  readonly byUid = new Map<string, Known>()
  acknowledged = 0
  #written = 0

  constructor(journal: Journal) {
    this.#journal = journal
  }

  created(id: ProjectId, uid: string, deployKey: string, at: number): Known {
    const known: Known = {
      id,
      uid,
      deployKey,
      documents: new Map(),
      servedBy: null,
      servedBefore: new Set(),
      usedAt: at,
      usedBoot: 0,
      forcedAt: Number.NEGATIVE_INFINITY,
      deletion: "none",
      unavailable: false,
      recovered: false,
      deletedAt: null
    }
    this.projects.set(id, known)
    this.byUid.set(uid, known)
    return known
  }

  /** Never the same value twice. */
  nextValue(): string {
    this.#written += 1
    return `w${this.#written}`
  }

  possible(known: Known, document: string): Possible {
    const before = known.documents.get(document)
    if (before !== undefined) return before
    const fresh: Possible = new Set([null])
    known.documents.set(document, fresh)
    return fresh
  }

  /** A machine acknowledged a request of this project's client. */
  served(known: Known, answer: { readonly machineId: string; readonly projectUid: string; readonly at: number }): void {
    const { machineId, projectUid } = answer
    known.usedAt = answer.at
    if (projectUid !== known.uid) {
      this.#journal.violate("I5", `${known.id} was answered with data of ${projectUid} by ${machineId}`, known.id)
    }
    if (known.servedBy === machineId) return
    if (known.servedBefore.has(machineId)) {
      const detail = `${machineId} serves again after ${known.servedBy} took over`
      this.#journal.violate("I1", detail, known.id)
    }
    if (known.servedBy !== null) known.servedBefore.add(known.servedBy)
    known.servedBy = machineId
  }

  written(known: Known, document: string, value: string): void {
    this.acknowledged += 1
    known.documents.set(document, new Set([value]))
  }

  /** The write may have happened or not, but will not happen any more. */
  unanswered(known: Known, document: string, value: string): void {
    this.possible(known, document).add(value)
  }

  read(known: Known, document: string, value: string | null): void {
    const possible = this.possible(known, document)
    if (!possible.has(value)) {
      const expected = [...possible].join(" or ")
      this.#journal.violate("I2", `${document} of ${known.id} was ${expected} and is read as ${value}`, known.id)
    }
    known.documents.set(document, new Set([value]))
  }

  /** An operator decided that this is what there is. */
  reset(known: Known, copy: ReadonlyMap<string, string>): void {
    known.unavailable = false
    known.recovered = true
    for (const document of known.documents.keys()) known.documents.set(document, new Set([copy.get(document) ?? null]))
  }

  /** What of the acknowledged documents a copy lacks; null where it has all of them. */
  missingFrom(known: Known, copy: ReadonlyMap<string, string>): string | null {
    for (const [document, possible] of known.documents) {
      const value = copy.get(document) ?? null
      if (!possible.has(value)) return `${document} is ${value}, not ${[...possible].join(" or ")}`
    }
    return null
  }
}
