/**
 * Every environment variable of Valet, in the order in which people meet them. The control plane's are read by
 * `Environment`; the table in README is rendered from here.
 */
import { defaultCreateWindows, type Window } from "../domain/RateLimit.ts"
import { parseDuration } from "../domain/Duration.ts"
import * as Variable from "./Variable.ts"

const label = Variable.pattern(
  "a domain name",
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i
)
const flyName = Variable.pattern("the name of a Fly app", /^[a-z0-9-]{1,63}$/)
const regionPattern = /^[a-z]{3}$/

const second = 1000
const minute = 60 * second
const hour = 60 * minute

/** A URL with placeholders: `expected` must be in it. */
const template = (expected: string, known: ReadonlyArray<string>) =>
  Variable.custom(`a URL with ${expected} in it`, (value) => {
    const filled = known.reduce((filled, name) => filled.replaceAll(name, "1"), value)
    return value.includes(expected) && /^https?:/.test(filled) && URL.canParse(filled)
      ? value.replace(/\/+$/, "")
      : undefined
  })

/** `3/1m,6/15m,15/1h`: at most 3 in a minute, 6 in 15 minutes, 15 in an hour. */
const parseWindows = (value: string): ReadonlyArray<Window> | "off" | undefined => {
  if (value === "off") return "off"
  const windows = value.split(",").map((part) => {
    const [limit = "", span = ""] = part.split("/").map((piece) => piece.trim())
    return { limit: /^\d{1,6}$/.test(limit) ? Number(limit) : 0, windowMs: parseDuration(span, "s") ?? 0 }
  })
  return windows.every(({ limit, windowMs }) => limit > 0 && windowMs >= second) ? windows : undefined
}

const windowsText = (windows: ReadonlyArray<Window>): string =>
  windows
    .map(({ limit, windowMs }) => `${limit}/${windowMs < hour ? `${windowMs / minute}m` : `${windowMs / hour}h`}`)
    .join()

const expression = Variable.custom<RegExp | "off">("a regular expression, or off", (value) => {
  if (value === "off") return "off"
  try {
    return new RegExp(value, "i")
  } catch {
    return undefined
  }
})

/** Uptime probes and crawlers: they would keep every project awake, and none of them is a user. */
const probesAndCrawlers =
  "bot\\b|crawl|spider|slurp|facebookexternalhit|uptime|pingdom|statuscake|site24x7|healthcheck|blackbox[-_]exporter"

const factor = Variable.custom("a number from 0.001 to 1", (value) => {
  const number = Number(value)
  return number >= 0.001 && number <= 1 ? number : undefined
})

export const core = {
  port: Variable.port.withDefault("CONTROL_PLANE_PORT", "7000", "Port of the API and router."),
  host: Variable.text.withDefault("CONTROL_PLANE_HOST", "0.0.0.0", "Address to listen on; `::` for IPv6 and IPv4."),
  databaseUrl: Variable.databaseUrl.required("DATABASE_URL", "PostgreSQL; a transaction pooler will do."),
  databaseDirectUrl: Variable.databaseUrl.optional(
    "DATABASE_DIRECT_URL",
    "PostgreSQL past any pooler: advisory locks, LISTEN and migrations need a session of their own.",
    "DATABASE_URL"
  ),
  secret: Variable.secret.required("CONTROL_PLANE_SECRET", "Bearer of the protected API."),
  secretPrevious: Variable.secret.optional(
    "CONTROL_PLANE_SECRET_PREVIOUS",
    "Accepted beside CONTROL_PLANE_SECRET while rotating it."
  ),
  internalSecret: Variable.secret.optional(
    "CONTROL_PLANE_INTERNAL_SECRET",
    "What machines' secrets and the sealing of deploy keys derive from.",
    "CONTROL_PLANE_SECRET"
  ),
  internalSecretPrevious: Variable.secrets.optional(
    "CONTROL_PLANE_INTERNAL_SECRET_PREVIOUS",
    "Still opens what was sealed with it, and reaches machines made under it; several, newest first, separated by commas.",
    "CONTROL_PLANE_SECRET_PREVIOUS, where CONTROL_PLANE_INTERNAL_SECRET is unset"
  ),
  publicUrl: template("{project_id}", ["{project_id}"]).optional(
    "PUBLIC_URL",
    "`url` of a project in answers, such as `https://{project_id}.example.com`; unset: derived from the request."
  ),
  marginScale: factor.withDefault(
    "VALET_MARGIN_SCALE",
    "1",
    "Shortens safety margins and the reconcilers' periods by this factor; only for planes whose Fly is local."
  ),
  createRateLimit: Variable.custom("such as 3/1m,6/15m,15/1h, or off", parseWindows).withDefault(
    "CREATE_RATE_LIMIT",
    windowsText(defaultCreateWindows),
    "Creates allowed per client IP without a bearer, as sliding windows; or `off`."
  ),
  createPublic: Variable.boolean.withDefault(
    "CREATE_PUBLIC",
    "true",
    "`false`: creating a project asks for the bearer."
  )
}

export const fly = {
  token: Variable.credential.required("VALET_FLY_TOKEN", "Fly API token for the app of the project machines."),
  app: flyName.required("VALET_FLY_APP", "Fly app of the project machines; not the control plane's own."),
  region: Variable.pattern("a region code such as ams", regionPattern).optional(
    "VALET_FLY_REGION",
    "Region of new projects that ask for none.",
    "sjc, or the first of VALET_FLY_REGIONS"
  ),
  regions: Variable.custom("region codes such as ams,fra", (value) => {
    const codes = value.split(",").map((code) => code.trim())
    return codes.every((code) => regionPattern.test(code)) && new Set(codes).size === codes.length ? codes : undefined
  }).optional(
    "VALET_FLY_REGIONS",
    "Allowed regions; a region without capacity falls through to the next one.",
    "VALET_FLY_REGION"
  ),
  vmSize: Variable.pattern("a size such as shared-cpu-1x", /^(shared-cpu|performance)-(1|2|4|6|8|16)x$/).withDefault(
    "VALET_FLY_VM_SIZE",
    "shared-cpu-1x",
    "Size of project machines."
  ),
  vmMemoryMb: Variable.integer(256, 131_072).withDefault(
    "VALET_FLY_VM_MEMORY_MB",
    "256",
    "Memory of project machines, in steps of 256; above 2048 Fly stops them instead of suspending."
  ),
  image: Variable.text.required("VALET_FLY_IMAGE", "Image of project machines; pin it by digest."),
  volumeGb: Variable.integer(1, 500).withDefault("VALET_FLY_VOLUME_GB", "1", "Size of new volumes, in GB."),
  maxMachines: Variable.integer(1, 100_000).withDefault(
    "VALET_MAX_MACHINES",
    "1000",
    "All machines of the plane, pool included; a create or wake beyond it is refused as lack of capacity."
  ),
  apiUrl: Variable.url(["https", "http"]).withDefault(
    "VALET_FLY_API_URL",
    "https://api.machines.dev",
    "Machines API; inside Fly's private network `http://_api.internal:4280` answers too."
  ),
  machineUrl: template("{machine_id}", ["{machine_id}", "{app}"]).withDefault(
    "VALET_MACHINE_URL",
    "http://{machine_id}.vm.{app}.internal:3000",
    "Where the control plane reaches a machine; its private address is tried when this name does not answer."
  ),
  idleSuspend: Variable.oneOf("self", "fly").withDefault(
    "VALET_IDLE_SUSPEND",
    "self",
    "`self`: a project server suspends its own machine when idle. `fly`: Fly's autostop does, one machine per region and pass."
  )
}

export const pool = {
  size: Variable.integer(0, 1000).withDefault(
    "WARM_POOL_SIZE",
    "2",
    "Ready machines kept per allowed region; 0: none."
  ),
  intervalMs: Variable.duration("s", second, hour).withDefault(
    "WARM_POOL_REPLENISH_INTERVAL_SECS",
    "30",
    "How often the pool is looked at, beside being told."
  )
}

export const dormancy = {
  thresholdMs: Variable.duration("d", second).withDefault(
    "DORMANCY_THRESHOLD_DAYS",
    "7",
    "A project without traffic for so long is archived and its machine and volume deleted."
  ),
  sweepIntervalMs: Variable.duration("s", second, 24 * hour).withDefault(
    "DORMANCY_SWEEP_INTERVAL_SECS",
    "3600",
    "How often idle projects are looked for."
  )
}

export const r2 = {
  endpoint: Variable.url(["https", "http"]).optional(
    "R2_ENDPOINT",
    "`https://<account>.r2.cloudflarestorage.com`. Unset with both keys: the plane runs, archival is off."
  ),
  accessKeyId: Variable.text.optional("R2_ACCESS_KEY_ID", "Access key of a token that reads and writes the bucket."),
  secretAccessKey: Variable.credential.optional("R2_SECRET_ACCESS_KEY", "Its secret."),
  bucket: Variable.pattern("a bucket name", /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/).withDefault(
    "R2_BUCKET",
    "valet-dormant",
    "Bucket of the archives; one plane a bucket."
  )
}

export const router = {
  domain: label.optional("ROUTER_DOMAIN", "`<id>.<this domain>` is a project; unset: `/projects/<id>/…` only."),
  wakeTimeoutMs: Variable.duration("s", second, 5 * minute).withDefault(
    "ROUTER_WAKE_TIMEOUT_SECS",
    "25",
    "How long a request is held for a dormant project before it gets 503 with Retry-After."
  ),
  replayTimeoutMs: Variable.duration("s", second, 5 * minute).withDefault(
    "ROUTER_REPLAY_TIMEOUT_SECS",
    "10",
    "`timeout` of the replay: how long Fly's proxy tries to reach the machine before it hands the request back."
  ),
  replayFallback: Variable.oneOf("prefer_self", "force_self", "off").withDefault(
    "ROUTER_REPLAY_FALLBACK",
    "prefer_self",
    "`fallback` of the replay; `off` sends `instance` and `app` alone."
  ),
  noWake: expression.withDefault(
    "ROUTER_NO_WAKE",
    probesAndCrawlers,
    "User agents (regular expression, case ignored) that do not wake a dormant project; or `off`."
  )
}

/** Read by Effect itself, the command line or the project server, not by the control plane's configuration. */
const elsewhere = (name: string, fallback: string | null, meaning: string, required = false): Variable.Documented => ({
  name,
  default: fallback,
  required,
  meaning
})

const telemetry = {
  logLevel: elsewhere("LOG_LEVEL", "Info", "`Trace`, `Debug`, `Info`, `Warn` or `Error`; JSON lines on stderr."),
  endpoint: elsewhere(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    null,
    "OTLP over HTTP for traces, metrics and logs; unset: none are sent."
  ),
  headers: elsewhere("OTEL_EXPORTER_OTLP_HEADERS", null, "`key=value` pairs sent with them."),
  service: elsewhere("OTEL_SERVICE_NAME", "valet", "`service.name` of what is sent."),
  attributes: elsewhere("OTEL_RESOURCE_ATTRIBUTES", null, "Further resource attributes, `key=value` pairs."),
  disabled: elsewhere("OTEL_SDK_DISABLED", "false", "`true` sends nothing, whatever the endpoint.")
}

const commandLine = {
  url: elsewhere(
    "VALET_URL",
    "http://127.0.0.1:7000",
    "Control plane that `valet projects` and `valet status` talk to; their bearer is CONTROL_PLANE_SECRET."
  ),
  adminToken: elsewhere(
    "VALET_ADMIN_TOKEN",
    null,
    "Of `valet orchestrator`; without one it makes its own and keeps it."
  )
}

const projectLabel = Variable.pattern("a project id", /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)

/** Read by `ProjectServerConfig`. */
export const projectServer = {
  host: Variable.text.optional("HOST", "Address to listen on.", "`::` on Fly, else `127.0.0.1`"),
  port: Variable.integer(0, 65_535).withDefault("PORT", "3000", "Port of the project server; 0 takes a free one."),
  dataDir: Variable.text.withDefault("DATA_DIR", "/data", "Folder of its database: the machine's volume."),
  databasePath: Variable.text.optional("DATABASE_PATH", "The database itself.", "DATA_DIR/project.db"),
  stateDir: Variable.text.optional(
    "VALET_STATE_DIR",
    "Folder in which it notes what it was told of its project by the machine protocol.",
    "DATA_DIR"
  ),
  internalSecret: Variable.credential.optional(
    "VALET_INTERNAL_SECRET",
    "The machine's own secret, given to it by the control plane; without it the server serves PROJECT_ID at once."
  ),
  projectId: projectLabel.optional("PROJECT_ID", "The project of a server without a control plane."),
  deployKey: Variable.credential.optional("DEPLOY_KEY", "Opens export and import on a server without a control plane."),
  routerApp: flyName.optional("VALET_ROUTER_APP", "Fly app to which a server sends back what is not its own."),
  idleSuspend: fly.idleSuspend,
  machineApi: Variable.text.withDefault(
    "VALET_FLY_MACHINE_API",
    "/.fly/api",
    "Socket (or URL) of the machine's own API, through which it suspends itself."
  ),
  idleTimeout: Variable.duration("s", 1_000).withDefault(
    "VALET_IDLE_TIMEOUT_SECS",
    "300",
    "Without traffic for so long it suspends its machine, unless its project's settings say otherwise."
  ),
  flyApp: Variable.text.optional("FLY_APP_NAME", "Set by Fly."),
  flyMachine: Variable.text.optional("FLY_MACHINE_ID", "Set by Fly.")
}

/** Set by the orchestrator for the servers that it starts, not read by Valet. */
const orchestrated = {
  keepAwakeUrl: elsewhere("VALET_KEEP_AWAKE_URL", null, "Where a server says that it is busy."),
  keepAwakeToken: elsewhere("VALET_KEEP_AWAKE_TOKEN", null, "Its bearer there."),
  orchestrator: elsewhere("VALET_ORCHESTRATOR", null, "By which an orchestrator finds what it left running."),
  server: elsewhere("VALET_SERVER", null, "By which it finds the processes of one server.")
}

export interface Group {
  readonly title: string
  readonly variables: ReadonlyArray<Variable.Documented>
}

/** What `Environment` reads, and whose problems it reports. */
export const planeVariables: ReadonlyArray<Variable.Variable<unknown>> = [
  core,
  fly,
  pool,
  dormancy,
  r2,
  router
].flatMap((group): ReadonlyArray<Variable.Variable<unknown>> => Object.values(group))

export const groups: ReadonlyArray<Group> = [
  { title: "Core", variables: Object.values(core) },
  { title: "Fly.io", variables: Object.values(fly) },
  { title: "Warm pool", variables: Object.values(pool) },
  { title: "R2 and dormancy", variables: [...Object.values(r2), ...Object.values(dormancy)] },
  { title: "Router", variables: Object.values(router) },
  { title: "Logs and telemetry", variables: Object.values(telemetry) },
  { title: "Command line", variables: Object.values(commandLine) },
  {
    title: "Project server",
    variables: Object.values(projectServer).filter(({ name }) => name !== fly.idleSuspend.name)
  },
  { title: "Set by the orchestrator for its servers", variables: Object.values(orchestrated) }
]
