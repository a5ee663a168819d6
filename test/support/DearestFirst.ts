import { BaseSequencer, type TestSpecification } from "vitest/node"

/** Each takes half a minute or more; begun last, one of them would run on alone. */
const dearest = [
  "simulation/Simulation.test.ts",
  "chaos/chaos.test.ts",
  "e2e/stop.test.ts",
  "programs/once.test.ts",
  "e2e/demo.test.ts",
  "orchestrator/protocol/Pressure.test.ts"
]

const rank = ({ moduleId }: TestSpecification): number => {
  const at = dearest.findIndex((file) => moduleId.endsWith(`/test/${file}`))
  return at < 0 ? dearest.length : at
}

/** Vitest's own order knows how long a file took only where it ran before. */
export class DearestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    // oxlint-disable-next-line unicorn/no-array-sort -- a sequencer's
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => rank(a) - rank(b))
  }
}
