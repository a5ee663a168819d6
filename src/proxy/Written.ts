/** The head of a request as it is sent. */
import type { Flat } from "./Headers.ts"

export interface Request {
  readonly method: string
  readonly path: string
  /** Complete but for `Connection`. */
  readonly headers: Flat
}

/** Anything else would not be what it seems; the parser in front lets nothing of it through. */
const writable = /^[\t\r\n\x20-\x7e\x80-\xff]*$/
const writablePath = /^[\x21-\x7e\x80-\xff]+$/

const lines = (flat: Flat): string => {
  let text = ""
  for (let at = 0; at + 1 < flat.length; at += 2) text += `${flat[at]}: ${flat[at + 1]}\r\n`
  return text
}

/** With `more` behind its headers; undefined where it can't be written down. */
export const head = ({ headers, method, path }: Request, more: Flat): string | undefined => {
  const text = `${method} ${path} HTTP/1.1\r\n${lines(headers)}${lines(more)}\r\n`
  return writablePath.test(path) && writable.test(text) ? text : undefined
}
