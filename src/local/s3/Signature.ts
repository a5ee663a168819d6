/**
 * Signature version 4 of S3, verified: the `Authorization` header and presigned URLs, one pair of credentials, any
 * region. https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { failure, type S3Failure } from "./S3Failure.ts"
import { awsEncode, parameter, type Target } from "./Target.ts"

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: Redacted.Redacted
}

export interface SignedRequest {
  readonly method: string
  readonly target: Target
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** What the body's own checks go on with. */
export interface Verified {
  /** `x-amz-content-sha256`: a hash, `UNSIGNED-PAYLOAD` or one of the `STREAMING-…` words. */
  readonly payload: string
  readonly signature: string
  readonly scope: string
  readonly date: string
  readonly signingKey: Buffer
}

const ALGORITHM = "AWS4-HMAC-SHA256"
/** S3's tolerance between the clocks. */
const SKEW_MS = 15 * 60_000
const LONGEST_EXPIRY_SECONDS = 7 * 24 * 60 * 60

export const sha256Hex = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex")
export const hmac = (key: string | Buffer, data: string): Buffer => createHmac("sha256", key).update(data).digest()

const millisOf = (amzDate: string): number | null => {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(amzDate)
  if (match === null) return null
  const [, y, mo, d, h, mi, s] = match
  return Option.match(DateTime.make(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`), {
    onNone: () => null,
    onSome: DateTime.toEpochMillis
  })
}

interface Claim {
  readonly credential: string
  readonly date: string
  readonly signedHeaders: ReadonlyArray<string>
  readonly signature: string
  readonly payload: string
  /** Null for the header form. */
  readonly expiresSeconds: number | null
}

const claimOfQuery = (request: SignedRequest): Claim | S3Failure => {
  const get = (name: string) => parameter(request.target, name) ?? ""
  const expires = Number(get("X-Amz-Expires"))
  if (
    get("X-Amz-Algorithm") !== ALGORITHM ||
    !Number.isInteger(expires) ||
    expires < 1 ||
    expires > LONGEST_EXPIRY_SECONDS
  )
    return failure("AuthorizationQueryParametersError", "X-Amz-Algorithm or X-Amz-Expires is not valid.")
  return {
    credential: get("X-Amz-Credential"),
    date: get("X-Amz-Date"),
    signedHeaders: get("X-Amz-SignedHeaders").split(";"),
    signature: get("X-Amz-Signature"),
    payload: request.headers["x-amz-content-sha256"] ?? "UNSIGNED-PAYLOAD",
    expiresSeconds: expires
  }
}

const claimOfHeader = (request: SignedRequest): Claim | S3Failure => {
  const header = request.headers["authorization"]
  if (header === undefined) return failure("AccessDenied", "Anonymous access is forbidden.")
  const fields = new Map(
    header
      .slice(ALGORITHM.length)
      .split(",")
      .map((field) => {
        const [name = "", ...rest] = field.trim().split("=")
        return [name, rest.join("=")] as const
      })
  )
  const payload = request.headers["x-amz-content-sha256"]
  if (!header.startsWith(`${ALGORITHM} `) || payload === undefined)
    return failure("AuthorizationHeaderMalformed", "The authorization header is not of signature version 4.")
  return {
    credential: fields.get("Credential") ?? "",
    date: request.headers["x-amz-date"] ?? "",
    signedHeaders: (fields.get("SignedHeaders") ?? "").split(";"),
    signature: fields.get("Signature") ?? "",
    payload,
    expiresSeconds: null
  }
}

const timeProblem = (claim: Claim, at: number, now: number): S3Failure | null => {
  if (claim.expiresSeconds === null)
    return Math.abs(now - at) > SKEW_MS
      ? failure("RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.")
      : null
  if (at - now > SKEW_MS) return failure("AccessDenied", "Request is not valid yet")
  return now >= at + claim.expiresSeconds * 1000 ? failure("AccessDenied", "Request has expired") : null
}

const canonicalQuery = (target: Target): string =>
  target.query
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => [awsEncode(name), awsEncode(value)] as const)
    .toSorted(([an, av], [bn, bv]) => (an < bn ? -1 : an > bn ? 1 : av < bv ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join("&")

const equal = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

export const isVerified = (value: Verified | S3Failure): value is Verified => "signingKey" in value

export const verify = (request: SignedRequest, credentials: Credentials): Verified | S3Failure => {
  const claim = parameter(request.target, "X-Amz-Signature") === null ? claimOfHeader(request) : claimOfQuery(request)
  if ("_tag" in claim) return claim
  const [accessKeyId = "", day = "", region = "", service, terminator] = claim.credential.split("/")
  if (service !== "s3" || terminator !== "aws4_request" || !claim.date.startsWith(day) || day.length !== 8)
    return failure("AuthorizationHeaderMalformed", "The credential's scope is not valid.")
  if (accessKeyId !== credentials.accessKeyId)
    return failure("InvalidAccessKeyId", "The access key does not exist in our records.")
  const at = millisOf(claim.date)
  if (at === null) return failure("AccessDenied", "A valid X-Amz-Date is required.")
  const late = timeProblem(claim, at, request.now)
  if (late !== null) return late
  const unsigned = Object.keys(request.headers).filter(
    (name) => name.startsWith("x-amz-") && !claim.signedHeaders.includes(name)
  )
  if (!claim.signedHeaders.includes("host") || unsigned.length > 0)
    return failure("AccessDenied", "There were headers present in the request which were not signed.")
  const canonicalRequest = [
    request.method,
    request.target.canonicalPath,
    canonicalQuery(request.target),
    ...claim.signedHeaders.map((name) => `${name}:${(request.headers[name] ?? "").trim().replace(/ +/g, " ")}`),
    "",
    claim.signedHeaders.join(";"),
    claim.payload
  ].join("\n")
  const scope = `${day}/${region}/s3/aws4_request`
  const signingKey = [day, region, "s3", "aws4_request"].reduce<Buffer>(
    (key, part) => hmac(key, part),
    Buffer.from(`AWS4${Redacted.value(credentials.secretAccessKey)}`)
  )
  const signature = hmac(signingKey, [ALGORITHM, claim.date, scope, sha256Hex(canonicalRequest)].join("\n")).toString(
    "hex"
  )
  if (!equal(signature, claim.signature))
    return failure("SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided.")
  return { payload: claim.payload, signature, scope, date: claim.date, signingKey }
}
