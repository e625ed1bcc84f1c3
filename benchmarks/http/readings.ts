/** How many are sent in one round. */
export const readingCount = 1000

/** One small measurement of one sensor. */
export interface Reading { readonly sensor: number, readonly payload: Buffer }

/** The same for everybody, and different from each other: 20 to 60 bytes of JSON, as a sensor has to say. */
export const readings: readonly Reading[] = Array.from({ length: readingCount }, (_, i) => ({
  sensor: i % 50,
  payload: Buffer.from(JSON.stringify(shapes(i))),
}))

function shapes (i: number): object {
  const temperature = Math.round(2000 + Math.sin(i) * 500) / 100
  if (i % 3 === 0) return { temperature, at: 1_700_000_000 + i }
  if (i % 3 === 1) return { temperature, humidity: 40 + i % 20, battery: 97 }
  return { open: i % 2 === 0, at: 1_700_000_000 + i }
}
