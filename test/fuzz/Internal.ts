/** What other programs would take a path for, found out by other means than the ones under test. */

/** Dots resolved, backslashes turned and one level of percent-encoding kept, as browsers and WHATWG servers do. */
const whatwg = (target: string): string | undefined => {
  const url = `http://host${target.startsWith("/") ? "" : "/"}${target}`
  return URL.canParse(url) ? new URL(url).pathname : undefined
}

const decoded = (path: string): string => {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** `/internal/…` of any server behind, its own or one below `/projects/<id>`. */
const names = (path: string): boolean => /^\/+(?:projects\/[^/]+\/+)?internal(?:\/|$)/i.test(path)

export const isInternalByWhatwg = (target: string): boolean => {
  let path = whatwg(target)
  for (let round = 0; path !== undefined && round < 4; round++) {
    if (names(path)) return true
    const next = whatwg(decoded(path))
    if (next === path) return false
    path = next
  }
  return false
}
