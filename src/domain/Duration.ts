/** Durations as people write them in variables and flags. */

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
export type DurationUnit = keyof typeof units

const isUnit = (text: string): text is DurationUnit => Object.hasOwn(units, text)

/**
 * `90s`, `5m`, `7d`, `500ms`, `1.5h`; a bare number is in `defaultUnit`. Milliseconds, rounded; undefined where the
 * text is none of these, or too long to be counted in milliseconds.
 */
export const parseDuration = (text: string, defaultUnit: DurationUnit): number | undefined => {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)$/.exec(text.trim().toLowerCase())
  if (match === null) return undefined
  const unit = match[2] === "" || match[2] === undefined ? defaultUnit : match[2]
  const ms = isUnit(unit) ? Math.round(Number(match[1]) * units[unit]) : Number.NaN
  return Number.isSafeInteger(ms) ? ms : undefined
}

/** The shortest exact text that `parseDuration` reads back: `7d`, `90s`, `1500ms`. Whole milliseconds. */
export const formatDuration = (ms: number): string => {
  for (const unit of ["d", "h", "m", "s"] as const) {
    if (ms !== 0 && ms % units[unit] === 0) return `${ms / units[unit]}${unit}`
  }
  return `${ms}ms`
}
