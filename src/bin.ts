#!/usr/bin/env node
/** What npm installs as `valet`: the version is looked at before anything is loaded that needs it. */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(`valet: needs Node 22.19 or newer, this is ${process.versions.node}\n`)
  process.exit(1)
}
await import("./main.ts")
