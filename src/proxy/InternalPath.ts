/**
 * Whether a server could take a path for its `/internal/…`, which only those beside it may call: however often it
 * decodes, whether or not it resolves dots, merges slashes, reads `//host/…` as an authority, ignores case or cuts path
 * parameters. Rather refuses a path that nobody sends in good faith than let one through.
 */

const decodeOnce = (path: string): string =>
  path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))

/** Nobody encodes a path more often than this in good faith. */
const maxDecodings = 4

/** Up to where some server ends a name: a path parameter, a query or fragment once decoded, a C string. */
// oxlint-disable-next-line no-control-regex -- control characters are what is cut
const nameOf = (segment: string): string => segment.replace(/[;?#\0][^]*$/, "").replace(/[\0-\x20]/g, "")

const namesInternal = (path: string): boolean => {
  const plain = path.replaceAll("\\", "/").toLowerCase()
  const names = plain.split("/").map(nameOf)
  // What comes before may vanish: by dots, or because it is taken for a host.
  if (names.includes("internal") && (names.includes("..") || plain.startsWith("//"))) return true
  const kept = names.filter((name) => name !== "" && name !== ".")
  // The reference server answers behind `/projects/<its id>` too.
  let at = 0
  while (kept[at] === "projects") at += 2
  return kept[at] === "internal"
}

/** Means the same to everybody, unless it holds the word. */
const plain = /^[\w\-./~!$&'()*+,=:@]*$/
const word = /internal/i

/** `path`: as received, without its query. */
export const isInternal = (path: string): boolean => {
  if (plain.test(path) && !word.test(path)) return false
  let current = path
  for (let round = 0; round <= maxDecodings; round++) {
    if (namesInternal(current)) return true
    const decoded = decodeOnce(current)
    if (decoded === current) return false
    current = decoded
  }
  return true
}
