import type { Totals } from './totals.ts'

const remembered = 32

/** What one subscriber has seen of one publisher: finds losses, duplicates and messages out of order. */
export class Sequence {
  /** The sequence number that is due. */
  expected = 0
  /** Which of the 32 before it have come, the latest in the lowest bit. */
  #seen = 0

  /** @returns how many messages of the publisher's window this settles: those skipped are given up */
  add (sequence: number, totals: Totals): number {
    const gap = sequence - this.expected
    if (gap < 0) {
      this.#late(-gap - 1, totals)
      return 0
    }
    this.#seen = (gap + 1 >= remembered ? 0 : this.#seen << (gap + 1)) | 1
    this.expected = sequence + 1
    totals.lost += gap
    return gap + 1
  }

  #late (back: number, totals: Totals): void {
    if (back >= remembered || (this.#seen >>> back & 1) === 1) {
      totals.duplicated++
      return
    }
    this.#seen |= 1 << back
    totals.outOfOrder++
    totals.lost--
  }
}
