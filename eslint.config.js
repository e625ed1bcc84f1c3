import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

// Floors, low to high; folders of one floor do not know each other. A file imports from its own folder and from lower floors.
const floors = [['base'], ['topic'], ['packet'], ['contract'], ['hooks', 'store'], ['session'], ['router'], ['cluster'], ['protocol'], ['connection']]

const floorRules = floors.flatMap((folders, floor) => folders.map(folder => {
  const allowed = [...floors.slice(0, floor).flat(), folder]
  const forbidden = floors.flat().filter(other => !allowed.includes(other))
  return {
    files: [`lib/${folder}/**/*.ts`],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [
          ...forbidden.map(other => ({ group: [`**/${other}/**`], message: `lib/${folder}/ may not know lib/${other}/` })),
          { group: ['**/broker.ts', '**/options.ts', '**/index.ts', '**/plugins/**'], message: 'the top is imported by the top only' },
        ],
      }],
    },
  }
}))

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
  { files: ['plugins/**/*.ts'], rules: { 'no-restricted-imports': ['error', { patterns: [{ regex: '/lib/(?!index\\.ts$)', message: 'a plugin uses the public API only' }] }] } },
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', name: ['test'], package: '@tapjs/test' }] }] } },
)
