/** Errors with a stable code. */

/** An error of this package. Native code makes the same: an `Error` with a `code`. */
export function codedError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}
