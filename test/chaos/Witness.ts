/**
 * Remembers what was acknowledged, and judges what is read. A document has one writer, which waits for each answer, so
 * that its newest acknowledged value is known exactly. A write without an answer may have happened, or may happen later:
 * from then on the document is only read, and may change once, from the acknowledged value to that one.
 */

/** What a document holds: it says where it belongs, so that another project's can be told. */
export interface Value {
  readonly project: string
  readonly key: string
  /** Grows with each write of the document, from 1. */
  readonly seq: number
}

export interface Finding {
  /** `lost`: missing, or older than acknowledged. `invented`: was never written, or its write was refused. */
  readonly kind: "lost" | "foreign" | "invented"
  readonly project: string
  readonly key: string
  readonly detail: string
}

interface Known {
  sent: number
  /** 0: none yet. */
  acknowledged: number
  /** The last write, if it has no answer. */
  open: number | null
}

const isValue = (value: unknown): value is Value =>
  typeof value === "object" &&
  value !== null &&
  "project" in value &&
  "key" in value &&
  "seq" in value &&
  typeof value.seq === "number"

export const make = () => {
  const projects = new Map<string, Map<string, Known>>()
  const findings = new Map<string, Finding>()
  let acknowledged = 0
  let reads = 0

  const of = (project: string, key: string): Known => {
    const documents = projects.get(project) ?? new Map<string, Known>()
    projects.set(project, documents)
    const known = documents.get(key) ?? { sent: 0, acknowledged: 0, open: null }
    documents.set(key, known)
    return known
  }

  const found = (kind: Finding["kind"], project: string, key: string, detail: string): Finding => {
    const finding = { kind, project, key, detail }
    const name = `${kind} ${project} ${key}`
    // The first sight is the telling one.
    if (!findings.has(name)) findings.set(name, finding)
    return finding
  }

  return {
    /** The value to write next. */
    next: (project: string, key: string): Value => {
      const known = of(project, key)
      known.sent += 1
      return { project, key, seq: known.sent }
    },
    acknowledged: ({ key, project, seq }: Value): void => {
      const known = of(project, key)
      known.acknowledged = seq
      known.open = null
      acknowledged += 1
    },
    /** It did not happen. */
    refused: ({ key, project }: Value): void => {
      of(project, key).open = null
    },
    /** It was sent and is not answered: it may have happened. */
    unanswered: ({ key, project, seq }: Value): void => {
      of(project, key).open = seq
    },
    writable: (project: string, key: string): boolean => of(project, key).open === null,
    /** Undefined: as it should be. `value` is null where there is no document. */
    read: (project: string, key: string, value: unknown): Finding | undefined => {
      const known = of(project, key)
      reads += 1
      if (value === null) {
        return known.acknowledged === 0
          ? undefined
          : found("lost", project, key, `write ${known.acknowledged} was acknowledged and nothing is there`)
      }
      if (!isValue(value)) return found("invented", project, key, `it holds ${JSON.stringify(value)}`)
      if (value.project !== project || value.key !== key) {
        return found("foreign", project, key, `it holds ${value.key} of ${value.project}`)
      }
      if (value.seq === known.open) {
        known.acknowledged = value.seq
        known.open = null
        return undefined
      }
      if (value.seq === known.acknowledged) return undefined
      return value.seq < known.acknowledged
        ? found("lost", project, key, `write ${known.acknowledged} was acknowledged, ${value.seq} is there`)
        : found("invented", project, key, `write ${value.seq} is there, ${known.acknowledged} was acknowledged`)
    },
    /** Every document of a project that was ever written to. */
    keys: (project: string): ReadonlyArray<string> => [...(projects.get(project)?.keys() ?? [])],
    counts: () => ({ acknowledged, reads }),
    findings: (): ReadonlyArray<Finding> => [...findings.values()]
  }
}

export type Witness = ReturnType<typeof make>
