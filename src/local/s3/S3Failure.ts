/** S3's errors as its REST protocol names them: a code, a status and an XML body. */
import * as Schema from "effect/Schema"

const statuses = {
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  BadDigest: 400,
  EntityTooLarge: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidRange: 416,
  InvalidURI: 400,
  KeyTooLongError: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchKey: 404,
  NotImplemented: 501,
  PreconditionFailed: 412,
  RequestTimeTooSkewed: 403,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  XAmzContentSHA256Mismatch: 400
} as const

export type Code = keyof typeof statuses

export class S3Failure extends Schema.TaggedError<S3Failure>()("S3Failure", {
  code: Schema.String,
  status: Schema.Int,
  text: Schema.String
}) {
  override get message() {
    return `${this.code}: ${this.text}`
  }
}

export const failure = (code: Code, text: string) => new S3Failure({ code, status: statuses[code], text })
