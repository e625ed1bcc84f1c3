import { readdirSync, readFileSync } from 'node:fs'

/** What the kernel says of a process. */
export interface Usage {
  readonly cpuSeconds: number
  readonly residentBytes: number
  readonly peakBytes: number
}

// What /proc counts in: USER_HZ is 100 wherever Node runs on Linux.
const ticksPerSecond = 100

/** CPU time and memory of a process; zeros where there is no /proc, or no such process. */
export function usageOf (pid: number): Usage {
  const stat = contents(`/proc/${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ').map(Number) // the name before it may contain anything
  const status = contents(`/proc/${pid}/status`)
  return {
    cpuSeconds: Math.max(threadSeconds(pid), ((fields[11] ?? 0) + (fields[12] ?? 0)) / ticksPerSecond),
    residentBytes: kilobytes(status, 'VmRSS') * 1024,
    peakBytes: kilobytes(status, 'VmHWM') * 1024,
  }
}

/** The same in nanoseconds where the kernel has it, but without threads that have ended. */
function threadSeconds (pid: number): number {
  return threadsOf(pid).reduce((sum, thread) => sum + Number(contents(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]), 0) / 1e9
}

function threadsOf (pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** CPU seconds that the whole machine has been busy. */
export function machineBusySeconds (): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = contents('/proc/stat').split('\n', 1)[0]?.split(/\s+/).slice(1).map(Number) ?? []
  return (user + nice + system + irq + softIrq + steal) / ticksPerSecond
}

/** File descriptors that this process may have; the broker, started beside it, has as many. */
export function descriptorLimit (): number {
  const [, soft = 'unlimited'] = /^Max open files\s+(\S+)/m.exec(contents('/proc/self/limits')) ?? []
  return soft === 'unlimited' ? Infinity : Number(soft)
}

function kilobytes (status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
}

function contents (file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
