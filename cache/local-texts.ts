/** The texts of what is in this process's memory. */

import type { CacheOperations, FoundText } from './native.ts'

/** Of all large texts that are kept; one takes a byte or two for each, outside of the memory that the cache bounds. */
const MOST_CHARACTERS = 8_388_608
/** A longer one is made anew each time: it would push out too many others. */
const LONGEST = MOST_CHARACTERS / 8
/**
 * Of the texts that would push out others every so many-th is kept. What is asked for often gets in soon, and where more
 * is asked for than fits, to keep it for nothing costs little: V8 moves what lives long, which takes longer than to make
 * it anew.
 */
const ONE_IN = 32

interface Kept {
  readonly text: string
  /** Whether it was asked for since it was kept, or since it was last spared. */
  isUsed: boolean
}

/**
 * Large texts are made once and kept for the next hits: V8 takes longer to make one than all else of a hit takes. Each is
 * kept by the version of its value, so that it is found only where that value is. The first to go is the oldest that was
 * not asked for; one that was is spared once (CLOCK), which costs a hit less than to say that it is the newest now.
 */
export class LocalTexts {
  readonly #operations: Pick<CacheOperations, 'foundText'>
  readonly #large = new Map<number, Kept>()
  #characters = 0
  #turnedAway = 0

  constructor(operations: Pick<CacheOperations, 'foundText'>) {
    this.#operations = operations
  }

  /** The text of what the addon just found. */
  textOf(found: FoundText): string | null {
    if (typeof found !== 'number') {
      return found
    }
    const known = this.#large.get(found)
    if (known !== undefined) {
      known.isUsed = true
      return known.text
    }
    const text = this.#operations.foundText()
    if (text !== null && this.#admits(text.length)) {
      this.#keep(found, text)
    }
    return text
  }

  /** Whether a new text of so many characters is kept. */
  #admits(characters: number): boolean {
    if (characters > LONGEST) {
      return false
    }
    if (this.#characters + characters <= MOST_CHARACTERS) {
      return true
    }
    this.#turnedAway = (this.#turnedAway + 1) % ONE_IN
    return this.#turnedAway === 0
  }

  #keep(version: number, text: string): void {
    this.#characters += text.length
    for (const [oldest, kept] of this.#large) {
      if (this.#characters <= MOST_CHARACTERS) break
      this.#large.delete(oldest)
      if (kept.isUsed) {
        // The loop comes to it again, after all others.
        kept.isUsed = false
        this.#large.set(oldest, kept)
      } else {
        this.#characters -= kept.text.length
      }
    }
    this.#large.set(version, { text, isUsed: false })
  }
}
