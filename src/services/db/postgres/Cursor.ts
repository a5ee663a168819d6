/** Where a page of the newest-first list ended. Opaque to callers, so that its order may change. */
import * as Base64Url from "effect/encoding/Base64Url"
import * as Result from "effect/Result"
import * as ProjectId from "../../../domain/ProjectId.ts"
import type { Project } from "../../../domain/Project.ts"

export interface Cursor {
  readonly createdAt: number
  readonly projectId: string
}

export const encodeCursor = ({ createdAt, projectId }: Project): string => Base64Url.encode(`${createdAt}:${projectId}`)

export const decodeCursor = (cursor: string): Cursor | undefined => {
  const text = Result.getOrElse(Base64Url.decodeString(cursor), () => "")
  const match = /^(\d{1,15}):(.*)$/.exec(text)
  const projectId = ProjectId.parse(match?.[2] ?? "")
  return projectId === undefined ? undefined : { createdAt: Number(match?.[1]), projectId }
}
