/**
 * Everything derived from CONTROL_PLANE_INTERNAL_SECRET (and its predecessor): each machine's own bearer, and the
 * sealing of deploy keys. One project's server can't command another's, because it only knows its own secret.
 *
 * HKDF-SHA-256 (RFC 5869), labels "machine" and "deploy-key"; a key id is the first 8 hex digits of the SHA-256 of the
 * key derived with label "id", so that a row tells which secret it needs without telling anything of it.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { MachineName } from "../domain/Machine.ts"
import type { SealedKey } from "../domain/Project.ts"

/** Sealed under a secret that is neither the current nor the previous one, or not by us. */
export class KeyError extends Schema.TaggedError<KeyError>()("KeyError", { keyId: Schema.String }) {
  override get message() {
    return `no secret with key id ${this.keyId} opens this: is CONTROL_PLANE_INTERNAL_SECRET_PREVIOUS set?`
  }
}

export class Keys extends Context.Service<
  Keys,
  {
    /** Of the secret in force: what new rows record. */
    readonly currentKeyId: string
    machineSecret(name: MachineName, keyId: string): Effect.Effect<Redacted.Redacted, KeyError>
    /** `dk_` and 256 random bits. */
    readonly newDeployKey: Effect.Effect<Redacted.Redacted>
    /** AES-256-GCM; the project's uid is authenticated with it, so a key can't be moved to another row. */
    seal(projectUid: string, deployKey: Redacted.Redacted): Effect.Effect<SealedKey>
    open(projectUid: string, sealed: SealedKey): Effect.Effect<Redacted.Redacted, KeyError>
  }
>()("valet/Keys") {}
