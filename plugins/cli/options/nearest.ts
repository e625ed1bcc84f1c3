/** How many letters must be changed, added or removed to make one word of the other. */
function distance (a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (const letter of a) {
    const next = [(row[0] ?? 0) + 1]
    for (let column = 1; column <= b.length; column++) {
      const changed = (row[column - 1] ?? 0) + (letter === b[column - 1] ? 0 : 1)
      next.push(Math.min(changed, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** The candidate that a mistyped word most likely stands for; undefined when none is near. */
export function nearest (word: string, candidates: Iterable<string>): string | undefined {
  let found: string | undefined
  let least = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const changes = candidate.startsWith(word) && word.length > 2 ? 1 : distance(word, candidate)
    if (changes < least) [found, least] = [candidate, changes]
  }
  return found
}

/** Ends a message about an unknown word, with a question where something is near. */
export function didYouMean (word: string, candidates: Iterable<string>): string {
  const candidate = nearest(word, candidates)
  return candidate === undefined ? '' : `, did you mean ${candidate}?`
}
