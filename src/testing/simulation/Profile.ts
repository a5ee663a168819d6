/**
 * What one seed is about: each fault is absent from about half of the seeds and rare, common or heavy in the others, so
 * that some seeds look at one fault alone and some at all of them together.
 */
import type { Dice } from "./Dice.ts"

export const modes = ["safety", "liveness"] as const
/** Safety: faults never end, and nothing may be violated. Liveness: then they end, and everything must come to rest. */
export type Mode = (typeof modes)[number]

/** Chances of one call each. */
export interface Rates {
  readonly databaseBefore: number
  readonly databaseLost: number
  readonly databaseAfter: number
  readonly databaseSlow: number
  readonly flyDropBefore: number
  readonly flyDropAfter: number
  readonly flyLate: number
  readonly flyErrorBefore: number
  readonly flyErrorAfter: number
  readonly flyTimeoutBefore: number
  readonly flyTimeoutAfter: number
  readonly flyRateLimit: number
  readonly flyHostFull: number
  readonly flyNoPlacement: number
  readonly flyRegionFull: number
  readonly flySlow: number
  readonly flyEmptyList: number
  readonly machineUnreachable: number
  readonly machineUnreachableAfter: number
  readonly machineSlow: number
  readonly machineDuplicate: number
  readonly machineLate: number
  readonly machineCrashAtCall: number
  readonly machineSealFails: number
  readonly machineRestoreFails: number
  readonly r2Unavailable: number
  readonly r2UnavailableAfter: number
  readonly r2Denied: number
  readonly r2NotStored: number
  readonly r2Corrupt: number
  readonly r2Short: number
  readonly r2Slow: number
  readonly edgeSlowHop: number
  readonly edgeAnswerLost: number
  readonly linkOrphaned: number
  /** Of the calls that change something: the instance dies, or stands still, before or behind it. */
  readonly instanceCrash: number
  readonly instancePause: number
}

/** Mean hours between two of each; 0: never. */
export interface Calamities {
  readonly crash: number
  readonly pause: number
  readonly replacement: number
  readonly feedLost: number
  readonly lockLost: number
  readonly databaseOutage: number
  readonly r2Outage: number
  readonly hostUnreachable: number
  readonly machineLost: number
  readonly hostLost: number
  readonly migration: number
  readonly machineCrash: number
}

/** What clients do now and then. */
export interface Habits {
  /** Chance of a request to go straight to a machine that served the project: while an operation runs, and else. */
  readonly straightWhileMoving: number
  readonly straight: number
  /** Share of projects whose sleep is asked for while others begin to use them; mean minutes between two times. */
  readonly storms: number
  readonly stormMinutes: number
  /** Mean minutes between two things that an owner does: sleep, settings, deletion. */
  readonly ownerMinutes: number
  /** Mean minutes between two bursts of creates from one address. */
  readonly burstMinutes: number
}

export interface Profile {
  readonly rates: Rates
  readonly calamities: Calamities
  readonly habits: Habits
  /** Fly refuses what comes too often, and the clients keep to its budget and repeat as the live one does. */
  readonly rateLimits: boolean
  /** Instances whose clock is off, and by how much at most, in milliseconds. */
  readonly skewMs: number
}

export const noRates: Rates = {
  databaseBefore: 0,
  databaseLost: 0,
  databaseAfter: 0,
  databaseSlow: 0,
  flyDropBefore: 0,
  flyDropAfter: 0,
  flyLate: 0,
  flyErrorBefore: 0,
  flyErrorAfter: 0,
  flyTimeoutBefore: 0,
  flyTimeoutAfter: 0,
  flyRateLimit: 0,
  flyHostFull: 0,
  flyNoPlacement: 0,
  flyRegionFull: 0,
  flySlow: 0,
  flyEmptyList: 0,
  machineUnreachable: 0,
  machineUnreachableAfter: 0,
  machineSlow: 0,
  machineDuplicate: 0,
  machineLate: 0,
  machineCrashAtCall: 0,
  machineSealFails: 0,
  machineRestoreFails: 0,
  r2Unavailable: 0,
  r2UnavailableAfter: 0,
  r2Denied: 0,
  r2NotStored: 0,
  r2Corrupt: 0,
  r2Short: 0,
  r2Slow: 0,
  edgeSlowHop: 0,
  edgeAnswerLost: 0,
  linkOrphaned: 0,
  instanceCrash: 0,
  instancePause: 0
}

export const noCalamities: Calamities = {
  crash: 0,
  pause: 0,
  replacement: 0,
  feedLost: 0,
  lockLost: 0,
  databaseOutage: 0,
  r2Outage: 0,
  hostUnreachable: 0,
  machineLost: 0,
  hostLost: 0,
  migration: 0,
  machineCrash: 0
}

export const usualHabits: Habits = {
  straightWhileMoving: 0.4,
  straight: 0.05,
  storms: 0.25,
  stormMinutes: 60,
  ownerMinutes: 12 * 60,
  burstMinutes: 16 * 60
}

/** What is set on top of a profile, to look at one thing in particular. */
export type Focus = Partial<Rates & Calamities & Habits>

const keys = <A extends object>(record: A): ReadonlyArray<keyof A & string> =>
  Object.keys(record).filter((key): key is keyof A & string => key in record)

/** Calls to machines and objects are few beside those to Fly and to the database. */
const isRare = (key: keyof Rates): boolean => key.startsWith("machine") || key.startsWith("r2")

/** Faults that a seed looks at in particular. */
const focused = 2

export const drawProfile = (dice: Dice): Profile => {
  const rates: { -readonly [K in keyof Rates]: number } = { ...noRates }
  for (const key of keys(noRates)) {
    const factor = isRare(key) ? 3 : 1
    rates[key] = dice.chance(0.5) ? factor * dice.magnitude(0.002, 0.1) : 0
  }
  for (let left = focused; left > 0; left--) {
    const key = dice.pick(keys(noRates))
    // An instance that dies at every third call never comes to anything.
    if (key !== undefined) rates[key] = dice.magnitude(0.1, 0.4) / (key.startsWith("instance") ? 4 : 1)
  }
  const calamities: { -readonly [K in keyof Calamities]: number } = { ...noCalamities }
  for (const key of keys(noCalamities)) calamities[key] = dice.chance(0.5) ? dice.magnitude(2, 48) : 0
  const skewMs = dice.chance(0.5) ? dice.magnitude(100, 120_000) : 0
  return { rates, calamities, habits: usualHabits, rateLimits: dice.chance(0.4), skewMs }
}

/** Of what is focused on, that which `values` has. */
const over = <A extends object>(values: A, focus: Focus): A => ({
  ...values,
  ...Object.fromEntries(Object.entries(focus).filter(([name]) => name in values))
})

export const focusOn = ({ calamities, habits, rateLimits, rates, skewMs }: Profile, focus: Focus): Profile => ({
  rates: over(rates, focus),
  calamities: over(calamities, focus),
  habits: over(habits, focus),
  rateLimits,
  skewMs
})

export const quietProfile: Profile = {
  rates: noRates,
  calamities: noCalamities,
  habits: usualHabits,
  rateLimits: true,
  skewMs: 0
}
