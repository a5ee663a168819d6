/** Which of two forms a client asked for (RFC 9110 section 12.5.1). */

const preference = (accept: string, type: string): number => {
  const [kind] = type.split("/")
  let best = { specificity: -1, quality: 0 }
  for (const range of accept.toLowerCase().split(",")) {
    const [name = "", ...parameters] = range.split(";").map((part) => part.trim())
    const specificity = [`*/*`, `${kind}/*`, type].indexOf(name)
    const stated = parameters.find((parameter) => parameter.startsWith("q="))
    // A quality that is no number compares as neither more nor less: JSON.
    const quality = stated === undefined ? 1 : Number(stated.slice(2))
    if (specificity > best.specificity) best = { specificity, quality }
  }
  return best.quality
}

/** Browsers name HTML; what takes anything, as `curl` and `fetch` do, gets JSON. */
export const prefersHtml = (accept: string | undefined): boolean =>
  accept !== undefined && preference(accept, "text/html") > preference(accept, "application/json")
