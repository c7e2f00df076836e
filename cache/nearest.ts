/** The name that a misspelt one was meant to be, if one is near. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  let found: string | undefined
  let least = Math.floor(name.length / 3) + 1
  for (const known of names) {
    const letters = distance(name.toLowerCase(), known.toLowerCase())
    if (letters < least) {
      least = letters
      found = known
    }
  }
  return found
}

/** How many letters must be put in, left out or replaced to make one text of another. */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, place) => place)
  for (const [index, letter] of [...one].entries()) {
    const next = [index + 1]
    for (let place = 0; place < other.length; place += 1) {
      const replaced = (row[place] ?? 0) + (letter === other[place] ? 0 : 1)
      next[place + 1] = Math.min(replaced, (row[place + 1] ?? 0) + 1, (next[place] ?? 0) + 1)
    }
    row = next
  }
  return row[other.length] ?? 0
}
