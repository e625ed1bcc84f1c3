import { readArguments } from './options/arguments.ts'
import { jsonSchema } from './options/configuration.ts'
import { helpText, type Help } from './options/help.ts'
import { helpOption } from './options/start-options.ts'
import type { Terminal } from './terminal.ts'

const help: Help = {
  usage: ['myelin config-schema > myelin.schema.json'],
  about: 'Prints the JSON Schema of the configuration file. With { "$schema": "./myelin.schema.json" } in the file an editor completes and checks it.',
  groups: [{ title: 'Options', options: helpOption }],
}

/** `myelin config-schema`. */
export function configSchema (args: readonly string[], terminal: Terminal): Promise<void> {
  const { help: isHelp } = readArguments(helpOption, args)
  terminal.output.write(isHelp === true ? helpText(help) : `${JSON.stringify(jsonSchema(), null, 2)}\n`)
  return Promise.resolve()
}
