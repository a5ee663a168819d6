/** Reads HTTP/1.1 answers from bytes, strictly; a second opinion beside Node's own parser. */

export interface Answer {
  readonly status: number
  readonly reason: string
  /** Names in lower case, in their order. */
  readonly headers: ReadonlyArray<readonly [string, string]>
  readonly body: string
  readonly trailers: ReadonlyArray<readonly [string, string]>
  /** Its end was told, and reached. */
  readonly complete: boolean
}

const fields = (lines: ReadonlyArray<string>) =>
  lines.map((line) => {
    const colon = line.indexOf(":")
    if (colon < 1) throw new Error(`not a header: ${JSON.stringify(line)}`)
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
  })

export const header = ({ headers }: Answer, name: string): string | undefined =>
  headers.find(([key]) => key === name)?.[1]

const chunked = (text: string, start: number) => {
  let at = start
  let body = ""
  for (;;) {
    const eol = text.indexOf("\r\n", at)
    if (eol < 0) return { body, trailers: [], end: text.length, complete: false }
    const line = text.slice(at, eol)
    if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`)
    const size = Number.parseInt(line, 16)
    at = eol + 2
    if (size === 0) {
      const end = text.startsWith("\r\n", at) ? at + 2 : text.indexOf("\r\n\r\n", at) + 4
      if (end < 4) return { body, trailers: [], end: text.length, complete: false }
      const lines = text
        .slice(at, end - 2)
        .split("\r\n")
        .filter((line) => line !== "")
      return { body, trailers: fields(lines), end, complete: true }
    }
    body += text.slice(at, at + size)
    if (text.length < at + size + 2) return { body, trailers: [], end: text.length, complete: false }
    if (text.slice(at + size, at + size + 2) !== "\r\n") throw new Error("a chunk does not end where it says")
    at += size + 2
  }
}

/** Interim ones (1xx) included. `methods` of the requests, where one was a HEAD. Throws on what is no answer. */
export const answersIn = (text: string, methods: ReadonlyArray<string> = []): ReadonlyArray<Answer> => {
  const answers: Array<Answer> = []
  let final = 0
  let at = 0
  while (at < text.length) {
    const headEnd = text.indexOf("\r\n\r\n", at)
    if (headEnd < 0) throw new Error(`no head: ${JSON.stringify(text.slice(at, at + 200))}`)
    const [first = "", ...lines] = text.slice(at, headEnd).split("\r\n")
    const match = /^HTTP\/1\.1 (\d{3}) ?(.*)$/.exec(first)
    if (match === null) throw new Error(`not a status line: ${JSON.stringify(first.slice(0, 200))}`)
    const status = Number(match[1])
    const headers = fields(lines)
    const all = (name: string) => headers.flatMap(([key, value]) => (key === name ? [value] : []))
    const [length, ...moreLengths] = all("content-length")
    const [encoding, ...moreEncodings] = all("transfer-encoding")
    if (moreLengths.length + moreEncodings.length > 0) throw new Error("framed twice")
    if (length !== undefined && encoding !== undefined) throw new Error("both Content-Length and Transfer-Encoding")
    const base = { status, reason: match[2] ?? "", headers }
    const start = headEnd + 4
    const head = status >= 200 && methods[final] === "HEAD"
    if (status >= 200) final += 1
    if (status < 200 || status === 204 || status === 304 || head) {
      answers.push({ ...base, body: "", trailers: [], complete: true })
      at = start
      if (status === 101) return answers
    } else if (encoding !== undefined) {
      if (encoding !== "chunked") throw new Error(`encoding ${encoding}`)
      const { body, complete, end, trailers } = chunked(text, start)
      answers.push({ ...base, body, trailers, complete })
      at = end
    } else if (length !== undefined) {
      const size = Number(length)
      const body = text.slice(start, start + size)
      answers.push({ ...base, body, trailers: [], complete: body.length === size })
      at = start + size
    } else {
      answers.push({ ...base, body: text.slice(start), trailers: [], complete: false })
      at = text.length
    }
  }
  return answers
}
