/** What was counted in a run. All but the first four have to stay 0. */
export class Totals {
  sent = 0
  received = 0
  receivedBytes = 0
  acknowledged = 0
  errors = 0
  lost = 0
  duplicated = 0
  outOfOrder = 0
  /** Seconds in which nothing moved although messages were outstanding. */
  stalls = 0
  badAcknowledgements = 0
  /** The first of the errors. */
  firstError: string | undefined = undefined

  fail (error: string): void {
    this.errors++
    this.firstError ??= error
  }

  health (): Record<string, number | string> {
    const { sent, received, errors, lost, duplicated, outOfOrder, stalls, badAcknowledgements, firstError } = this
    return { sent, received, errors, lost, duplicated, outOfOrder, stalls, badAcknowledgements, ...firstError !== undefined && { firstError } }
  }
}
