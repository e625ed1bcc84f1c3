const mark = (name: string): RegExp => new RegExp(`(<!-- scaling:${name} -->\n).*?(<!-- /scaling:${name} -->)`, 's')

/** The page with each table in its place. @throws RangeError for one that has none */
export function withTables (page: string, tables: ReadonlyMap<string, string>): string {
  let text = page
  for (const [name, table] of tables) {
    if (!mark(name).test(text)) throw new RangeError(`the page has no place for ${name}`)
    text = text.replace(mark(name), (_, begin: string, end: string) => `${begin}\n${table}\n\n${end}`)
  }
  return text
}
