import type { Logger } from '../../lib/index.ts'

/** One line of a {@link MemoryLogger}. */
export interface LogLine { readonly level: 'debug' | 'info' | 'warn' | 'error', readonly message: string, readonly details: object }

/** A logger that remembers what it was told. */
export class MemoryLogger implements Logger {
  readonly lines: LogLine[] = []

  debug (details: object, message: string): void { this.lines.push({ level: 'debug', message, details }) }

  info (details: object, message: string): void { this.lines.push({ level: 'info', message, details }) }

  warn (details: object, message: string): void { this.lines.push({ level: 'warn', message, details }) }

  error (details: object, message: string): void { this.lines.push({ level: 'error', message, details }) }

  /** The messages of that level since the last call, which forgets all lines. */
  take (level: LogLine['level']): string[] {
    return this.lines.splice(0).filter(line => line.level === level).map(({ message }) => message)
  }
}
