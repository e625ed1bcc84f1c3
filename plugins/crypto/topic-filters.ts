/** An expression for the Topic Names that a filter matches: linear in their length, whatever the filter. */
export function expressionOf (filter: string): RegExp {
  const levels = filter.split('/').map(level => level === '+' ? '[^/]*' : level.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  const isOpen = levels.at(-1) === '#'
  const body = levels.slice(0, isOpen ? -1 : undefined).join('/')
  const tail = !isOpen ? '' : levels.length === 1 ? '[^]*' : '(?:/[^]*)?'
  const noSystemTopics = /^[+#]/.test(filter) ? '(?!\\$)' : '' // [MQTT-4.7.2-1]
  return new RegExp(`^${noSystemTopics}${body}${tail}$`)
}

/** Orders filters so that of those that match a topic the most specific is first: level by level a name comes before `+`, and that before `#`. */
export function bySpecificity (one: string, other: string): number {
  const left = one.split('/').map(rankOf)
  const right = other.split('/').map(rankOf)
  const index = left.findIndex((rank, i) => rank !== (right[i] ?? 3))
  return index < 0 ? left.length - right.length : (left[index] ?? 3) - (right[index] ?? 3)
}

function rankOf (level: string): number { return level === '#' ? 2 : level === '+' ? 1 : 0 }
