import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

// Floors, low to high; folders of one floor do not know each other. A file imports from its own folder and from lower floors.
const floors = [
  ['base'], ['topic'], ['packet'], ['contract'], ['hooks', 'store'], ['session'], ['router'], ['cluster'], ['protocol'], ['connection'], ['options'], ['host', 'tools'],
]

// The same within a folder that has folders of its own; '.' is what lies in it directly.
const floorsWithin = {
  'lib/packet': ['data', '.', 'control-packets', 'codec'],
  'lib/cluster': ['node', ['log', 'inbox'], 'outbound', 'ownership', '.'],
  'lib/protocol': ['client', ['publish', 'subscribe'], 'connect', '.'],
  'lib/connection': ['proxy', '.', 'websocket'],
  'plugins/redis': ['link', 'fragments', 'scripts', 'store', 'emitter', '.'],
}

// What lies in lib/ itself, so many folders above.
const top = depth => ({ regex: `^(\\.\\./){${depth}}[^./][^/]*$|/plugins/`, message: 'the top is imported by the top only' })

const rule = (files, patterns) => ({ files: [files], rules: { 'no-restricted-imports': ['error', { patterns }] } })

const floorRules = floors.flatMap((folders, floor) => folders.flatMap(folder => {
  const allowed = [...floors.slice(0, floor).flat(), folder]
  const forbidden = floors.flat().filter(other => !allowed.includes(other))
  const patterns = forbidden.map(other => ({ group: [`**/${other}/**`], message: `lib/${folder}/ may not know lib/${other}/` }))
  return [rule(`lib/${folder}/**/*.ts`, patterns), ...innerRules(`lib/${folder}`, depth => [...patterns, top(depth)])]
}))

const publicOnly = { regex: '/lib/(?!index\\.ts$)', message: 'a plugin uses the public API only' }
// Commands such as `myelin pub` must not load the broker, which is what the public API does: what is pure, and no decision of the broker, they take as it stands.
const publicOrPure = { regex: '/lib/(?!index\\.ts$|base/nearest\\.ts$|topic/)', message: 'the command line uses the public API, and what is pure' }
const pluginRules = [rule('plugins/**/*.ts', [publicOnly]), rule('plugins/cli/**/*.ts', [publicOrPure]), ...innerRules('plugins/redis', () => [publicOnly])]

function innerRules (folder, patternsOf) {
  const inner = (floorsWithin[folder] ?? ['.']).map(parts => [parts].flat())
  return inner.flatMap((parts, floor) => parts.map(part => {
    const forbidden = inner.slice(floor).flat().filter(other => other !== part).map(other => ({
      regex: other === '.' ? '^\\.\\./[^./][^/]*$' : `^\\.\\.?/${other}/`,
      message: `${nameOf(folder, part)} may not know ${nameOf(folder, other)}`,
    }))
    const [files, depth] = part === '.' ? [`${folder}/*.ts`, 1] : [`${folder}/${part}/**/*.ts`, 2]
    return rule(files, [...patternsOf(depth), ...forbidden])
  }))
}

function nameOf (folder, part) {
  return part === '.' ? `${folder}/ itself` : `${folder}/${part}/`
}

export default defineConfig(
  { ignores: ['dist', '.tap', '**/*.js', '**/*.mjs'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/non-nullable-type-assertion-style': 'off', // its advice is what no-non-null-assertion forbids
      '@typescript-eslint/no-inferrable-types': 'off', // isolatedDeclarations wants the annotation of `Infinity`
      '@typescript-eslint/prefer-for-of': 'off', // an index loop needs no iterator on the hot path
      '@typescript-eslint/consistent-generic-constructors': 'off', // isolatedDeclarations wants the annotation
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  ...floorRules,
  ...pluginRules,
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', name: ['test'], package: '@tapjs/test' }] }] } },
)
