/** A value, or the promise of one. */
export type MaybePromise<T> = T | Promise<T>

/**
 * Goes on with a value at once, and with that of a promise when it is there. A hit in memory waits for nothing, and each
 * `await` of a value that is there already would cost it as much as deriving its key.
 */
export function andThen<T, Result>(
  value: T | PromiseLike<T>,
  next: (value: T) => MaybePromise<Result>,
): MaybePromise<Result> {
  return isPromiseLike(value) ? Promise.resolve(value).then(next) : next(value)
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as Partial<PromiseLike<T>> | null | undefined)?.then === 'function'
}
