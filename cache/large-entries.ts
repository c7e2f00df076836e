/** Which entries had a large value when they were last read. */

/** In characters or bytes. A smaller value is sent over a local network in less time than a round trip takes. */
const LARGE = 65_536
/** The oldest are forgotten; to be taken for a small one costs a large entry nothing but its neighbours' patience. */
const MOST = 1_000
/** Canonical forms are kept whole, so longer ones are not. */
const LONGEST_CANONICAL = 1_024

export class LargeEntries {
  readonly #canonicals = new Set<string>()

  has(canonical: string): boolean {
    return this.#canonicals.size > 0 && this.#canonicals.has(canonical)
  }

  /** Notes what was read of one entry. */
  note(canonical: string, answer: unknown): void {
    this.#canonicals.delete(canonical)
    if (!isLarge(answer) || canonical.length > LONGEST_CANONICAL) {
      return
    }
    this.#canonicals.add(canonical)
    for (const oldest of this.#canonicals) {
      if (this.#canonicals.size <= MOST) break
      this.#canonicals.delete(oldest)
    }
  }

  /** Notes what was read of many entries, each of whose canonical forms ends with a line feed. */
  noteAll(canonicals: string, answers: readonly unknown[]): void {
    if (!answers.some(isLarge)) {
      return
    }
    for (const [index, canonical] of canonicals.split('\n').entries()) {
      if (isLarge(answers[index])) {
        this.note(canonical, answers[index])
      }
    }
  }
}

function isLarge(answer: unknown): boolean {
  return (typeof answer === 'string' || answer instanceof Uint8Array) && answer.length > LARGE
}
