import { flagName } from './arguments.ts'
import { placeholder, showValue, type Option, type OptionTable } from './kinds.ts'
import { defaultOf, type OptionGroup } from './start-options.ts'

const width = 100
const column = 30

/** The text in lines of at most `length` letters. */
function wrap (text: string, length: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > length) {
      lines.push(line)
      line = ''
    }
    line += line === '' ? word : ` ${word}`
  }
  return [...lines, line]
}

/** How the option stands on the command line: `-q, --qos <0|1|2>`. */
export function usageOf (name: string, option: Option): string {
  if (option.only === 'argument') return `<${flagName(name)}>`
  const letter = option.short === undefined ? '' : `-${option.short}, `
  return `${letter}--${flagName(name)} ${placeholder(option)}`.trimEnd()
}

/** The default as one would write it; undefined where there is none. */
export function shownDefault (name: string, option: Option): string | undefined {
  const value = defaultOf(name, option)
  return value === undefined || value === false ? undefined : showValue(option.kind, value)
}

function describe (name: string, option: Option): string {
  const value = shownDefault(name, option)
  const place = option.only === 'file' ? 'In the configuration file only. ' : ''
  return `${place}${option.help}${value === undefined ? '' : ` Default: ${value}.`}`
}

function describeOption (name: string, option: Option): string {
  const usage = option.only === 'file' ? `      ${name}` : `  ${option.short === undefined ? '    ' : ''}${usageOf(name, option)}`
  const margin = ' '.repeat(column)
  const [first = '', ...rest] = wrap(describe(name, option), width - column)
  const opening = usage.length < column - 1 ? [usage.padEnd(column) + first] : [usage, margin + first]
  return [...opening, ...rest.map(line => margin + line)].join('\n')
}

function describeTable (options: OptionTable): string[] {
  return Object.entries(options).map(([name, option]) => describeOption(name, option))
}

/** What a command prints for `--help`. */
export interface Help {
  readonly usage: readonly string[]
  readonly about: string
  readonly groups: readonly OptionGroup[]
  readonly notes?: readonly string[]
}

/** The help of a command, made from its table of options. */
export function helpText ({ usage, about, groups, notes = [] }: Help): string {
  return [
    ...usage.map((line, index) => (index === 0 ? 'Usage: ' : '       ') + line),
    '',
    ...wrap(about, width),
    ...groups.flatMap(({ title, options }) => ['', `${title}:`, ...describeTable(options)]),
    ...notes.length === 0 ? [] : ['', ...notes.flatMap(note => wrap(note, width))],
    '',
  ].join('\n')
}
