/** Errors of programs and stores as the API tells them. Programs do not know HTTP: this is the one translation. */
import * as Effect from "effect/Effect"
import * as Problems from "../../contract/Problems.ts"
import type * as Lifecycle from "../../programs/lifecycle/Lifecycle.ts"
import type { StoreError } from "../../services/db/StoreError.ts"

/** Rounded up, so that a client that waits exactly this long is not too early. */
export const seconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1000))

export const unknownProject = () => new Problems.ProjectNotFound({ detail: "There is no such project." })

const unavailable = (code: (typeof Problems.unavailableCodes)[number], detail: string, retryAfterMs: number) =>
  new Problems.Unavailable({ code, detail, retry_after_seconds: seconds(retryAfterMs) })

const storeRetryMs = 2_000
const operatorRetryMs = 300_000

/** A database that does not answer is the plane's trouble, and passes; one that answers nonsense is a defect. */
export const fromStore = (error: StoreError): Effect.Effect<never, Problems.Unavailable> =>
  error.reason === "Broken"
    ? Effect.die(error)
    : Effect.andThen(
        Effect.logWarning(error.message),
        Effect.fail(unavailable("unavailable", "The database did not answer.", storeRetryMs))
      )

export const fromWake = (error: Lifecycle.WakeError): Problems.ProjectNotFound | Problems.Unavailable => {
  const { reason } = error
  switch (reason._tag) {
    case "NotFound":
      return unknownProject()
    case "Deadline":
      return unavailable("waking", "The project is still starting.", 1_000)
    case "Capacity":
      return unavailable("no_capacity", "There is no room for the project's server right now.", reason.retryAfterMs)
    case "Backoff":
      return unavailable("wake_failed", reason.detail, reason.retryAfterMs)
    case "DataUnavailable":
      return unavailable("data_unavailable", "An operator has to decide what is served next.", operatorRetryMs)
    case "Unavailable":
      return unavailable("unavailable", "The project could not be started right now.", reason.retryAfterMs)
  }
}

export const fromOwner = (
  error: Lifecycle.DeleteError | Lifecycle.SettingsError
): Problems.ProjectNotFound | Problems.Unavailable =>
  error.reason._tag === "NotFound"
    ? unknownProject()
    : unavailable("unavailable", "This could not be done right now.", error.reason.retryAfterMs)

export const fromSleep = (
  error: Lifecycle.SleepError
): Problems.ProjectNotFound | Problems.Busy | Problems.Unavailable => {
  const { reason } = error
  switch (reason._tag) {
    case "NotFound":
      return unknownProject()
    case "Busy":
      return new Problems.Busy({ detail: reason.detail, retry_after_seconds: seconds(reason.retryAfterMs) })
    case "Unavailable":
      return unavailable("unavailable", reason.detail, reason.retryAfterMs)
  }
}

export const fromRecover = (
  error: Lifecycle.RecoverError
): Problems.ProjectNotFound | Problems.NotUnavailable | Problems.Unavailable => {
  const { reason } = error
  switch (reason._tag) {
    case "NotFound":
      return unknownProject()
    case "NotUnavailable":
      return new Problems.NotUnavailable({ detail: reason.detail })
    case "Unavailable":
      return unavailable("unavailable", reason.detail, reason.retryAfterMs)
  }
}

export const fromCreate = (
  error: Lifecycle.CreateError
): Problems.RateLimited | Problems.ProjectExists | Problems.BadRegion | Problems.Unavailable => {
  const { reason } = error
  switch (reason._tag) {
    case "RateLimited":
      return new Problems.RateLimited({
        detail: "Too many projects were created from this address.",
        retry_after_seconds: seconds(reason.retryAfterMs)
      })
    case "Exists":
      return new Problems.ProjectExists({ detail: "This id is or was a project's; ids are never used twice." })
    case "BadRegion":
      return new Problems.BadRegion({ detail: reason.detail })
    case "Unavailable":
      return unavailable("unavailable", "The project could not be created right now.", reason.retryAfterMs)
  }
}
