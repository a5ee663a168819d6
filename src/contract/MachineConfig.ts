/**
 * The machine's configuration as Fly takes it, made in this one place for pool, cold and rehosted machines alike. It
 * holds no project's data: configuration reaches the machine through `configure` alone.
 */

/** shared 256–2048 MB per CPU, performance 2048–8192 MB per CPU, multiples of 256. */
export interface Guest {
  readonly cpu_kind: "shared" | "performance"
  readonly cpus: number
  readonly memory_mb: number
}

export interface MachineConfig {
  readonly image: string
  readonly guest: Guest
  readonly env: Readonly<Record<string, string>>
  readonly metadata: Readonly<Record<string, string>>
  readonly mounts: ReadonlyArray<{ readonly volume: string; readonly path: string }>
  readonly services: ReadonlyArray<{
    readonly protocol: "tcp"
    readonly internal_port: number
    readonly autostart: boolean
    readonly autostop: "off" | "stop" | "suspend"
    readonly ports: ReadonlyArray<{ readonly port: number; readonly handlers: ReadonlyArray<"http" | "tls"> }>
  }>
  readonly checks: Readonly<
    Record<
      string,
      {
        readonly type: "http"
        readonly port: number
        readonly method: "GET"
        readonly path: string
        readonly interval: string
        readonly timeout: string
        readonly grace_period: string
      }
    >
  >
  readonly restart: { readonly policy: "on-failure"; readonly max_retries: number }
  readonly stop_config: { readonly signal: "SIGTERM"; readonly timeout: string }
}

export interface MachineConfigInput {
  readonly image: string
  /** `shared-cpu-1x`, `performance-2x`, … */
  readonly size: string
  readonly memoryMb: number
  readonly volumeId: string
  readonly name: string
  readonly planeId: string
  readonly internalSecret: string
  readonly idleSuspend: "self" | "fly"
}

/** Keys of the machine's metadata: the plane that owns it and the ledger row that names it. */
export const metadataKeys = { plane: "valet_plane", name: "valet_name" } as const

/** `shared-cpu-4x` → four shared CPUs; undefined for a name that Fly does not have. */
export const guestOf = (size: string, memoryMb: number): Guest | undefined => {
  const match = /^(shared-cpu|performance)-(1|2|4|6|8|16)x$/.exec(size)
  if (match === null) return undefined
  return {
    cpu_kind: match[1] === "performance" ? "performance" : "shared",
    cpus: Number(match[2]),
    memory_mb: memoryMb
  }
}

export const machineConfig = (input: MachineConfigInput): MachineConfig => ({
  image: input.image,
  guest: guestOf(input.size, input.memoryMb) ?? { cpu_kind: "shared", cpus: 1, memory_mb: input.memoryMb },
  env: {
    PORT: "3000",
    DATA_DIR: "/data",
    VALET_INTERNAL_SECRET: input.internalSecret,
    VALET_IDLE_SUSPEND: input.idleSuspend
  },
  metadata: { [metadataKeys.plane]: input.planeId, [metadataKeys.name]: input.name },
  mounts: [{ volume: input.volumeId, path: "/data" }],
  services: [
    {
      protocol: "tcp",
      internal_port: 3000,
      autostart: true,
      autostop: input.idleSuspend === "fly" ? "suspend" : "off",
      ports: [
        { port: 80, handlers: ["http"] },
        { port: 443, handlers: ["tls", "http"] }
      ]
    }
  ],
  checks: {
    health: {
      type: "http",
      port: 3000,
      method: "GET",
      path: "/health",
      interval: "15s",
      timeout: "2s",
      grace_period: "10s"
    }
  },
  restart: { policy: "on-failure", max_retries: 10 },
  stop_config: { signal: "SIGTERM", timeout: "30s" }
})
