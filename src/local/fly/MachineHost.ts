/** What only the place where a machine runs can answer. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Machine } from "./model/FlyState.ts"
import type { Refusal } from "./model/Refusal.ts"
import { refusal } from "./model/Refusal.ts"
import type { ProcessStat } from "../../process/ProcessInfo.ts"

export interface ExecInput {
  readonly command: ReadonlyArray<string>
  readonly stdin: string
  readonly timeoutMs: number
}

export interface ExecOutput {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number
  /** Number of the signal that ended it, else 0. */
  readonly exitSignal: number
}

export class MachineHost extends Context.Service<
  MachineHost,
  {
    /** Runs a command beside the machine's own, in its folder and environment. */
    exec(machine: Machine, input: ExecInput): Effect.Effect<ExecOutput, Refusal>
    processes(machine: Machine): Effect.Effect<ReadonlyArray<ProcessStat>>
  }
>()("valet/MachineHost") {
  /** For machines that are only imagined. */
  static readonly layerNone = Layer.succeed(MachineHost, {
    exec: () => Effect.fail(refusal(412, "failed_precondition: machines run no processes here")),
    processes: () => Effect.succeed([])
  })
}
