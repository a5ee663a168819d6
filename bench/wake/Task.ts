/** What either side of the comparison is asked for, what it calls for it, and what it answers. */
import * as Schema from "effect/Schema"
import type { Peer } from "../../src/testing/Link.ts"

export const Task = Schema.Struct({
  /** `cold`: the pool is empty, so volume and machine are created. */
  source: Schema.Literals(["pool", "cold"]),
  /** Dormant projects; each is asked for once. */
  projects: Schema.Int,
  atOnce: Schema.Int,
  /** Fly allows three creates at once and then one a second; false: as many as it is asked for. */
  budget: Schema.Boolean,
  /** Fly takes so long to start a machine that it has created. */
  startMs: Schema.Int
})
export type Task = typeof Task.Type

/** Milliseconds of one project, from its request to the answer with `fly-replay`, and of them by phase. */
export const Wake = Schema.Struct({
  total: Schema.Finite,
  /** Until the operation has begun, and a machine of the pool is claimed where there is one. */
  begin: Schema.Finite,
  /** Until Fly has started a machine. */
  provision: Schema.Finite,
  /** The machine call without what the machine does in it. */
  configure: Schema.Finite,
  /** In the machine. */
  restore: Schema.Finite,
  /** Until the answer. */
  commit: Schema.Finite
})
export type Wake = typeof Wake.Type

export const Wakes = Schema.fromJsonString(Schema.Array(Wake))

/**
 * Until a request is where it is answered, in milliseconds: a database and machines nearby, a public API. What a machine
 * fetches from the object store is there at once.
 */
export const latencyMs: Readonly<Record<Peer, number>> = { database: 1, machine: 5, fly: 150, r2: 0 }

export interface Call {
  readonly to: Peer
  readonly operation: string
}

const statement = (operation: string): Call => ({ to: "database", operation })

/** Each behind a statement that books it in the budget. */
const ofFly = (operation: string): ReadonlyArray<Call> => [statement("book"), { to: "fly", operation }]

/** Of one wake, in order. */
export const callsOf = ({ source, startMs }: Task): ReadonlyArray<Call> => [
  statement("routes"),
  statement("find"),
  statement("beginWake"),
  ...(source === "pool"
    ? []
    : [
        statement("insertFor"),
        statement("findMachine"),
        ...ofFly("createVolume"),
        statement("recordVolume"),
        ...ofFly("createMachine"),
        statement("recordMachine"),
        ...ofFly("waitMachine"),
        // The first one looks, the second one waits.
        ...(startMs === 0 ? [] : [{ to: "fly", operation: "waitMachine" } as const])
      ]),
  { to: "machine", operation: "configure" },
  statement("commitActive")
]

/** A call that was answered: when it arrived, and when its answer was there. */
export interface Answered {
  readonly operation: string
  readonly arrived: number
  readonly answered: number
}

/** All of one project. */
export const phasesOf = (begun: number, calls: ReadonlyArray<Answered>, ended: number): Wake => {
  const all = (operation: string) => calls.filter((call) => call.operation === operation)
  const begin = all("beginWake").at(-1)?.answered ?? begun
  const started = all("waitMachine").at(-1)?.answered ?? begin
  const arrived = all("configure").at(0)?.arrived ?? started
  const configured = all("configure").at(-1)?.answered ?? arrived
  return {
    total: ended - begun,
    begin: begin - begun,
    provision: started - begin,
    configure: arrived - started,
    restore: configured - arrived,
    commit: ended - configured
  }
}
