/** README's tables of what was measured, made from `bench/results`: the figures that have a goal. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { shown } from "./Report.ts"

const Kept = Schema.Struct({
  bench: Schema.String,
  machine: Schema.Struct({
    cpu: Schema.String,
    cores: Schema.Int,
    memory_gib: Schema.Int,
    node: Schema.String,
    kernel: Schema.String,
    load: Schema.Finite,
    pinned: Schema.Boolean
  }),
  at: Schema.String,
  command: Schema.String,
  figures: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      value: Schema.NullOr(Schema.Finite),
      unit: Schema.String,
      base: Schema.NullOr(Schema.String),
      base_value: Schema.NullOr(Schema.Finite),
      ratio: Schema.NullOr(Schema.Finite),
      spread: Schema.NullOr(Schema.Finite),
      goal: Schema.NullOr(Schema.String),
      met: Schema.NullOr(Schema.Boolean),
      note: Schema.NullOr(Schema.String)
    })
  )
})
/** A run as `--save` keeps it. */
export type Kept = Schema.Schema.Type<typeof Kept>

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Kept))

/** Those of these benches that were kept, in this order. */
export const read = (folder: string, names: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const files = names.map((name) => `${folder}${name}.json`)
    const there = yield* Effect.filter(files, (file) => fs.exists(file))
    return yield* Effect.forEach(there, (file) => Effect.flatMap(fs.readFileString(file), decode))
  })

const cell = (text: string) => text.replaceAll("|", "\\|")

const ofBench = ({ at, bench, command, figures, machine }: Kept): string => {
  const rows = figures
    .filter(({ goal, value }) => goal !== null && value !== null)
    .map(({ base, base_value, goal, met, name, ratio, spread, unit, value }) => {
      const within = spread === null || spread === 0 ? "" : ` ± ${Math.round((spread / 2) * 100)} %`
      return [
        name,
        `${shown(value)} ${unit}${ratio === null ? within : ""}`,
        base === null ? "" : `${base}: ${shown(base_value)}`,
        ratio === null ? "" : `${ratio.toFixed(2)}${within}`,
        goal ?? "",
        met === true ? "met" : "missed"
      ].map(cell)
    })
  const where = `${machine.cpu}, ${machine.cores} cores, Node ${machine.node.slice(1)}, load before it ${machine.load}`
  return [
    `\`${command}\`, ${at.slice(0, 10)}, ${where}:`,
    "",
    `| ${bench} | median | base | ratio | goal | |`,
    "|---|---|---|---|---|---|",
    ...rows.map((cells) => `| ${cells.join(" | ")} |`)
  ].join("\n")
}

const intro = `Each figure beside its bare limit or a peer in the same run, alternating; medians of several rounds, and how far the
middle half of them lies around it. Those without a goal, and the notes, are in \`bench/results\`.`

const [begin, end] = ["<!-- bench:begin -->", "<!-- bench:end -->"] as const

/** The page with the tables of these runs in place of what is between its two marks. */
export const into = (page: string, kept: ReadonlyArray<Kept>): string => {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from === -1 || to < from || kept.length === 0) return page
  const parts = [page.slice(0, from + begin.length), intro, ...kept.map(ofBench), page.slice(to)]
  return parts.join("\n\n")
}
