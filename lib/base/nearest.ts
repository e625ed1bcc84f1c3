/** How many letters must be changed, added, removed or swapped with the next one to make one word of the other. */
function distance (a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j++) next.push(Math.min(at(row, j) + (a[i] === b[j] ? 0 : 1), at(row, j + 1) + 1, at(next, j) + 1, swapped(a, b, i, j, before)))
    before = row
    row = next
  }
  return at(row, b.length)
}

function swapped (a: string, b: string, i: number, j: number, before: readonly number[]): number {
  return i > 0 && j > 0 && a[i] === b[j - 1] && a[i - 1] === b[j] ? at(before, j - 1) + 1 : Infinity
}

function at (row: readonly number[], column: number): number { return row[column] ?? Infinity }

/** Of a short word nothing is left when two letters are other ones. */
function mostChanges (word: string): number { return word.length < 5 ? 1 : Math.max(2, Math.floor(word.length / 3)) }

/** The candidate that a mistyped word most likely stands for; undefined when none is near. */
function nearest (word: string, candidates: Iterable<string>): string | undefined {
  let found: string | undefined
  let least = mostChanges(word) + 1
  for (const candidate of candidates) {
    const changes = changesTo(word.toLowerCase(), candidate.toLowerCase(), least)
    if (changes < least) [found, least] = [candidate, changes]
  }
  return found
}

/** The beginning of a longer word is almost that word; what differs too much in length is not compared letter by letter, however long it is. */
function changesTo (word: string, candidate: string, tooMany: number): number {
  if (candidate.startsWith(word) && word.length > 2) return Math.min(1, candidate.length - word.length)
  return Math.abs(word.length - candidate.length) < tooMany ? distance(word, candidate) : Infinity
}

/** Ends a message about an unknown word, with a question where something is near. */
export function didYouMean (word: string, candidates: Iterable<string>): string {
  const candidate = nearest(word, candidates)
  return candidate === undefined ? '' : `, did you mean ${candidate}?`
}
