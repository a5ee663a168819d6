/** Who sent a request, as far as that can be believed. */
export interface Caller {
  /** Of the client: the peer, or what a trusted proxy says of it. Without an IPv6 zone or `::ffff:`. */
  readonly address: string
  /**
   * Sent on this machine to this machine: a loopback listener, a loopback peer, a loopback Host, no header of a proxy and
   * no Origin of another site. Reads need no token then.
   */
  readonly local: boolean
  readonly proto: "http" | "https"
  /** As the client addressed it, with its port. */
  readonly host: string | null
}
