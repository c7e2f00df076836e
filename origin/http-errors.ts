/**
 * A failure that the client is told about: its status, a stable code and a message.
 *
 * A function may throw one to refuse a call (`new HttpError(403, 'not_your_order', 'The order belongs to somebody
 * else.')`) and promises by it that it changed nothing. Anything else that is thrown is answered with 500 and nothing
 * of its content.
 */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number
  /** A stable name in snake_case that clients match on. */
  readonly code: string
  /** More for the client, as JSON; null when there is nothing more. */
  readonly details: unknown

  constructor(status: number, code: string, message: string, details: unknown = null) {
    super(message)
    if (!Number.isInteger(status) || status < 400 || status > 599) {
      throw new RangeError(`the status of an HttpError is from 400 to 599, not ${status}`)
    }
    this.status = status
    this.code = code
    this.details = details
  }
}
