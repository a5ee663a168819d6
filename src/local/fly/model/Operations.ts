/** The names of the API's operations: faults match on them, calls are counted by them, budgets belong to them. */
export const operations = [
  "listApps",
  "createApp",
  "getApp",
  "deleteApp",
  "listIps",
  "assignIp",
  "releaseIp",
  "listMachines",
  "createMachine",
  "getMachine",
  "updateMachine",
  "deleteMachine",
  "startMachine",
  "stopMachine",
  "suspendMachine",
  "restartMachine",
  "signalMachine",
  "waitMachine",
  "cordonMachine",
  "uncordonMachine",
  "execMachine",
  "getLease",
  "acquireLease",
  "releaseLease",
  "getMetadata",
  "setMetadata",
  "deleteMetadata",
  "listEvents",
  "listVersions",
  "listProcesses",
  "getMemory",
  "setMemory",
  "reclaimMemory",
  "listVolumes",
  "createVolume",
  "getVolume",
  "updateVolume",
  "extendVolume",
  "deleteVolume",
  "listSnapshots",
  "createSnapshot",
  "listOrgMachines",
  "listOrgVolumes",
  "listRegions",
  "getPlacements"
] as const
export type Operation = (typeof operations)[number]

export interface Call {
  readonly operation: Operation
  readonly app: string
  /** Id of the machine or volume; absent for calls about the app. */
  readonly target?: string
  readonly name?: string
  readonly region?: string
}
