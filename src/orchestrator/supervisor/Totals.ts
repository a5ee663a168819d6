/** Since the orchestrator started. */
export interface Totals {
  readonly spawns: number
  readonly warmClaims: number
  readonly stops: number
  readonly crashes: number
  readonly evictions: number
  readonly replaced: number
  readonly refused: number
  readonly requests: number
}
