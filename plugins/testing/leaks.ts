/** What a plugin may open, and has to close. Timers are not among them: test runners have their own, and a plugin's belong on `broker.clock`. */
const kinds: ReadonlySet<string> = new Set(['TCPServerWrap', 'TCPSocketWrap', 'TLSWrap', 'UDPWRAP', 'FSEventWrap', 'StatWatcher', 'ProcessWrap', 'MessagePort', 'HTTPINCOMINGMESSAGE'])

/** What keeps this process alive just now, by kind. */
export function openHandles (): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) if (kinds.has(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}

/** What is open now beyond what was. */
export function leakedHandles (before: ReadonlyMap<string, number>): string[] {
  return [...openHandles()].flatMap(([kind, count]) => {
    const more = count - (before.get(kind) ?? 0)
    return more > 0 ? [`${more} × ${kind} is open that was not (net.Server, socket, file watcher, child process …)`] : []
  })
}
