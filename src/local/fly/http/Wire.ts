/** The model's objects as the Machines API shows them. */
import type { App, AppIp, FlyState, Lease, Machine, Snapshot, Volume } from "../model/FlyState.ts"
import { readBack } from "../model/MachineConfigJson.ts"
import type { ModelConfig } from "../model/MachineConfigJson.ts"

type Json = Readonly<Record<string, unknown>>

const iso = (ms: number) => new Date(ms).toISOString()

const hostStatus = (state: FlyState, host: string) => (state.unreachableHosts.includes(host) ? "unreachable" : "ok")

const imageRef = (image: string): Json => {
  const [path = "", digest] = image.split("@")
  const slash = path.indexOf("/")
  const head = path.slice(0, Math.max(slash, 0))
  const hasRegistry = /[.:]/.test(head) || head === "localhost"
  const rest = hasRegistry ? path.slice(slash + 1) : path
  const colon = rest.lastIndexOf(":")
  return {
    registry: hasRegistry ? head : "registry-1.docker.io",
    repository: colon < 0 ? rest : rest.slice(0, colon),
    tag: colon < 0 ? "latest" : rest.slice(colon + 1),
    ...(digest === undefined ? {} : { digest })
  }
}

const checks = (machine: Machine): ReadonlyArray<Json> =>
  Object.keys(machine.config.checks ?? {}).map((name) => ({
    name,
    // The checks themselves are not run here: a machine that is up passes.
    status: machine.state === "started" ? "passing" : "warning",
    output: "",
    updated_at: iso(machine.updatedAt)
  }))

const shortConfig = ({ guest, image, metadata }: ModelConfig): Json => ({ guest, image, metadata: metadata ?? {} })

/** While the host is out of reach `config` is missing and `incomplete_config` stands in. */
export const machineJson = (
  state: FlyState,
  machine: Machine,
  options: { readonly summary?: boolean; readonly nonce?: string } = {}
): Json => {
  const reachable = hostStatus(state, machine.host)
  const config = options.summary === true ? shortConfig(machine.config) : readBack(machine.config)
  return {
    id: machine.id,
    name: machine.name,
    state: machine.state,
    region: machine.region,
    instance_id: machine.instanceId,
    version: machine.instanceId,
    private_ip: machine.privateIp,
    image_ref: imageRef(machine.config.image),
    created_at: iso(machine.createdAt),
    updated_at: iso(machine.updatedAt),
    host_status: reachable,
    cordoned: machine.cordoned,
    ...(reachable === "ok" ? { config } : { incomplete_config: config }),
    ...(options.summary === true ? {} : { events: machine.events, checks: checks(machine) }),
    ...(options.nonce === undefined ? {} : { nonce: options.nonce })
  }
}

export const orgMachineJson = (machine: Machine): Json => ({
  app_name: machine.app,
  config: shortConfig(machine.config),
  created_at: iso(machine.createdAt),
  id: machine.id,
  instance_id: machine.instanceId,
  name: machine.name,
  private_ip: machine.privateIp,
  region: machine.region,
  state: machine.state,
  updated_at: iso(machine.updatedAt),
  version: machine.instanceId
})

const blockSize = 4096

export const volumeJson = (state: FlyState, volume: Volume): Json => {
  const bytes = volume.sizeGb * 1024 ** 3
  return {
    id: volume.id,
    name: volume.name,
    state: volume.state,
    region: volume.region,
    zone: volume.host,
    size_gb: volume.sizeGb,
    encrypted: volume.encrypted,
    fstype: volume.fstype,
    type: "local",
    attached_machine_id: volume.machineId,
    attached_alloc_id: null,
    auto_backup_enabled: volume.autoBackup,
    snapshot_retention: volume.snapshotRetention,
    host_status: hostStatus(state, volume.host),
    created_at: iso(volume.createdAt),
    block_size: blockSize,
    blocks: bytes / blockSize,
    blocks_avail: bytes / blockSize,
    blocks_free: bytes / blockSize,
    bytes_total: bytes,
    bytes_used: 0
  }
}

export const orgVolumeJson = (state: FlyState, volume: Volume): Json => ({
  ...volumeJson(state, volume),
  app_name: volume.app,
  updated_at: iso(volume.updatedAt)
})

export const snapshotJson = (snapshot: Snapshot): Json => ({
  id: snapshot.id,
  size: 0,
  digest: "",
  status: "created",
  created_at: iso(snapshot.createdAt),
  retention_days: snapshot.retentionDays,
  volume_size: snapshot.sizeGb * 1024 ** 3
})

export const leaseJson = (lease: Lease): Json => ({
  status: "success",
  data: {
    nonce: lease.nonce,
    expires_at: Math.floor(lease.expiresAt / 1_000),
    owner: lease.owner,
    description: lease.description,
    version: lease.version
  }
})

export const appJson = (state: FlyState, app: App): Json => {
  const machines = Object.values(state.machines).filter((it) => it.app === app.name && it.state !== "destroyed")
  const volumes = Object.values(state.volumes).filter((it) => it.app === app.name && it.deletedAt === null)
  return {
    id: app.id,
    internal_numeric_id: app.number,
    name: app.name,
    network: app.network,
    organization: { name: app.org, slug: app.org, internal_numeric_id: 1 },
    status: machines.length > 0 ? "deployed" : "pending",
    machine_count: machines.length,
    volume_count: volumes.length
  }
}

export const ipJson = (ip: AppIp): Json => ({
  ip: ip.ip,
  region: ip.region,
  shared: ip.shared,
  service_name: "",
  created_at: iso(ip.createdAt)
})
