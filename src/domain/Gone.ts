/**
 * When a machine or a volume is confirmed gone: a pure function of what was seen, oldest look first.
 *
 * Fly's answers are eventually consistent, a lost host makes a machine unreachable for hours without losing it, and a
 * delete that nobody answered may still be under way. So no single look decides, and any sign of life starts the count
 * anew. A `host_status` other than ok is never gone.
 */
export type Look =
  /** DELETE answered 2xx or 404; an unanswered or refused one is no look. */
  | { readonly _tag: "Deleted"; readonly at: number }
  /** GET answered 404. */
  | { readonly _tag: "Missing"; readonly at: number }
  | {
      readonly _tag: "Found"
      readonly at: number
      readonly state: string
      readonly hostStatus: "ok" | "unknown" | "unreachable"
    }
  /** The machine's volume as read; null where it has no attached machine, or is missing itself. */
  | { readonly _tag: "Volume"; readonly at: number; readonly attachedMachineId: string | null }
  | { readonly _tag: "Health"; readonly at: number; readonly answered: boolean }

/** How far the two absent answers of GET must lie apart, unless a plane's margins say otherwise. */
export const apartMs = 60_000

/** Volumes that were deleted stay readable in the first for a day, detached and not restorable by us. */
const volumeGoneStates = ["pending_destroy", "destroying", "destroyed"]

const isAbsent = (look: Look, goneStates: ReadonlyArray<string>): boolean =>
  look._tag === "Missing" || (look._tag === "Found" && look.hostStatus === "ok" && goneStates.includes(look.state))

const isSignOfLife = (look: Look, goneStates: ReadonlyArray<string>): boolean =>
  (look._tag === "Found" && !isAbsent(look, goneStates)) ||
  (look._tag === "Volume" && look.attachedMachineId !== null) ||
  (look._tag === "Health" && look.answered)

const absentTwice = (looks: ReadonlyArray<Look>, goneStates: ReadonlyArray<string>, apart: number): boolean => {
  const absent = looks.filter((look) => isAbsent(look, goneStates))
  const first = absent[0]
  const last = absent.at(-1)
  return first !== undefined && last !== undefined && last.at - first.at >= apart
}

const sinceLife = (looks: ReadonlyArray<Look>, goneStates: ReadonlyArray<string>): ReadonlyArray<Look> =>
  looks.slice(looks.findLastIndex((look) => isSignOfLife(look, goneStates)) + 1)

/**
 * DELETE answered; and since the last sign of life GET found nothing (or `destroyed`) twice a minute apart, the volume
 * was read without an attached machine, and the health check stayed silent.
 */
export const machineGone = (looks: ReadonlyArray<Look>, apart: number = apartMs): boolean => {
  const quiet = sinceLife(looks, ["destroyed"])
  return (
    looks.some(({ _tag }) => _tag === "Deleted") &&
    absentTwice(quiet, ["destroyed"], apart) &&
    quiet.some(({ _tag }) => _tag === "Volume") &&
    quiet.some(({ _tag }) => _tag === "Health")
  )
}

/** GET found nothing, or one that is deleted or about to be, twice a minute apart. */
export const volumeGone = (looks: ReadonlyArray<Look>, apart: number = apartMs): boolean =>
  absentTwice(sinceLife(looks, volumeGoneStates), volumeGoneStates, apart)
