/** Latencies as the generator counts them: steps of 1/64 of their value, so that a percentile is that exact. */

/** Nanoseconds, and how many took as long; ascending. */
export type Histogram = ReadonlyArray<readonly [number, number]>

/** Milliseconds that this part (0 to 1) of all stayed within; null where there are none. */
export const percentileMs = (histogram: Histogram, part: number): number | null => {
  const total = histogram.reduce((sum, [, count]) => sum + count, 0)
  let seen = 0
  for (const [ns, count] of histogram) {
    seen += count
    if (seen >= part * total) return ns / 1e6
  }
  return null
}
