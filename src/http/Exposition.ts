/** Metrics as text: the Prometheus exposition format, version 0.0.4. */
import type { Answer } from "./Answer.ts"

export interface Family {
  readonly name: string
  readonly type: "counter" | "gauge"
  readonly help: string
  /** `labels`: as `label` writes them, or empty. */
  readonly samples: ReadonlyArray<readonly [labels: string, value: number]>
}

const escapeLabel = (value: string): string =>
  value.replace(/["\\\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`))

export const label = (name: string, value: string): string => `{${name}="${escapeLabel(value)}"}`

export const gauge = (name: string, help: string, value: number): Family => ({
  name,
  type: "gauge",
  help,
  samples: [["", value]]
})

export const counter = (name: string, help: string, value: number): Family => ({
  name,
  type: "counter",
  help,
  samples: [["", value]]
})

export const exposition = (families: ReadonlyArray<Family>): string =>
  families
    .map(({ name, type, help, samples }) =>
      [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} ${type}`,
        ...samples.map(([labels, value]) => `${name}${labels} ${value}`)
      ].join("\n")
    )
    .join("\n") + "\n"

export const metrics = (body: string): Answer => ({
  status: 200,
  headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store" },
  body
})
