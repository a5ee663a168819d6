/** Requests for projects of the crowd, drawn anew for each run: one that was drawn before may be cached. */
import { crowdId } from "../plane/Database.ts"
import { routerDomain } from "../plane/Config.ts"

/** A number from 0 to 1 at each call, the same ones in each process. */
export type Draw = () => number

/** Numerical Recipes' linear congruential generator: good enough to pick projects, and the same in each run. */
export const drawing = (seed: number): Draw => {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

export type Access = (draw: Draw) => number

export const uniform =
  (projects: number): Access =>
  (draw) =>
    1 + Math.floor(draw() * projects)

/**
 * With exponent 1: the n-th most asked for is asked for 1/n as often as the first; its density is drawn by its inverse.
 * Ranks are scattered over the table, as they would be.
 */
export const zipf =
  (projects: number): Access =>
  (draw) => {
    const rank = Math.min(projects, Math.floor(Math.exp(draw() * Math.log(projects + 1))))
    return 1 + ((rank * 7_368_787) % projects)
  }

const upgrade = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
]

export const requestFor = (project: number, isUpgrade: boolean): string =>
  [
    "GET /documents/todo HTTP/1.1",
    `Host: ${crowdId(project)}.${routerDomain}`,
    "User-Agent: bench",
    "Accept: */*",
    ...(isUpgrade ? upgrade : []),
    "",
    ""
  ].join("\r\n")

export const requests = (count: number, access: Access, draw: Draw, isUpgrade: boolean): ReadonlyArray<string> =>
  Array.from({ length: count }, () => requestFor(access(draw), isUpgrade))
