/** How the platform under chaos is set up: what takes minutes, hours and days on Fly takes seconds. */
import { scaledMargins } from "../../src/config/Margins.ts"

const marginScale = 0.02

/** Of `valet dev`. */
const settings = {
  instances: "2",
  "idle-timeout": "2s",
  "dormancy-threshold": "5s",
  "sweep-interval": "2s",
  "pool-size": "2",
  "margin-scale": String(marginScale)
} as const

/** Of the control planes. */
export const environment = {
  ROUTER_REPLAY_TIMEOUT_SECS: "3",
  WARM_POOL_REPLENISH_INTERVAL_SECS: "2s"
} as const

export const flags = (dataDir: string): ReadonlyArray<string> => [
  "--port=0",
  `--data-dir=${dataDir}`,
  ...Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
]

/** All of them, for whoever reads the output. */
export const described = (): string => {
  const margins = Object.entries(scaledMargins(marginScale)).map(
    ([name, ms]) => `${name.replace(/Ms$/, "")} ${ms / 1_000} s`
  )
  const chosen = [...Object.entries(settings), ...Object.entries(environment)].map(
    ([name, value]) => `${name} ${value}`
  )
  return `${chosen.join(", ")}; margins: ${margins.join(", ")}`
}
