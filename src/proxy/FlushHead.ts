/** Sends the head of a message before there is any of its body. */
import type { OutgoingMessage } from "node:http"

/** Node's `flushHeaders` writes in UTF-8 what it read as Latin-1: each byte beyond ASCII would become two. */
export const flushHead = (message: OutgoingMessage): void => void message.write("", "latin1")
