const sizes = [1024, 4096, 16_384, 65_536, 262_144] as const
/** Bytes kept of each size. */
const keptBytes = 4 * 1024 * 1024

/** The size of the smallest buffer that a pool gives. */
export const smallestBuffer: number = 1024

/** The size of the largest buffer that a pool gives. */
export const largestBuffer: number = 262_144

/** Buffers for outgoing bytes, used again by whoever writes next: a connection holds one only within a turn. */
export class BufferPool {
  readonly #free: Buffer[][] = sizes.map(() => [])

  /** A buffer of at least `size` bytes, the largest there is if that is more. */
  take (size: number): Buffer {
    const index = indexOf(size)
    return this.#free[index]?.pop() ?? Buffer.allocUnsafeSlow(sizes[index] ?? largestBuffer)
  }

  /** Gives a buffer back that nobody reads any more. */
  give (buffer: Buffer): void {
    const free = this.#free[indexOf(buffer.length)]
    if (free !== undefined && (free.length + 1) * buffer.length <= keptBytes) free.push(buffer)
  }
}

function indexOf (size: number): number {
  for (let index = 0; index < sizes.length; index++) if (size <= (sizes[index] as number)) return index
  return sizes.length - 1
}
