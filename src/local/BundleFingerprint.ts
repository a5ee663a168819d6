/** What a bundle was made of: changes with any source, the lock file and the script that bundles. */
import { createHash } from "node:crypto"
import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"

/** Hexadecimal, from paths, sizes and times of change below `root`. */
export const fingerprint = async (root: string): Promise<string> => {
  const sources = await readdir(join(root, "src"), { recursive: true, withFileTypes: true })
  const files = [
    ...sources.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)),
    join(root, "package-lock.json"),
    join(root, "scripts", "bundle.ts")
  ].toSorted()
  const hash = createHash("sha256")
  for (const file of files) {
    const { mtimeMs, size } = await stat(file)
    hash.update(`${file}\0${mtimeMs}\0${size}\n`)
  }
  return hash.digest("hex")
}
