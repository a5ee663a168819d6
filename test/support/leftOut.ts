/** Says in the output what a run does not show, and why: a count of skipped tests tells nobody. */
export const leftOut = (what: string, why: string): void => {
  process.stderr.write(`left out: ${what}: ${why}\n`)
}
