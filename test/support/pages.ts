import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './program.ts'

/** A file of this project. */
export function read (path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

/** What a user reads. */
export const pages: readonly string[] = ['README.md', ...readdirSync(join(root, 'docs')).filter(name => name.endsWith('.md')).map(name => `docs/${name}`)]

/** A block of code in a page. */
export interface Block {
  /** `docs/hooks.md:12` */
  readonly place: string
  readonly code: string
  /** Marked as one that runs to its end. */
  readonly isRun: boolean
}

function blocksOf (page: string): Block[] {
  const text = read(page)
  return [...text.matchAll(/^( *)```(?:ts|js)( run)?\n(.*?)^ *```$/gms)].map(({ index, 2: mark, 3: code = '' }) =>
    ({ place: `${page}:${text.slice(0, index).split('\n').length}`, code, isRun: mark !== undefined }))
}

/** Every ts and js block of the pages. */
export const blocks: readonly Block[] = pages.flatMap(blocksOf)
