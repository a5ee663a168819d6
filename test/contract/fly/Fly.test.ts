import * as FlyMemory from "../../../src/testing/fly/FlyMemory.ts"
import * as LocalFly from "./localFly.ts"
import { suite } from "./suite.ts"

suite("in memory", FlyMemory.layer({ seed: 1 }))
suite("over HTTP, against the local Fly", LocalFly.layer)
