/** The last lines of what a server wrote, fit for a page and a terminal. */
import { stripVTControlCharacters } from "node:util"

const lines = 50
const lineLength = 500
/** Of a line that is not yet whole: escape sequences, which are dropped, may make it longer than what is shown. */
const rawLength = 4 * lineLength

const clean = (line: string) =>
  stripVTControlCharacters(line)
    .replaceAll(/[\t\r]/g, " ")
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, "")
    .trimEnd()
    .slice(0, lineLength)

export interface Tail {
  /** For one stream: lines of two streams don't mix. */
  writer(): (chunk: Uint8Array) => void
  /** Oldest first; also a last line that is not ended yet. */
  read(): ReadonlyArray<string>
}

export const make = (): Tail => {
  const kept: Array<string> = []
  const open = new Set<{ text: string }>()
  return {
    writer: () => {
      const decoder = new TextDecoder()
      const rest = { text: "" }
      open.add(rest)
      return (chunk) => {
        const parts = decoder.decode(chunk, { stream: true }).split("\n")
        const last = parts.pop() ?? ""
        for (const part of parts.slice(-lines - 1)) {
          kept.push(clean((rest.text + part).slice(0, rawLength)))
          rest.text = ""
        }
        rest.text = (rest.text + last).slice(0, rawLength)
        kept.splice(0, kept.length - lines)
      }
    },
    read: () => [...kept, ...[...open].map(({ text }) => clean(text)).filter((text) => text !== "")].slice(-lines)
  }
}
