/** How long things may take. Milliseconds; each says what it trades. */

/** An owner that dies blocks its project for this long; shorter would let a slow database fake a death. */
export const leaseMs = 10_000
/** Three renewals fit into a lease, so two may fail. */
export const renewEveryMs = 3_000

/** A pool machine is started and idle: one that has not answered by then is broken, and the next one is faster. */
export const poolAnswerMs = 2_000
/** A machine that Fly just started may still boot and be unknown to DNS. */
export const coldAnswerMs = 60_000
/** Fly's `started` for a new machine with a cached image takes seconds; a cold host up to 70 s. */
export const machineStartMs = 90_000
/** Short calls on a started machine (unseal, settings, health). */
export const machineCallMs = 10_000

/** A volume of the smallest machine writes 16 MiB/s; a transfer reads or writes each byte up to three times. */
const slowestBytesPerMs = (4 * 1024 * 1024) / 1_000
/**
 * Bytes stopped moving for this long: the transfer is dead, whatever its limit says. A server examines the whole
 * database before or after it moves, and tells of no bytes meanwhile.
 */
export const stallMs = (bytes: number): number => 45_000 + Math.ceil(bytes / slowestBytesPerMs)
/** The limit of one transfer of a database. */
export const transferLimitMs = (bytes: number): number => 60_000 + Math.ceil(bytes / slowestBytesPerMs)
/** A presigned URL for a call with this limit: the clocks of an instance and of the store differ. */
export const urlLifeMs = (limitMs: number): number => limitMs + 5 * 60_000
/** The size of a database is known only after its upload: the largest volume's worth, 500 GB, would be days. */
export const archiveLimitMs = (volumeSizeGb: number): number => transferLimitMs(volumeSizeGb * 1024 ** 3)

/** A delete lets a running operation finish for this long before it takes the project over. */
export const deletePatienceMs = 5_000

/** Waking at once at most in one instance; more callers get Unavailable instead of an unbounded queue. */
export const maxConcurrentOperations = 200
export const longestBackoffMs = 15 * 60_000
/** Failed wakes, archives, rehosts: 5 s doubling to 15 minutes. */
export const backoffMs = (attempts: number): number => Math.min(5_000 * 2 ** Math.min(attempts, 20), longestBackoffMs)
/** Starts that failed in a row before a project's machine is replaced. */
export const startAttempts = 3
