/** What an error of the SDK means to the plane. Details carry S3's error code and status, never a URL or a header. */
import { R2Error } from "./R2.ts"

const fieldsOf = (cause: unknown): { readonly name: string; readonly status: number | undefined } => {
  if (typeof cause !== "object" || cause === null) return { name: "unknown", status: undefined }
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : undefined
  const name = "name" in cause && typeof cause.name === "string" ? cause.name : "unknown"
  const metadata = "$metadata" in cause ? cause.$metadata : undefined
  const status =
    typeof metadata === "object" && metadata !== null && "httpStatusCode" in metadata
      ? metadata.httpStatusCode
      : undefined
  return { name: code ?? name, status: typeof status === "number" ? status : undefined }
}

const reasonOf = (name: string, status: number | undefined): R2Error["reason"] => {
  if (name === "NoSuchBucket") return "Denied"
  if (status === 404) return "Missing"
  // The SDK has learned the difference between the clocks from this answer; the next attempt is signed with it.
  if (name === "RequestTimeTooSkewed") return "Unavailable"
  // 408 and 429 pass; every other refusal is a fault of credentials, bucket or configuration and stays.
  if (status !== undefined && status >= 300 && status < 500 && status !== 408 && status !== 429) return "Denied"
  return "Unavailable"
}

export const fromSdk =
  (operation: string) =>
  (cause: unknown): R2Error => {
    const { name, status } = fieldsOf(cause)
    return new R2Error({
      operation,
      reason: reasonOf(name, status),
      detail: status === undefined ? name : `${name} (${status})`
    })
  }
