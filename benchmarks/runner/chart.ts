/** A group of bars: one for each broker that has a value. */
export interface BarGroup {
  readonly title: string
  readonly values: ReadonlyMap<string, number>
}

const width = 870
const labelWidth = 300
const valueWidth = 60
const barHeight = 14
const groupGap = 12
const top = 64

/** Told apart by people who see colours differently, on white and on black. */
const colours = ['#e07b39', '#8a8f98', '#2f7de1', '#3aa676']

const style = `text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 15px } .note { fill: #59636e }
  @media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .note { fill: #9198a1 } }`

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** Horizontal bars as SVG, readable on a light and on a dark page; shorter is better. */
export function barChart (title: string, note: string, brokers: readonly string[], groups: readonly BarGroup[]): string {
  const largest = Math.max(...groups.flatMap(({ values }) => [...values.values()]))
  const scale = (width - labelWidth - valueWidth) / largest
  let y = top
  const bars = groups.map(group => {
    const drawn = drawGroup(group, brokers, y, scale)
    y += group.values.size * barHeight + groupGap
    return drawn
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" role="img" aria-label="${escaped(title)}">`,
    `<style>${style}</style>`,
    `<text class="title" x="0" y="18">${escaped(title)}</text>`,
    `<text class="note" x="0" y="38">${escaped(note)}</text>`,
    legend(brokers),
    ...bars,
    '</svg>',
    '',
  ].join('\n')
}

function legend (brokers: readonly string[]): string {
  return brokers.map((broker, i) =>
    `<rect x="${labelWidth + i * 130}" y="46" width="10" height="10" fill="${colours[i] ?? ''}"/><text x="${labelWidth + 15 + i * 130}" y="55">${escaped(broker)}</text>`).join('')
}

function drawGroup ({ title, values }: BarGroup, brokers: readonly string[], top: number, scale: number): string {
  const middle = top + values.size * barHeight / 2 + 4
  const bars = brokers.filter(broker => values.has(broker)).map((broker, row) => {
    const value = values.get(broker) ?? 0
    const y = top + row * barHeight
    const length = Math.max(1, value * scale).toFixed(1)
    return `<rect x="${labelWidth}" y="${y}" width="${length}" height="${barHeight - 3}" fill="${colours[brokers.indexOf(broker)] ?? ''}"/>` +
      `<text x="${(labelWidth + Number(length) + 6).toFixed(1)}" y="${y + barHeight - 4}">${value.toPrecision(2)}</text>`
  })
  return `<text x="0" y="${middle}">${escaped(title)}</text>${bars.join('')}`
}
