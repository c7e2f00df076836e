import { setTimeout as pause } from 'node:timers/promises'

/** Asks again and again until the answer is true; fails with `what` if it never is. */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMilliseconds = 20_000,
): Promise<void> {
  const deadline = Date.now() + withinMilliseconds
  while (!(await holds())) {
    if (Date.now() > deadline) {
      throw new Error(`still not so after ${withinMilliseconds} ms: ${what}`)
    }
    await pause(10)
  }
}
