/** Errors with a stable code. */

export function codedError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}
