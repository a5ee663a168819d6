import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { parse } from "../../../src/orchestrator/folders/ProjectFile.ts"

const problemsOf = (value: unknown): ReadonlyArray<string> => {
  const result = parse(typeof value === "string" ? value : JSON.stringify(value))
  return Result.isFailure(result) ? result.failure : []
}

it.each([
  {},
  { command: ["node", "server.js", ""] },
  { cwd: "app/dist", env: { A: "", _b1: "x y" } },
  { idle_timeout: 0 },
  { idle_timeout: "10m" },
  { idle_timeout: "365d", health_path: "/" },
  { hosts: ["App.Example.com", "localhost", "10.0.0.1"], max_memory_mb: 16 },
  { hosts: [], max_memory_mb: 1_048_576 }
])("%j is accepted", (value) => {
  assert.deepStrictEqual(parse(JSON.stringify(value)), Result.succeed(value))
})

it.each([
  { value: "{", problems: ["it is not JSON"] },
  { value: "", problems: ["it is not JSON"] },
  { value: [], problems: ["it must be an object"] },
  { value: null, problems: ["it must be an object"] },
  { value: { command: "node  server.js" }, problems: ['command must be an array: ["node","server.js"]'] },
  { value: { command: [] }, problems: ["command must name a program"] },
  { value: { command: [""] }, problems: ["command must name a program"] },
  { value: { command: ["a", 1] }, problems: ["command.1 must be a string"] },
  { value: { command: ["a\0"] }, problems: ["command.0 must not hold a NUL character"] },
  { value: { cwd: "/etc" }, problems: ["cwd must be relative to the project's folder"] },
  { value: { cwd: 1 }, problems: ["cwd must be a string"] },
  { value: { env: { A: 1 } }, problems: ["env.A must be a string"] },
  { value: { env: [] }, problems: ["env must be an object"] },
  { value: { env: { "a-b": "" } }, problems: ["env.a-b is no name of a variable"] },
  ...[
    "PORT",
    "PROJECT_ID",
    "DATA_DIR",
    "DATABASE_PATH",
    "VALET_ORCHESTRATOR",
    "VALET_KEEP_AWAKE_URL",
    "VALET_KEEP_AWAKE_URL"
  ].map((name) => ({ value: { env: { [name]: "x" } }, problems: [`env.${name} is set by the orchestrator`] })),
  ...[-1, "x", "5 parsecs", true, null].map((idle_timeout) => ({
    value: { idle_timeout },
    problems: ['idle_timeout must be whole seconds, 0 for never, or a duration such as "10m"']
  })),
  { value: { idle_timeout: 1.5 }, problems: ["idle_timeout must be an integer"] },
  { value: { idle_timeout: "366d" }, problems: ["idle_timeout must be at most 365d"] },
  ...["health", "", "/a b", "/a\r\nHost: x"].map((health_path) => ({
    value: { health_path },
    problems: ["health_path must begin with / and hold no blanks, such as /health"]
  })),
  { value: { hosts: "a.example" }, problems: ["hosts must be an array"] },
  ...["https://a.example", "a.example:80", "a.example/", "*.example", "-a", ""].map((host) => ({
    value: { hosts: ["ok", host] },
    problems: ["hosts.1 must be a host name without scheme, port and path"]
  })),
  ...[15, 1_048_577].map((max_memory_mb) => ({
    value: { max_memory_mb },
    problems: ["max_memory_mb must be a value between 16 and 1048576"]
  })),
  {
    value: { comand: [], idle_timeout: -1, health_path: "x" },
    problems: [
      "comand is not known: there are command, cwd, env, idle_timeout, health_path, hosts, max_memory_mb",
      'idle_timeout must be whole seconds, 0 for never, or a duration such as "10m"',
      "health_path must begin with / and hold no blanks, such as /health"
    ]
  }
])("$value: $problems", ({ value, problems }) => {
  assert.deepStrictEqual(problemsOf(value), problems)
})
